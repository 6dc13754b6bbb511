using System.Runtime.InteropServices;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Replication;

/// <summary>Frames over one connection, on an event loop: what a turn has queued leaves in one send, what has arrived is parsed where it
/// lies. Owned by the loop's thread.</summary>
internal sealed unsafe class LinkChannel : ILoopSource, IDisposable
{
    private const int ReceiveBytesStart = 256 << 10;
    private const int ReceiveBytesMax = 2 * (FrameHeader.SizeBytes + FrameHeader.PayloadBytesMax);
    private const int VectorsMax = 64;

    /// <summary>Frames from this length on are received each by itself, so that no part of the next has to be moved behind it: one more
    /// call costs less than that copy.</summary>
    private const int LongFrameBytes = 128 << 10;

    private readonly LinkConnection _connection;
    private readonly SendQueue _queue;
    private FrameChain _arrived;
    private readonly Action<LinkChannel> _readable;
    private byte[] _receive = GC.AllocateUninitializedArray<byte>(ReceiveBytesStart, pinned: true);
    private int _start;
    private int _end;
    private int _longFrameBytes;
    private bool _full;
    private bool _parting;
    private bool _more;
    private bool _disposed;

    /// <param name="readable">Bytes can be received: the owner calls <see cref="Receive"/>.</param>
    /// <param name="greeted">The first frame of the peer has been read from the connection already.</param>
    public LinkChannel(LinkConnection connection, BufferPool buffers, Action<LinkChannel> readable, bool greeted = false)
    {
        if (greeted)
            _arrived.Next();
        (_connection, _readable) = (connection, readable);
        _queue = new SendQueue(buffers);
        LastReceivedMs = Environment.TickCount64;
    }

    public int Descriptor => _connection.Transport.Descriptor;

    public short Interest => (short)((WantsInput ? LoopNative.PollIn : 0) | (_full ? LoopNative.PollOut : 0));

    /// <summary>False: the owner cannot take frames now, so none are received, and the peer will notice.</summary>
    public bool WantsInput { get; set; } = true;

    /// <summary>Why the channel has ended, or null.</summary>
    public string? EndReason { get; private set; }

    /// <summary><see cref="Environment.TickCount64"/> when bytes last arrived.</summary>
    public long LastReceivedMs { get; private set; }

    /// <summary>For how many bytes of frames there is room.</summary>
    public long SendRoomBytes => EndReason is null ? _queue.RoomBytes : 0;

    /// <summary>Bytes that were added and that the socket has not taken.</summary>
    public long UnsentBytes => _queue.Bytes;

    /// <summary>From the second frame on, in both directions, the frames belong to this session.</summary>
    public void Name(Guid session)
    {
        _queue.Name(session);
        _arrived.Name(session);
    }

    public void Add(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (EndReason is null && !_parting)
            _queue.Add(header, payload);
    }

    /// <summary>Adds a frame with a payload in a pool buffer; see <see cref="SendQueue"/>.</summary>
    public void Add(in FrameHeader header, int buffer, byte* payload, int length)
    {
        if (EndReason is null && !_parting)
            _queue.Add(header, buffer, payload, length);
    }

    /// <summary>Sends as much as the socket takes.</summary>
    /// <returns>True if room has appeared in the queue.</returns>
    public bool Send()
    {
        if (_queue.IsEmpty || EndReason is not null)
            return false;
        var before = _queue.Bytes;
        try
        {
            _full = !SendQueued();
        }
        catch (Exception e)
        {
            // Whatever a layer throws, it carries nothing any more.
            End($"the connection failed: {e.Message}");
            return false;
        }
        if (_parting && _queue.IsEmpty)
            _connection.Transport.EndSending();
        return _queue.Bytes < before;
    }

    /// <summary>There may be bytes that no readiness of the socket will tell of: to be received when the frames so far are dealt with.</summary>
    public bool MayHoldMore => _more && EndReason is null;

    /// <summary>Receives what is there, up to the buffer's room.</summary>
    /// <returns>True if something came; false if nothing is there now or the channel has ended.</returns>
    public bool Receive()
    {
        if (EndReason is not null)
            return false;
        try
        {
            _more = false;
            MakeRoom();
            var wanted = Wanted();
            var got = _connection.Transport.Receive(Received(_end), wanted);
            if (got < 0)
                return false;
            if (got == 0)
            {
                End("the peer has closed the connection");
                return false;
            }
            LastReceivedMs = Environment.TickCount64;
            _more = got == wanted || _connection.Transport.HoldsFailure;
            if (_parting)
                _start = _end = 0;
            else
                _end += got;
            return true;
        }
        catch (Exception e)
        {
            // Whatever a layer throws, it carries nothing any more.
            End($"the connection failed: {e.Message}");
            return false;
        }
    }

