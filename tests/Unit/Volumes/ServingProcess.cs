using System.Net.Sockets;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;
using Pollux.Tests.Unit.Fuse;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>A process of its own that serves a volume and is killed in the middle of it. Its standard input names a <see cref="Stall"/>; its
/// standard output says "ready", "stalling", and a line for each request that will not be answered.</summary>
internal static class ServingProcess
{
    /// <summary>More than there are reads in flight: each of those keeps a worker.</summary>
    private const int Workers = 8;

    public static int Run(string directory, string state, string socketPath)
    {
        var covered = CoveredDirectory.Open(directory, FuseSandbox.Timeout);
        var completions = new FuseCompletions();
        var stalling = new StallingVolume(line => Console.Out.WriteLine("held " + line)) { Completions = completions };
        var engine = new LoneEngine(state, () => ObjectStore.Open(covered.Handle));
        stalling.Volume = engine.ServeAsync(epoch: 1, stalling).GetAwaiter().GetResult();
        var options = FuseVolume.SessionOptions("vm1") with { Workers = Workers };
        var session = FuseSession.Start(covered, new FuseVolume(stalling, completions) { Exchanges = Exchanges(state) }, options);

        using var holder = DescriptorSocket.Create();
        holder.Connect(new UnixDomainSocketEndPoint(socketPath));
        Give(holder, covered, session.Connection ?? throw new InvalidOperationException("This kernel does not send requests again."));
        Console.Out.WriteLine("ready");
        while (Console.In.ReadLine() is { } line)
        {
            stalling.Stall = Enum.Parse<Stall>(line);
            Console.Out.WriteLine("stalling");
        }

        return 0;
    }

    /// <summary>Serves on the engine's event loop, as in production, until it is killed.</summary>
    /// <param name="epoch">1: mounts, and gives the connection to the holder; else takes it from there and goes on with it.</param>
    public static int RunOnLoop(string directory, string state, string socketPath, long epoch)
    {
        using var holder = DescriptorSocket.Create();
        holder.Connect(new UnixDomainSocketEndPoint(socketPath));
        var goesOn = epoch > 1;
        var (covered, connection) = goesOn ? Take(holder) : (CoveredDirectory.Open(directory, FuseSandbox.Timeout), null);
        var completions = new FuseCompletions();
        var engine = new LoneEngine(state, () => ObjectStore.Open(covered.Handle, new ObjectStoreOptions { KeepsUnlinked = goesOn }));
        var volume = (ILoopVolume)engine.ServeAsync(epoch, completions).GetAwaiter().GetResult();
        var handler = new FuseVolume(volume, completions) { GoesOn = goesOn, Exchanges = Exchanges(state) };
        var options = FuseVolume.SessionOptions("vm1");
        if (connection is null)
            Give(holder, covered, FuseSession.Start(covered, handler, options, volume.Loop).Connection!);
        else
            FuseSession.Adopt(covered, connection, handler, options, volume.Loop);
        Console.Out.WriteLine("ready");
        Console.In.ReadLine();
        return 0;
    }

    public static void Give(Socket socket, CoveredDirectory covered, FuseConnection connection)
    {
        var words = $"{covered.Path}\n{connection.Number}\n{connection.Negotiated.KernelMinor}\n{connection.Negotiated.Minor}\n"
            + $"{(ulong)connection.Negotiated.Flags}\n{connection.Negotiated.WriteBytesMax}";
        DescriptorSocket.Send(socket, Encoding.UTF8.GetBytes(words), [covered.Handle, .. connection.Devices]);
    }

    public static ExchangeNotes Exchanges(string state) => new(Path.Combine(state, "exchanges"));

    /// <summary>Takes what <see cref="Give"/> gives.</summary>
    public static (CoveredDirectory Covered, FuseConnection Connection) Take(Socket socket)
    {
        var message = new byte[DescriptorSocket.MessageBytesMax];
        var length = DescriptorSocket.Receive(socket, message, out var descriptors);
        var words = Encoding.UTF8.GetString(message, 0, length).Split('\n');
        var negotiated = new FuseNegotiation(uint.Parse(words[2]), uint.Parse(words[3]), (FuseInitFlags)ulong.Parse(words[4]), int.Parse(words[5]));
        return (CoveredDirectory.Adopt(words[0], descriptors[0]), new FuseConnection(int.Parse(words[1]), negotiated, descriptors[1..]));
    }
}
