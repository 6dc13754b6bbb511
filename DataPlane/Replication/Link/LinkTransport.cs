using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Replication;

/// <summary>The bytes of one connection: first a stream, for handshake and greetings, then <see cref="Send"/> and <see cref="Receive"/> on an
/// event loop, which never wait.</summary>
/// <remarks>The waits of the stream are those of a thread of their own: an asynchronous operation would register the socket with the runtime's
/// own poller for good, which then would wake up for every packet. They read no more than they are asked for.</remarks>
internal sealed unsafe class LinkTransport : Stream
{
    private readonly Socket _socket;
    private readonly SocketLayer _plain;
    private ILinkLayer _layer;

    public LinkTransport(Socket socket)
    {
        _socket = socket;
        Descriptor = (int)socket.Handle;
        _layer = _plain = new SocketLayer(Descriptor);
    }

    public int Descriptor { get; }

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>See <see cref="ILinkLayer.Send"/>.</summary>
    public nint Send(LoopNative.IoVector* vectors, int count) => _layer.Send(vectors, count);

    /// <summary>See <see cref="ILinkLayer.Receive"/>.</summary>
    public int Receive(byte* buffer, int bytes) => _layer.Receive(buffer, bytes);

    /// <summary>See <see cref="ILinkLayer.HoldsFailure"/>.</summary>
    public bool HoldsFailure => _layer.HoldsFailure;

    /// <summary>Puts TLS above the socket.</summary>
    /// <param name="isTrusted">Judges the peer's certificate.</param>
    /// <exception cref="AuthenticationException">Not TLS 1.3, or a certificate that was refused, by one of the ends.</exception>
    /// <exception cref="IOException">The connection has failed.</exception>
    public Task SecureAsync(TlsCredentials credentials, bool accepts, Func<X509Certificate2, bool> isTrusted, CancellationToken cancel)
    {
        var tls = new TlsLayer(credentials, _plain, accepts, isTrusted);
        Interpose(_ => tls);
        return Waiting(
            () =>
            {
                for (var events = tls.Handshake(); events != 0; events = tls.Handshake())
                    Await(events, cancel);
                return 0;
            },
            cancel);
    }

    /// <summary>Puts a layer above the one that is there.</summary>
    public void Interpose(Func<ILinkLayer, ILinkLayer> layer) => _layer = layer(_layer);

    /// <summary>Waits for the first byte of the peer, which stays to be read.</summary>
    /// <returns>-1: the peer has closed.</returns>
    public Task<int> PeekAsync(CancellationToken cancel) => Waiting(
        () =>
        {
            byte first;
            int got;
            while ((got = _plain.Peek(&first, 1)) < 0)
                Await(LoopNative.PollIn, cancel);
            return got == 0 ? -1 : first;
        },
        cancel);

    /// <summary>Nothing more will be sent; what is on its way arrives.</summary>
    public void EndSending()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It is closed already.
        }
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => new(Waiting(
        () =>
        {
            using var pinned = buffer.Pin();
            int got;
            while ((got = Receive((byte*)pinned.Pointer, buffer.Length)) < 0)
                Await(LoopNative.PollIn, cancellationToken);
            return got;
        },
        cancellationToken));

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => new(Waiting(
        () =>
        {
            using var pinned = buffer.Pin();
            for (var done = 0; done < buffer.Length;)
            {
                LoopNative.IoVector vector;
                vector.Base = (byte*)pinned.Pointer + done;
                vector.Length = (nuint)(buffer.Length - done);
                var sent = Send(&vector, 1);
                if (sent < 0)
                    Await(LoopNative.PollOut, cancellationToken);
                else
                    done += (int)sent;
            }
            return 0;
        },
        cancellationToken));

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("Reads are asynchronous.");

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException("Writes are asynchronous.");

    public override void Flush()
    {
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _layer.Dispose();
            _socket.Dispose();
        }
        base.Dispose(disposing);
    }

    /// <summary>Handshake and greetings take milliseconds, and no more connections than <see cref="ReplicationListener.GreetingMax"/> have them
    /// at a time.</summary>
    private static Task<int> Waiting(Func<int> wait, CancellationToken cancel) =>
        Task.Factory.StartNew(wait, cancel, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);

    private void Await(short events, CancellationToken cancel)
    {
        const int lookMs = 50;
        cancel.ThrowIfCancellationRequested();
        ObjectDisposedException.ThrowIf(_socket.SafeHandle.IsClosed, this);
        var descriptor = new LoopNative.PollDescriptor { Descriptor = Descriptor, Events = events };
        _ = LoopNative.Poll(&descriptor, 1, lookMs);
    }
}
