using System.Net.Sockets;
using System.Security.Authentication;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Peers;

/// <summary>What both ends of a connection between two hosts do alike: greet, read, write, and end when nothing is heard.</summary>
internal static class PeerConversation
{
    public static PeerMessage Hello(string self, int network) => new(Hello: new PeerHello(PeerMessage.ProtocolVersion, self, network));

    /// <exception cref="InvalidDataException">It is not the host that its certificate names, or speaks another protocol.</exception>
    public static PeerHello CheckHello(PeerMessage message, string host)
    {
        if (message.Hello is not { } hello)
            throw new InvalidDataException("the peer did not begin with a hello");
        if (hello.ProtocolVersion != PeerMessage.ProtocolVersion)
            throw new InvalidDataException($"the peer speaks protocol {hello.ProtocolVersion}, this host {PeerMessage.ProtocolVersion}: upgrade the older of the two");
        if (hello.Host != host)
            throw new InvalidDataException($"the peer calls itself {hello.Host}, its certificate says {host}");
        if (hello.Network is < 1 or > NetworkChoice.NetworksMax)
            throw new InvalidDataException($"the peer speaks of network {hello.Network}; {NetworkChoice.NetworksMax} are the most");
        return hello;
    }

    /// <summary>Reads, writes and pings until one of them fails or the connection is silent; throws the reason.</summary>
    public static async Task RunAsync(
        PeerConnection link, Action<PeerMessage> received, bool pings, Func<PeerTempo> tempo, CancellationTokenSource connection)
    {
        var cancel = connection.Token;
        var reading = ReadAllAsync(link, received, cancel);
        var writing = link.WriteAsync(cancel);
        var watching = WatchSilenceAsync(link, pings, tempo, cancel);
        var first = await Task.WhenAny(reading, writing, watching).ConfigureAwait(false);
        await connection.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(reading, writing, watching).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first.ConfigureAwait(false);
    }

    public static bool IsLinkFault(Exception e) =>
        e is IOException or SocketException or AuthenticationException or InvalidDataException or OperationCanceledException
            or ObjectDisposedException or FormatException;

    public static string Explain(Exception e, PeerTempo tempo) => e switch
    {
        OperationCanceledException => $"no connection within {tempo.ConnectMs} ms, or it was replaced",
        EndOfStreamException => "the peer closed the connection",
        AuthenticationException => $"TLS failed: {e.Message}",
        InvalidDataException => e.Message,
        _ => e.GetBaseException().Message,
    };

    private static async Task ReadAllAsync(PeerConnection link, Action<PeerMessage> received, CancellationToken cancel)
    {
        while (true)
            received(await link.ReadAsync(cancel).ConfigureAwait(false));
    }

    private static async Task WatchSilenceAsync(PeerConnection link, bool pings, Func<PeerTempo> tempo, CancellationToken cancel)
    {
        while (true)
        {
            if (BootClock.NowMs - link.HeardMs > tempo().SilenceMs)
                throw new IOException($"nothing was heard for {tempo().SilenceMs} ms");
            if (pings)
                link.PutPing(new PeerMessage(Ping: System.Diagnostics.Stopwatch.GetTimestamp()));
            await Task.Delay(tempo().PingMs, cancel).ConfigureAwait(false);
        }
    }
}
