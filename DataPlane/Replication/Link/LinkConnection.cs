using System.Net;
using System.Net.Sockets;

namespace Pollux.DataPlane.Replication;

/// <summary>A connection between two hosts that have authenticated each other.</summary>
public sealed class LinkConnection : IAsyncDisposable
{
    internal LinkConnection(LinkTransport transport) => Transport = transport;

    /// <summary>For the exchange of greetings: reads no more than it is asked for.</summary>
    public Stream Stream => Transport;

    /// <summary>Number of the network to the peer that was dialled, from 1; 0 for a connection that the peer dialled.</summary>
    public int Network { get; set; }

    internal LinkTransport Transport { get; }

    /// <summary>Without encryption: the socket is all.</summary>
    public static LinkConnection Plain(Socket socket) => new(new LinkTransport(socket));

    /// <summary>Connects without the runtime's poller, which would watch the socket ever after.</summary>
    /// <exception cref="SocketException">The peer cannot be reached.</exception>
    public static Task<Socket> ConnectAsync(Socket socket, EndPoint peer, CancellationToken cancel) => Task.Factory.StartNew(
        () =>
        {
            // Closing it ends the wait.
            using var ending = cancel.Register(socket.Dispose);
            try
            {
                socket.Connect(peer);
                return socket;
            }
            catch (Exception) when (cancel.IsCancellationRequested)
            {
                throw new OperationCanceledException(cancel);
            }
        },
        cancel, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);

    /// <summary>Secures a connection before it is used.</summary>
    /// <param name="secure">Puts above the socket what encrypts, and gives what it has learnt.</param>
    /// <remarks>When <paramref name="secure"/> throws the socket is closed.</remarks>
    internal static async ValueTask<(LinkConnection Connection, T Learnt)> SecureAsync<T>(
        LinkTransport transport, Func<LinkTransport, CancellationToken, ValueTask<T>> secure, CancellationToken cancel)
    {
        try
        {
            var learnt = await secure(transport, cancel).ConfigureAwait(false);
            return (new LinkConnection(transport), learnt);
        }
        catch
        {
            await transport.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Answers a greeting that is not accepted, and closes.</summary>
    internal async Task RefuseAsync(Refusal refusal)
    {
        var frame = new byte[FrameHeader.SizeBytes + 2048];
        var length = refusal.Write(frame.AsSpan(FrameHeader.SizeBytes));
        new FrameHeader(FrameKind.Refused, FrameFlags.None, length, 0, 0, 0, 0).Seal(
            frame.AsSpan(0, FrameHeader.SizeBytes + length), default(FrameChain).Next());
        try
        {
            await Stream.WriteAsync(frame.AsMemory(0, FrameHeader.SizeBytes + length)).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The peer is gone already; it will ask again.
        }
        await DisposeAsync().ConfigureAwait(false);
    }

    public ValueTask DisposeAsync() => Transport.DisposeAsync();
}
