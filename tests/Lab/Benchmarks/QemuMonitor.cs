using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Pollux.Lab.Benchmarks;

/// <summary>QEMU's machine protocol over a Unix socket: one JSON object per line each way, events between the answers.</summary>
internal sealed class QemuMonitor : IAsyncDisposable
{
    private static readonly TimeSpan AnswerMax = TimeSpan.FromSeconds(10);

    private readonly Socket _socket;
    private readonly StreamReader _lines;
    private readonly List<JsonElement> _events = [];

    private QemuMonitor(Socket socket)
    {
        _socket = socket;
        _lines = new StreamReader(new NetworkStream(socket), Encoding.UTF8);
    }

    public static async Task<QemuMonitor> ConnectAsync(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path));
        var monitor = new QemuMonitor(socket);
        await monitor.NextAsync(AnswerMax);
        await monitor.RunAsync("qmp_capabilities");
        return monitor;
    }

    /// <summary>Runs a command and gives what it returns.</summary>
    /// <exception cref="LabException">QEMU refused, or was silent.</exception>
    public async Task<JsonElement> RunAsync(string command, string? arguments = null)
    {
        var text = arguments is null ? $"{{\"execute\":\"{command}\"}}\n" : $"{{\"execute\":\"{command}\",\"arguments\":{arguments}}}\n";
        await _socket.SendAsync(Encoding.UTF8.GetBytes(text));
        for (; ; )
        {
            var line = await NextAsync(AnswerMax);
            if (line.TryGetProperty("return", out var result))
                return result;
            if (line.TryGetProperty("error", out var error))
                throw new LabException($"QEMU refused {command}: {error}");
            _events.Add(line);
        }
    }

    public async Task WaitForEventAsync(string name, TimeSpan deadline)
    {
        var watch = Stopwatch.StartNew();
        while (!_events.Any(line => line.TryGetProperty("event", out var kind) && kind.GetString() == name))
            _events.Add(await NextAsync(deadline - watch.Elapsed));
    }

    public ValueTask DisposeAsync()
    {
        _lines.Dispose();
        _socket.Dispose();
        return ValueTask.CompletedTask;
    }

    private async Task<JsonElement> NextAsync(TimeSpan deadline)
    {
        using var timer = new CancellationTokenSource(deadline > TimeSpan.Zero ? deadline : TimeSpan.FromMilliseconds(1));
        try
        {
            var line = await _lines.ReadLineAsync(timer.Token) ?? throw new LabException("QEMU closed its monitor.");
            return JsonSerializer.Deserialize<JsonElement>(line);
        }
        catch (OperationCanceledException)
        {
            throw new LabException("QEMU's monitor was silent for too long.");
        }
    }
}
