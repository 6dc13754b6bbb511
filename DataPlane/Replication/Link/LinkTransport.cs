using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading.Tasks.Sources;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Replication;

/// <summary>The bytes of one connection, first for the handshake and then for an event loop.</summary>
/// <remarks>
/// <code>
/// handshake (threads that wait) ──BeginLoop──► loop (one thread; nothing blocks)
/// </code>
/// While the handshake lasts it is a stream over the socket, whose waits are those of a thread of their own: an asynchronous operation would
/// register the socket with the runtime's own poller for good, which then would wake up for every packet. On the loop writes append to a buffer that <see cref="Push"/> sends, and reads
/// take from a buffer that <see cref="Pull"/> fills; a read that finds it empty pends until then, and its continuation runs inside
/// <see cref="Pull"/>. So a TLS stream above stays on the loop's thread and blocks nobody.
/// </remarks>
internal sealed unsafe class LinkTransport : Stream, IValueTaskSource<int>
{
    /// <summary>A few TLS records (16 KiB): one system call for several.</summary>
    private const int InBytes = 128 << 10;
    private const int OutBytesStart = 128 << 10;

    private readonly Socket _socket;
    private byte[] _in = [];
    private int _inStart;
    private int _inEnd;
    private bool _inClosed;
    private byte[] _out = [];
    private int _outStart;
    private int _outEnd;
    private bool _onLoop;
    private Memory<byte> _waitingFor;
    private bool _waits;
    private ManualResetValueTaskSourceCore<int> _read;

    public LinkTransport(Socket socket)
    {
        _socket = socket;
        Descriptor = (int)socket.Handle;
    }

    public int Descriptor { get; }

    /// <summary>Bytes that the socket has not taken.</summary>
    public int OutBytes => _outEnd - _outStart;

    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => true;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>The handshake is over; from now on one thread uses this.</summary>
    /// <param name="buffered">A stream above reads and writes here; false: the socket is used directly.</param>
    public void BeginLoop(bool buffered)
    {
        _onLoop = true;
        if (!buffered)
            return;
        _in = GC.AllocateUninitializedArray<byte>(InBytes, pinned: true);
        _out = GC.AllocateUninitializedArray<byte>(OutBytesStart, pinned: true);
    }

    /// <summary>Sends what was written.</summary>
    /// <returns>False: the socket is full.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    public bool Push()
    {
        while (_outStart < _outEnd)
        {
            LoopNative.IoVector vector;
            vector.Base = Pointer(_out, _outStart);
            vector.Length = (nuint)(_outEnd - _outStart);
            var sent = Send(&vector, 1);
            if (sent < 0)
                return false;
            _outStart += (int)sent;
        }
        _outStart = _outEnd = 0;
        return true;
    }

    /// <summary>Receives once and lets a waiting read go on.</summary>
    /// <returns>False: nothing is there now.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    public bool Pull()
    {
        if (_inStart == _inEnd)
            _inStart = _inEnd = 0;
        if (_inEnd == _in.Length)
            return false;
        var got = Receive(Pointer(_in, _inEnd), _in.Length - _inEnd);
        if (got < 0)
            return false;
        _inEnd += got;
        _inClosed |= got == 0;
        if (_waits)
        {
            _waits = false;
            _read.SetResult(Take(_waitingFor));
        }
        return true;
    }

    /// <returns>Bytes sent; -1: the socket is full.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    public nint Send(LoopNative.IoVector* vectors, int count)
    {
        var message = new LoopNative.MessageHeader { Vectors = vectors, VectorCount = (nuint)count };
        while (true)
        {
            var sent = LoopNative.SendMessage(Descriptor, &message, LoopNative.MessageDontWait | LoopNative.MessageNoSignal);
            if (sent >= 0)
                return sent;
            switch (Marshal.GetLastPInvokeError())
            {
                case Errno.EINTR:
                    continue;
                case Errno.EAGAIN:
                    return -1;
                case var errno:
                    throw new IOException($"send: {Errno.Describe(errno)}");
            }
        }
    }

    /// <returns>Bytes received; 0: the peer has closed; -1: nothing is there now.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    public int Receive(byte* buffer, int bytes)
    {
        while (true)
        {
            var got = LoopNative.Receive(Descriptor, buffer, (nuint)bytes, LoopNative.MessageDontWait);
            if (got >= 0)
                return (int)got;
            switch (Marshal.GetLastPInvokeError())
            {
                case Errno.EINTR:
                    continue;
                case Errno.EAGAIN:
                    return -1;
                case var errno:
                    throw new IOException($"receive: {Errno.Describe(errno)}");
            }
        }
    }

