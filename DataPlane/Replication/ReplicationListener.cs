using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Identity;

namespace Pollux.DataPlane.Replication;

/// <summary>Accepts replication sessions of all modules of this host on one port: authenticates, reads the greeting, and gives the stream to
/// the module's engine. Who is not understood gets a Refused frame with a code and a text.</summary>
public sealed class ReplicationListener : IAsyncDisposable
{
    /// <summary>Connections that have not shown a valid greeting yet. A cluster has one peer with at most 32 modules.</summary>
    public const int GreetingMax = 64;

    /// <summary>Authentication and greeting together; a LAN needs milliseconds.</summary>
    public static readonly TimeSpan GreetingDeadline = TimeSpan.FromSeconds(5);

    private readonly Socket _listener;
    private readonly Func<LinkTransport, CancellationToken, ValueTask<string>> _authenticate;
    private readonly Func<string, ReplicationEngine?> _engineOf;
    private readonly TimeSpan _silenceMax;
    private readonly PlaintextTokens _tokens = new();
    private readonly SemaphoreSlim _greeting = new(GreetingMax, GreetingMax);
    private readonly CancellationTokenSource _stopped = new();
    private readonly Task _accepting;

    /// <param name="authenticate">Secures an accepted connection and gives the host at the other end.</param>
    /// <param name="engineOf">The engine of a module key; null if this host has no such module.</param>
    /// <param name="silenceMax">See <see cref="SocketTuning.Apply"/>.</param>
    internal ReplicationListener(
        IPEndPoint endPoint, Func<LinkTransport, CancellationToken, ValueTask<string>> authenticate,
        Func<string, ReplicationEngine?> engineOf, TimeSpan silenceMax)
    {
        (_authenticate, _engineOf, _silenceMax) = (authenticate, engineOf, silenceMax);
        _listener = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        if (endPoint.AddressFamily == AddressFamily.InterNetworkV6)
            _listener.DualMode = true;
        _listener.Bind(endPoint);
        _listener.Listen(GreetingMax);
        _accepting = AcceptAsync();
    }

    public IPEndPoint EndPoint => (IPEndPoint)_listener.LocalEndPoint!;

