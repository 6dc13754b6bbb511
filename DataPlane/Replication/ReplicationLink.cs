using Pollux.DataPlane.Core.Replication;

namespace Pollux.DataPlane.Replication;

/// <summary>Frames over one connection: a bounded send buffer that many threads fill and one at a time empties, and a receive buffer that
/// one thread reads. The first cause of its end is kept.</summary>
/// <remarks>
/// Sending has three steps. <see cref="TryReserve"/> fixes a frame's place in the stream and is called under the lock that fixes its
/// sequence; the frame is filled outside of any lock; <see cref="Commit"/> lets it go. A short frame that finds the line free is sent by
/// the thread that made it, which saves waking another; everything else is sent by the sender thread, all that has gathered at once.
/// </remarks>
internal sealed class ReplicationLink : IDisposable
{
    /// <summary>Room for several frames of 1 MiB: enough to keep a 10 Gb/s link busy for some milliseconds while a sender sleeps.</summary>
    public const int SendBytesMax = 8 << 20;

    /// <summary>Replicas send acknowledgements and marks only.</summary>
    public const int ReplicaSendBytesMax = 2 << 20;

    private const int FramesMax = 8192;
    private const int InlineBytesMax = 128 << 10;
    private const int BatchBytesMax = 1 << 20;
    private const int ReceiveBytesStart = 256 << 10;
    private const int ReceiveBytesMax = 2 * (FrameHeader.SizeBytes + FrameHeader.PayloadBytesMax);

    private readonly Stream _stream;
    private readonly object _sendLock = new();
    private readonly byte[] _send;
    private readonly Reserved[] _frames = new Reserved[FramesMax];
    private readonly Action _roomFreed;
    private readonly Thread _sender;
    private long _firstFrame;
    private long _nextFrame;
    private int _writeOffset;
    private bool _sending;
    private bool _senderWaits;
    private int _roomWaiters;

    private byte[] _receive = GC.AllocateUninitializedArray<byte>(ReceiveBytesStart, pinned: true);
    private int _receiveStart;
    private int _receiveEnd;
    private string? _endReason;
    private string? _partingReason;
    private Timer? _partingLimit;

    /// <param name="roomFreed">Called without locks after the send buffer has got room.</param>
    public ReplicationLink(Stream stream, string name, int sendBytesMax, Action roomFreed)
    {
        _stream = stream;
        _send = GC.AllocateUninitializedArray<byte>(sendBytesMax, pinned: true);
        _roomFreed = roomFreed;
        LastReceivedMs = Environment.TickCount64;
        _sender = new Thread(SendLoop) { IsBackground = true, Name = $"send {name}" };
        _sender.Start();
    }

    /// <summary>Why the link has ended, or null while it has not.</summary>
    public string? EndReason => Volatile.Read(ref _endReason);

    /// <summary><see cref="Environment.TickCount64"/> when bytes last arrived.</summary>
    public long LastReceivedMs { get; private set; }

    /// <summary>Reserves room for a frame, or says that there is none now.</summary>
    public bool TryReserve(int payloadBytes, out FrameReservation reservation)
    {
        var bytes = FrameHeader.SizeBytes + payloadBytes;
        lock (_sendLock)
        {
            reservation = default;
            if (_nextFrame - _firstFrame >= FramesMax || !FindRoom(bytes, out var offset))
                return false;
            _frames[_nextFrame % FramesMax] = new Reserved { Offset = offset, Bytes = bytes };
            reservation = new FrameReservation(_nextFrame++, offset, bytes);
            _writeOffset = offset + bytes;
            return true;
        }
    }

    /// <summary>Reserves room for two frames that follow each other, or for none.</summary>
    public bool TryReserve(int firstPayloadBytes, int secondPayloadBytes, out FrameReservation first, out FrameReservation second)
    {
        lock (_sendLock)
        {
            var writeOffset = _writeOffset;
            second = default;
            if (!TryReserve(firstPayloadBytes, out first))
                return false;
            if (TryReserve(secondPayloadBytes, out second))
                return true;
            _nextFrame--;
            _writeOffset = writeOffset;
            return false;
        }
    }

    /// <summary>The payload of a reserved frame, to be filled before <see cref="Commit"/>.</summary>
    public Span<byte> PayloadOf(in FrameReservation reservation) =>
        _send.AsSpan(reservation.Offset + FrameHeader.SizeBytes, reservation.Bytes - FrameHeader.SizeBytes);

