using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace Pollux.Lab.Benchmarks;

/// <summary>
/// The link alone: what a replication can at best be, by one TCP connection for each job with blocking calls and TCP_NODELAY. A write is its
/// block out and 16 bytes back, a read 16 bytes out and its block back, a flush 16 bytes each way after the write; depth is the number of
/// requests sent before their answers. <c>pollux-lab link serve</c> answers on one host, <c>link probe</c> asks on the other.
/// The client opens a connection with three little-endian int32: bytes of a request, of its answer, 1 if flushes follow requests.
/// </summary>
public static class LinkProbe
{
    public const int Port = 10820;

    /// <summary>A frame without payload.</summary>
    private const int ShortBytes = 16;

    private const int HelloBytes = 12;
    private const int RequestBytesMax = 1 << 20;

    /// <summary>Serves until the process is ended.</summary>
    public static int Serve()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Any, Port));
        listener.Listen();
        Console.WriteLine("link ready");
        for (; ; )
        {
            var connection = listener.Accept();
            new Thread(() => Answer(connection)) { IsBackground = true, Name = "link" }.Start();
        }
    }

    /// <summary>Runs a workload and prints a <see cref="LinkFigures"/> as JSON.</summary>
    public static int Probe(string address, string workloadName, string seconds)
    {
        var workload = Workload.Named(workloadName);
        var duration = TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture));
        var jobs = new Job[workload.Jobs];
        for (var i = 0; i < jobs.Length; i++)
            jobs[i] = new Job(IPAddress.Parse(address), workload, duration);
        var before = Environment.CpuUsage.TotalTime;
        foreach (var job in jobs)
            job.Thread.Start();
        foreach (var job in jobs)
            job.Thread.Join();
        var latencies = jobs.SelectMany(job => job.LatenciesUs).Order().ToList();
        var figures = new LinkFigures(jobs.Sum(job => job.LatenciesUs.Count / job.Seconds), At(latencies, 0.50), At(latencies, 0.99),
            (Environment.CpuUsage.TotalTime - before).TotalSeconds, latencies.Count);
        Console.WriteLine(JsonSerializer.Serialize(figures));
        return 0;
    }

    private static double At(List<float> sorted, double part) => sorted.Count == 0 ? 0 : sorted[(int)((sorted.Count - 1) * part)];

    private static void Answer(Socket socket)
    {
        using (socket)
        {
            socket.NoDelay = true;
            var hello = new byte[HelloBytes];
            var buffer = new byte[RequestBytesMax];
            if (!TryReceive(socket, hello))
                return;
            var request = buffer.AsSpan(0, BinaryPrimitives.ReadInt32LittleEndian(hello));
            var answer = buffer.AsSpan(0, BinaryPrimitives.ReadInt32LittleEndian(hello.AsSpan(4)));
            var flushes = BinaryPrimitives.ReadInt32LittleEndian(hello.AsSpan(8)) != 0;
            while (TryReceive(socket, request))
            {
                socket.Send(answer);
                if (!flushes)
                    continue;
                if (!TryReceive(socket, buffer.AsSpan(0, ShortBytes)))
                    return;
                socket.Send(buffer.AsSpan(0, ShortBytes));
            }
        }
    }

    private static bool TryReceive(Socket socket, Span<byte> target)
    {
        while (target.Length > 0)
        {
            var count = socket.Receive(target, SocketFlags.None, out var error);
            if (count == 0 || error != SocketError.Success)
                return false;
            target = target[count..];
        }
        return true;
    }

    private sealed class Job
    {
        private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        private readonly Workload _workload;
        private readonly TimeSpan _duration;
        private readonly byte[] _request;
        private readonly byte[] _answer;

        public Job(IPAddress address, Workload workload, TimeSpan duration)
        {
            (_workload, _duration) = (workload, duration);
            _request = new byte[workload.Reads ? ShortBytes : workload.BlockBytes];
            _answer = new byte[workload.Reads ? workload.BlockBytes : ShortBytes];
            _socket.Connect(address, Port);
            Thread = new Thread(Run) { Name = "link" };
        }

        public Thread Thread { get; }

        public List<float> LatenciesUs { get; } = new(1 << 20);

        /// <summary>Of the measured part.</summary>
        public double Seconds { get; private set; }

        private void Run()
        {
            var hello = new byte[HelloBytes];
            BinaryPrimitives.WriteInt32LittleEndian(hello, _request.Length);
            BinaryPrimitives.WriteInt32LittleEndian(hello.AsSpan(4), _answer.Length);
            BinaryPrimitives.WriteInt32LittleEndian(hello.AsSpan(8), _workload.Flushes ? 1 : 0);
            _socket.Send(hello);
            Repeat(TimeSpan.FromSeconds(Fio.RampSeconds));
            LatenciesUs.Clear();
            Seconds = Repeat(_duration).TotalSeconds;
            _socket.Dispose();
        }

        private TimeSpan Repeat(TimeSpan duration)
        {
            var begin = Stopwatch.GetTimestamp();
            var sent = new long[_workload.Depth];
            var (asked, answered) = (0, 0);
            for (; ; )
            {
                var goesOn = Stopwatch.GetElapsedTime(begin) < duration;
                for (; goesOn && asked - answered < sent.Length; asked++)
                {
                    sent[asked % sent.Length] = Stopwatch.GetTimestamp();
                    _socket.Send(_request);
                }
                if (asked == answered)
                    return Stopwatch.GetElapsedTime(begin);
                Receive(_answer);
                if (_workload.Flushes)
                {
                    _socket.Send(_request.AsSpan(0, ShortBytes));
                    Receive(_answer);
                }
                LatenciesUs.Add((float)Stopwatch.GetElapsedTime(sent[answered % sent.Length]).TotalMicroseconds);
                answered++;
            }
        }

        private void Receive(Span<byte> target)
        {
            if (!TryReceive(_socket, target))
                throw new LabException("The other end of the link probe closed the connection.");
        }
    }
}

/// <param name="ProcessorSeconds">Of the asking process, user and system.</param>
public sealed record LinkFigures(double OperationsPerSecond, double P50Us, double P99Us, double ProcessorSeconds, int Operations);