    public async ValueTask DisposeAsync()
    {
        await _stopped.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _accepting.ConfigureAwait(false);
        _stopped.Dispose();
        _greeting.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stopped.IsCancellationRequested)
        {
            try
            {
                // At the limit new connections wait in the kernel's bounded backlog.
                await _greeting.WaitAsync(_stopped.Token).ConfigureAwait(false);
                var socket = await _listener.AcceptAsync(_stopped.Token).ConfigureAwait(false);
                _ = GreetAsync(socket);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException)
            {
                // The connection was reset before it was accepted.
                _greeting.Release();
            }
        }
    }

    private async Task GreetAsync(Socket socket)
    {
        LinkConnection? connection = null;
        (ReplicationEngine Engine, Hello Hello)? accepted = null;
        try
        {
            SocketTuning.Apply(socket, _silenceMax);
            using var deadline = CancellationTokenSource.CreateLinkedTokenSource(_stopped.Token);
            deadline.CancelAfter(GreetingDeadline);
            var transport = new LinkTransport(socket);
            if (await transport.PeekAsync(deadline.Token).ConfigureAwait(false) == PlaintextLink.OpeningMagic[0])
            {
                // A TLS handshake begins with another byte.
                connection = new LinkConnection(transport);
                if (await RedeemAsync(connection.Stream, deadline.Token).ConfigureAwait(false) is { } grant)
                    accepted = await HearAsync(connection, grant.PeerHost, grant.Module, deadline.Token).ConfigureAwait(false);
            }
            else
            {
                (connection, var peerHost) = await LinkConnection.SecureAsync(transport, _authenticate, deadline.Token).ConfigureAwait(false);
                accepted = await HearAsync(connection, peerHost, null, deadline.Token).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or SocketException or AuthenticationException or IdentityException or OperationCanceledException or ObjectDisposedException)
        {
            // Not authenticated, or gone, or too slow: nobody to answer.
        }
        finally
        {
            if (accepted is null)
            {
                // Whatever was thrown: what the TLS library holds for the connection is not collected.
                if (connection is not null)
                    await connection.DisposeAsync().ConfigureAwait(false);
                socket.Dispose();
            }
            if (!_stopped.IsCancellationRequested)
                _greeting.Release();
        }
        if (accepted is { } route)
            await route.Engine.AcceptAsync(connection!, route.Hello).ConfigureAwait(false);
    }

    /// <summary>Reads the greeting of an authenticated peer and answers what cannot be accepted.</summary>
    /// <param name="module">The only one that may be named; null: any.</param>
    private async Task<(ReplicationEngine, Hello)?> HearAsync(LinkConnection connection, string peerHost, string? module, CancellationToken cancel)
    {
        var stream = connection.Stream;
        var magic = new byte[4];
        await stream.ReadExactlyAsync(magic, cancel).ConfigureAwait(false);
        if (module is null && magic.AsSpan().SequenceEqual(PlaintextLink.QuestionMagic))
        {
            if (await PlaintextLink.ReadQuestionAsync(stream, cancel).ConfigureAwait(false) is not { } asked)
                throw new IOException("the question for a plaintext link names no module");
            var allowed = _engineOf(asked) is { } engine && engine.PeerHost == peerHost && engine.AllowsPlaintext;
            var token = allowed ? _tokens.Issue(peerHost, asked, Environment.TickCount64) : [];
            await stream.WriteAsync(PlaintextLink.Answer(token), cancel).ConfigureAwait(false);
            if (token.Length > 0)
            {
                await connection.DisposeAsync().ConfigureAwait(false);
                return null;
            }
            await stream.ReadExactlyAsync(magic, cancel).ConfigureAwait(false);
        }
        var (hello, refusal) = await ReadHelloAsync(stream, magic, cancel).ConfigureAwait(false);
        (ReplicationEngine, Hello)? accepted = null;
        if (refusal is null && module is not null && hello!.Module != module)
            refusal = new Refusal(RefusalCode.Malformed, $"the connection was opened for module {module}");
        if (refusal is null)
            (accepted, refusal) = Route(hello!, peerHost);
        if (refusal is not null)
            await connection.RefuseAsync(refusal).ConfigureAwait(false);
        return accepted;
    }

    private async Task<PlaintextTokens.Grant?> RedeemAsync(Stream stream, CancellationToken cancel)
    {
        var opening = new byte[PlaintextLink.OpeningBytes];
        await stream.ReadExactlyAsync(opening, cancel).ConfigureAwait(false);
        return opening.AsSpan(0, 4).SequenceEqual(PlaintextLink.OpeningMagic) ? _tokens.Redeem(opening.AsSpan(4), Environment.TickCount64) : null;
    }

    private (ValueTuple<ReplicationEngine, Hello>?, Refusal?) Route(Hello hello, string peerHost)
    {
        if (_engineOf(hello.Module) is not { } engine)
            return (null, new Refusal(RefusalCode.UnknownModule, $"module {hello.Module} is not on this host"));
        return engine.PeerHost == peerHost
            ? ((engine, hello), null)
            : (null, new Refusal(RefusalCode.NotThePeer, $"host {peerHost} is not the peer of module {hello.Module}"));
    }

    private static async Task<(Hello? Hello, Refusal? Refusal)> ReadHelloAsync(Stream stream, byte[] magic, CancellationToken cancel)
    {
        var frame = new byte[FrameHeader.SizeBytes + (2 * Hello.ModuleBytesMax)];
        magic.CopyTo(frame, 0);
        await stream.ReadExactlyAsync(frame.AsMemory(magic.Length, FrameHeader.SizeBytes - magic.Length), cancel).ConfigureAwait(false);
        var payloadBytes = BitConverter.ToInt32(frame, 4);
        if (payloadBytes < 0 || payloadBytes > frame.Length - FrameHeader.SizeBytes)
            return (null, new Refusal(RefusalCode.Malformed, "the greeting is too long"));
        await stream.ReadExactlyAsync(frame.AsMemory(FrameHeader.SizeBytes, payloadBytes), cancel).ConfigureAwait(false);
        if (FrameHeader.TryDecode(frame.AsSpan(0, FrameHeader.SizeBytes + payloadBytes), default(FrameChain).Expected, out var header, out var payload) != FrameDecode.Frame
            || header.Kind != FrameKind.Hello)
            return (null, new Refusal(RefusalCode.Malformed, "the first frame is not a greeting"));
        if (Hello.Read(payload, out var version) is { } hello)
            return (hello, null);
        return (null, version == Hello.ProtocolVersion
            ? new Refusal(RefusalCode.Malformed, "the greeting cannot be read")
            : new Refusal(RefusalCode.ProtocolVersion, $"this host speaks version {Hello.ProtocolVersion} of the replication protocol, not {version}"));
    }
}