    /// <summary>Seals the frame and lets it go.</summary>
    /// <param name="mayInline">The link may send it, and others, on this thread: the caller holds no lock.</param>
    public void Commit(in FrameReservation reservation, in FrameHeader header, bool mayInline)
    {
        header.Seal(_send.AsSpan(reservation.Offset, reservation.Bytes));
        Reserved batch;
        lock (_sendLock)
        {
            _frames[reservation.Frame % FramesMax].Committed = true;
            if (!mayInline || _sending || reservation.Frame != _firstFrame || reservation.Bytes > InlineBytesMax)
            {
                WakeSender();
                return;
            }
            if (!TakeBatch(out batch))
                return;
        }
        SendBatch(batch);
    }

    /// <summary>Reserves, fills and sends a frame that is not acknowledged; waits for room.</summary>
    /// <returns>False if the link has ended.</returns>
    public bool Send(FrameKind kind, FrameFlags flags, long epoch, ulong sequence, ulong obj, long offsetBytes, ReadOnlySpan<byte> payload)
    {
        FrameReservation reservation;
        lock (_sendLock)
        {
            while (!TryReserve(payload.Length, out reservation))
            {
                if (EndReason is not null)
                    return false;
                _roomWaiters++;
                Monitor.Wait(_sendLock);
                _roomWaiters--;
            }
        }
        payload.CopyTo(PayloadOf(reservation));
        Commit(reservation, new FrameHeader(kind, flags, payload.Length, epoch, sequence, obj, offsetBytes), mayInline: true);
        return EndReason is null;
    }

    /// <summary>A whole frame is in the receive buffer already (it is checked when it is received).</summary>
    public bool HasReceivedFrame => FrameHeader.HoldsFrame(_receive.AsSpan(_receiveStart, _receiveEnd - _receiveStart));

    /// <summary>Waits for the next frame. One thread only.</summary>
    /// <param name="payload">Valid until the next call.</param>
    /// <returns>False if the link has ended; <see cref="EndReason"/> says why.</returns>
    public bool Receive(out FrameHeader header, out ReadOnlySpan<byte> payload)
    {
        while (true)
        {
            if (Volatile.Read(ref _partingReason) is not null)
                _receiveStart = _receiveEnd = 0;
            var received = _receive.AsSpan(_receiveStart, _receiveEnd - _receiveStart);
            switch (FrameHeader.TryDecode(received, out header, out payload))
            {
                case FrameDecode.Frame:
                    _receiveStart += FrameHeader.SizeBytes + header.PayloadBytes;
                    return true;
                case FrameDecode.Incomplete:
                    if (!ReceiveMore())
                        return false;
                    break;
                case var breach:
                    End($"the peer sent bytes that are no frame ({breach})");
                    return false;
            }
        }
    }

    /// <summary>Ends the link; the first reason is kept. Never blocks for long; any thread.</summary>
    public void End(string reason)
    {
        if (Interlocked.CompareExchange(ref _endReason, Volatile.Read(ref _partingReason) ?? reason, null) is not null)
            return;
        _partingLimit?.Dispose();
        _stream.Dispose();
        lock (_sendLock)
            Monitor.PulseAll(_sendLock);
        _roomFreed();
    }