    /// <summary>Looks for the next received frame.</summary>
    /// <param name="payload">Valid until the next <see cref="Receive"/>.</param>
    /// <returns>False: none is complete, or the channel has ended (also by what is no frame).</returns>
    public bool TryNext(out FrameHeader header, out ReadOnlySpan<byte> payload, out int payloadOffset)
    {
        header = default;
        payload = default;
        payloadOffset = 0;
        if (EndReason is not null)
            return false;
        switch (FrameHeader.TryDecode(_receive.AsSpan(_start, _end - _start), _arrived.Expected, out header, out payload))
        {
            case FrameDecode.Frame:
                _arrived.Next();
                payloadOffset = _start + FrameHeader.SizeBytes;
                _start = payloadOffset + header.PayloadBytes;
                _longFrameBytes = FrameHeader.SizeBytes + header.PayloadBytes is >= LongFrameBytes and var longBytes ? longBytes : 0;
                return true;
            case FrameDecode.Incomplete:
                return false;
            case var breach:
                End($"the peer sent bytes that are no frame ({breach})");
                return false;
        }
    }

    /// <summary>A whole frame is there already, by its length.</summary>
    public bool HoldsFrame => FrameHeader.HoldsFrame(_receive.AsSpan(_start, _end - _start));

    /// <summary>The received bytes from an offset that <see cref="TryNext"/> gave.</summary>
    public byte* Received(int offset) => (byte*)Marshal.UnsafeAddrOfPinnedArrayElement(_receive, offset);

    /// <summary>Sends what is queued, takes no more, and lets the peer close: closing with bytes unread would reset the connection, and the
    /// last frame, which says why, could be lost on its way. The owner calls <see cref="End"/> after a while if the peer does not.</summary>
    public void Part()
    {
        if (EndReason is not null || _parting)
            return;
        _parting = true;
        WantsInput = true;
        _start = _end = 0;
        if (_queue.IsEmpty)
            _connection.Transport.EndSending();
    }

    /// <summary>Ends the channel; the first reason is kept.</summary>
    public void End(string reason)
    {
        if (EndReason is not null)
            return;
        EndReason = reason;
        _queue.Clear();
    }

    public void Ready(short events)
    {
        if ((events & LoopNative.PollOut) != 0)
            Send();
        if ((events & ~LoopNative.PollOut) != 0)
            _readable(this);
    }

    public void LoopFaulted(Exception cause)
    {
        End($"the event loop failed: {cause.Message}");
        Dispose();
    }

    /// <summary>After the end, and when the loop no longer watches it.</summary>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        End("closed");
        _connection.Transport.Dispose();
        _queue.Dispose();
    }

    private bool SendQueued()
    {
        var vectors = stackalloc LoopNative.IoVector[VectorsMax];
        while (!_queue.IsEmpty)
        {
            var sent = _connection.Transport.Send(vectors, _queue.Peek(vectors, VectorsMax));
            if (sent < 0)
                return false;
            _queue.Sent(sent);
        }
        return true;
    }

    /// <summary>The most that is asked for now, bytes: up to the end of a long frame that has begun, or that is expected because the last one
    /// was long.</summary>
    private int Wanted()
    {
        var heldBytes = _end - _start;
        var room = _receive.Length - _end;
        var frameBytes = FrameHeader.LengthAt(_receive.AsSpan(_start, heldBytes)) ?? _longFrameBytes;
        return frameBytes >= LongFrameBytes && frameBytes > heldBytes ? Math.Min(room, frameBytes - heldBytes) : room;
    }

    /// <summary>Moves the rest of a frame to the front, and grows the buffer for a frame that is longer.</summary>
    private void MakeRoom()
    {
        if (_start == _end)
        {
            _start = _end = 0;
            return;
        }
        var rest = _receive.AsSpan(_start, _end - _start);
        if (_end < _receive.Length && _start < _receive.Length / 2)
            return;
        if (_start > 0)
        {
            rest.CopyTo(_receive);
            (_start, _end) = (0, rest.Length);
        }
        if (_end == _receive.Length && _receive.Length < ReceiveBytesMax)
        {
            var larger = GC.AllocateUninitializedArray<byte>(Math.Min(ReceiveBytesMax, _receive.Length * 2), pinned: true);
            _receive.AsSpan(0, _end).CopyTo(larger);
            _receive = larger;
        }
    }
}
