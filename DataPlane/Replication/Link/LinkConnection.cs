using System.Net;
using System.Net.Sockets;

namespace Pollux.DataPlane.Replication;

/// <summary>A connection between two hosts that have authenticated each other: a socket, and the stream above it that encrypts, if one does.</summary>
public sealed class LinkConnection : IAsyncDisposable
{
    private LinkConnection(LinkTransport transport, Stream stream) => (Transport, Stream) = (transport, stream);

    /// <summary>For the exchange of greetings: reads no more than it is asked for.</summary>
    public Stream Stream { get; }

    /// <summary>Number of the network to the peer that was dialled, from 1; 0 for a connection that the peer dialled.</summary>
    public int Network { get; set; }

    /// <summary>Data travels through <see cref="Stream"/>, not directly through the socket.</summary>
    internal bool Encrypted => !ReferenceEquals(Stream, Transport);

    internal LinkTransport Transport { get; }

    /// <summary>Without encryption: the socket is all.</summary>
    public static LinkConnection Plain(Socket socket) => Plain(new LinkTransport(socket));

    internal static LinkConnection Plain(LinkTransport transport) => new(transport, transport);

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

    /// <summary>Puts a stream above the socket, after a handshake through it.</summary>
    /// <param name="secure">Gets the transport, gives what encrypts above it, with whatever else it has learnt. The stream must do its work
    /// synchronously where the transport does.</param>
    /// <remarks>When <paramref name="secure"/> throws the socket is closed.</remarks>
    public static ValueTask<(LinkConnection Connection, T Learnt)> SecureAsync<T>(
        Socket socket, Func<Stream, CancellationToken, ValueTask<(Stream Stream, T Learnt)>> secure, CancellationToken cancel) =>
        SecureAsync(new LinkTransport(socket), secure, cancel);

    internal static async ValueTask<(LinkConnection Connection, T Learnt)> SecureAsync<T>(
        LinkTransport transport, Func<Stream, CancellationToken, ValueTask<(Stream Stream, T Learnt)>> secure, CancellationToken cancel)
    {
        try
        {
            var (stream, learnt) = await secure(transport, cancel).ConfigureAwait(false);
            return (new LinkConnection(transport, stream), learnt);
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

    public async ValueTask DisposeAsync()
    {
        try
        {
            await Stream.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or NotSupportedException)
        {
            // The parting words of TLS found no connection any more.
        }
        await Transport.DisposeAsync().ConfigureAwait(false);
    }
}