    /// <summary>Ends the link when what was committed is sent and the peer has closed, a second each at most. Closing with bytes unread would
    /// reset the connection, and the last frame, which says why, could be lost on its way. The receiving thread calls <see cref="DiscardRest"/>.</summary>
    public void EndAfterSending(string reason)
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        lock (_sendLock)
        {
            while (_firstFrame < _nextFrame && EndReason is null && clock.ElapsedMilliseconds < 1_000)
            {
                _roomWaiters++;
                Monitor.Wait(_sendLock, 100);
                _roomWaiters--;
            }
        }
        if (Interlocked.CompareExchange(ref _partingReason, reason, null) is null)
            _partingLimit = new Timer(static link => ((ReplicationLink)link!).End("the peer did not close"), this, 1_000, Timeout.Infinite);
    }

    /// <summary>After <see cref="EndAfterSending"/>: throws away what still arrives, until the peer closes. For the receiving thread only.</summary>
    public void DiscardRest()
    {
        if (Volatile.Read(ref _partingReason) is not null)
            while (Receive(out _, out _))
            {
            }
    }

    public void Dispose() => End("closed");

    private bool ReceiveMore()
    {
        if (_receiveStart == _receiveEnd)
            _receiveStart = _receiveEnd = 0;
        if (_receiveEnd == _receive.Length || (_receiveStart > 0 && _receive.Length - _receiveStart < FrameHeader.SizeBytes + FrameHeader.PayloadBytesMax))
        {
            var pending = _receive.AsSpan(_receiveStart, _receiveEnd - _receiveStart);
            if (pending.Length > _receive.Length / 2 && _receive.Length < ReceiveBytesMax)
            {
                var larger = GC.AllocateUninitializedArray<byte>(ReceiveBytesMax, pinned: true);
                pending.CopyTo(larger);
                _receive = larger;
            }
            else
            {
                pending.CopyTo(_receive);
            }
            (_receiveStart, _receiveEnd) = (0, pending.Length);
        }
        try
        {
            var count = _stream.Read(_receive, _receiveEnd, _receive.Length - _receiveEnd);
            if (count > 0)
            {
                _receiveEnd += count;
                LastReceivedMs = Environment.TickCount64;
                return true;
            }
            End("the peer closed the connection");
        }
        catch (Exception e)
        {
            // Whatever a stream that is closed meanwhile throws: the link is over, and says why.
            End($"receiving failed: {e.Message}");
        }
        return false;
    }

    private void SendLoop()
    {
        while (true)
        {
            Reserved batch = default;
            lock (_sendLock)
            {
                while (EndReason is null && (_sending || !TakeBatch(out batch)))
                {
                    _senderWaits = true;
                    Monitor.Wait(_sendLock);
                    _senderWaits = false;
                }
                if (EndReason is not null)
                    return;
            }
            SendBatch(batch);
        }
    }

    private void SendBatch(in Reserved batch)
    {
        try
        {
            _stream.Write(_send, batch.Offset, batch.Bytes);
        }
        catch (Exception e)
        {
            End($"sending failed: {e.Message}");
        }
        lock (_sendLock)
        {
            _firstFrame += batch.Frames;
            if (_firstFrame == _nextFrame)
                _writeOffset = 0;
            _sending = false;
            if (_roomWaiters > 0)
                Monitor.PulseAll(_sendLock);
            else
                WakeSender();
        }
        _roomFreed();
    }

    /// <summary>Takes committed frames that lie one after the other; the caller sends them. Needs the send lock, and nobody sending.</summary>
    private bool TakeBatch(out Reserved batch)
    {
        batch = default;
        for (var frame = _firstFrame; frame < _nextFrame; frame++)
        {
            ref readonly var next = ref _frames[frame % FramesMax];
            if (!next.Committed || (batch.Frames > 0 && (next.Offset != batch.Offset + batch.Bytes || batch.Bytes + next.Bytes > BatchBytesMax)))
                break;
            if (batch.Frames == 0)
                batch.Offset = next.Offset;
            batch.Bytes += next.Bytes;
            batch.Frames++;
        }
        _sending = batch.Frames > 0;
        return _sending;
    }

    private void WakeSender()
    {
        if (_senderWaits && _firstFrame < _nextFrame)
            Monitor.PulseAll(_sendLock);
    }

    /// <summary>Needs the send lock. A frame lies in one piece; what is left at the end of the buffer is skipped.</summary>
    private bool FindRoom(int bytes, out int offset)
    {
        offset = 0;
        if (bytes > _send.Length)
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes, "The frame is longer than the send buffer.");
        if (_firstFrame == _nextFrame)
            return true;
        var readOffset = _frames[_firstFrame % FramesMax].Offset;
        if (_writeOffset > readOffset)
        {
            if (_send.Length - _writeOffset >= bytes)
            {
                offset = _writeOffset;
                return true;
            }
            return readOffset > bytes;
        }
        offset = _writeOffset;
        return readOffset - _writeOffset > bytes;
    }

    private struct Reserved
    {
        public int Offset;
        public int Bytes;
        public int Frames;
        public bool Committed;
    }
}

/// <summary>A frame's place in the send buffer of a link.</summary>
internal readonly record struct FrameReservation(long Frame, int Offset, int Bytes);