    /// <summary>Waits for the first byte of the peer, which stays to be read.</summary>
    /// <returns>-1: the peer has closed.</returns>
    public Task<int> PeekAsync(CancellationToken cancel)
    {
        var first = new byte[1];
        return Waiting(() => ReadWaiting(first, peek: true, cancel) == 1 ? first[0] : -1, cancel);
    }

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

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        _onLoop ? ReadOnLoop(buffer) : new ValueTask<int>(ReadInHandshake(buffer, cancellationToken));

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (!_onLoop)
            return new ValueTask(WriteInHandshake(buffer, cancellationToken));
        Append(buffer.Span);
        return ValueTask.CompletedTask;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("Reads are asynchronous.");

    public override void Write(byte[] buffer, int offset, int count)
    {
        if (!_onLoop)
            throw new NotSupportedException("Writes of a handshake are asynchronous.");
        Append(buffer.AsSpan(offset, count));
    }

    public override void Flush()
    {
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    int IValueTaskSource<int>.GetResult(short token)
    {
        var result = _read.GetResult(token);
        _read.Reset();
        return result;
    }

    ValueTaskSourceStatus IValueTaskSource<int>.GetStatus(short token) => _read.GetStatus(token);

    void IValueTaskSource<int>.OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _read.OnCompleted(continuation, state, token, flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _socket.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Apart from <see cref="ReadAsync(Memory{byte}, CancellationToken)"/>: what a lambda captures is allocated where its method
    /// begins, on the loop too.</summary>
    private Task<int> ReadInHandshake(Memory<byte> buffer, CancellationToken cancel) =>
        Waiting(() => ReadWaiting(buffer, peek: false, cancel), cancel);

    private Task<int> WriteInHandshake(ReadOnlyMemory<byte> buffer, CancellationToken cancel) =>
        Waiting(() => WriteWaiting(buffer, cancel), cancel);

    /// <summary>A handshake takes milliseconds, and no more connections than <see cref="ReplicationListener.GreetingMax"/> have one at a time.</summary>
    private static Task<int> Waiting(Func<int> wait, CancellationToken cancel) =>
        Task.Factory.StartNew(wait, cancel, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);

    private int ReadWaiting(Memory<byte> buffer, bool peek, CancellationToken cancel)
    {
        using var pinned = buffer.Pin();
        while (true)
        {
            var got = LoopNative.Receive(
                Descriptor, pinned.Pointer, (nuint)buffer.Length, LoopNative.MessageDontWait | (peek ? LoopNative.MessagePeek : 0));
            if (got >= 0)
                return (int)got;
            AwaitReadiness("receive", LoopNative.PollIn, cancel);
        }
    }

    private int WriteWaiting(ReadOnlyMemory<byte> buffer, CancellationToken cancel)
    {
        using var pinned = buffer.Pin();
        var done = 0;
        while (done < buffer.Length)
        {
            LoopNative.IoVector vector;
            vector.Base = (byte*)pinned.Pointer + done;
            vector.Length = (nuint)(buffer.Length - done);
            var sent = Send(&vector, 1);
            if (sent >= 0)
                done += (int)sent;
            else
                AwaitReadiness("send", LoopNative.PollOut, cancel);
        }
        return done;
    }

    /// <summary>After a call that has failed.</summary>
    private void AwaitReadiness(string call, short events, CancellationToken cancel)
    {
        const int lookMs = 50;
        if (Marshal.GetLastPInvokeError() is not (Errno.EAGAIN or Errno.EINTR) and var errno)
            throw new IOException($"{call}: {Errno.Describe(errno)}");
        cancel.ThrowIfCancellationRequested();
        ObjectDisposedException.ThrowIf(_socket.SafeHandle.IsClosed, this);
        var descriptor = new LoopNative.PollDescriptor { Descriptor = Descriptor, Events = events };
        _ = LoopNative.Poll(&descriptor, 1, lookMs);
    }

    private static byte* Pointer(byte[] pinned, int offset) => (byte*)Marshal.UnsafeAddrOfPinnedArrayElement(pinned, offset);

    private ValueTask<int> ReadOnLoop(Memory<byte> buffer)
    {
        if (_inStart < _inEnd || _inClosed)
            return new ValueTask<int>(Take(buffer));
        (_waits, _waitingFor) = (true, buffer);
        return new ValueTask<int>(this, _read.Version);
    }

    private int Take(Memory<byte> buffer)
    {
        var bytes = Math.Min(buffer.Length, _inEnd - _inStart);
        _in.AsSpan(_inStart, bytes).CopyTo(buffer.Span);
        _inStart += bytes;
        return bytes;
    }

    private void Append(ReadOnlySpan<byte> data)
    {
        if (_out.Length - _outEnd < data.Length)
        {
            var room = _outStart == 0 || OutBytes + data.Length > _out.Length
                ? GC.AllocateUninitializedArray<byte>(Math.Max(_out.Length * 2, OutBytes + data.Length), pinned: true)
                : _out;
            _out.AsSpan(_outStart, OutBytes).CopyTo(room);
            (_out, _outStart, _outEnd) = (room, 0, OutBytes);
        }
        data.CopyTo(_out.AsSpan(_outEnd));
        _outEnd += data.Length;
    }
}
