using System.Runtime.InteropServices;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Replication;

/// <summary>Frames that wait to be sent, as pieces of memory in their order: short frames lie one behind the other in a ring, long ones where
/// their data is (a pool buffer, whose headroom takes the header), so that nothing long is copied.</summary>
/// <remarks>Bounded by whoever adds frames: it looks at <see cref="RoomBytes"/> before. Frames without sequence, which are few, may go over.</remarks>
internal sealed unsafe class SendQueue(BufferPool buffers) : IDisposable
{
    /// <summary>Several frames of 1 MiB: a 10 Gb/s link is busy with them for some milliseconds.</summary>
    public const int BytesMax = 8 << 20;

    /// <summary>Longer payloads are sent from where they are.</summary>
    private const int CopiedBytesMax = 16 << 10;

    private const int RingBytes = 512 << 10;
    private const int PiecesMax = 16384;

    private FrameChain _chain;
    private readonly byte* _ring = (byte*)NativeMemory.AlignedAlloc(RingBytes, 4096);
    private readonly Piece[] _pieces = new Piece[PiecesMax];
    private int _first;
    private int _count;
    private int _ringStart;
    private int _ringEnd;

    /// <summary>Bytes that were added and not sent.</summary>
    public long Bytes { get; private set; }

    /// <summary>For how many bytes of frames there is room.</summary>
    public long RoomBytes => _count > PiecesMax / 2 ? 0 : Math.Max(0, BytesMax - Bytes);

    public bool IsEmpty => _count == 0;

    /// <summary>The frames after the first belong to this session.</summary>
    public void Name(Guid session) => _chain.Name(session);

    /// <summary>Adds a frame whose payload lies anywhere: it is copied.</summary>
    public void Add(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        var bytes = FrameHeader.SizeBytes + payload.Length;
        var frame = TakeRing(bytes);
        if (frame is not null)
        {
            Fill(frame, bytes, header, payload);
            AddCopied(frame, bytes);
            return;
        }
        // Rare: a manifest, or a ring that is full of unsent frames.
        var block = (byte*)NativeMemory.Alloc((nuint)bytes);
        Fill(block, bytes, header, payload);
        AddPiece(new Piece(block, block, bytes, Piece.Block));
    }

    /// <summary>Adds a frame whose payload lies in a pool buffer, which is kept until it is sent if it is not copied.</summary>
    /// <param name="payload">With at least <see cref="FrameHeader.SizeBytes"/> unused bytes before it.</param>
    public void Add(in FrameHeader header, int buffer, byte* payload, int length)
    {
        if (length <= CopiedBytesMax)
        {
            Add(header, new ReadOnlySpan<byte>(payload, length));
            return;
        }
        var bytes = FrameHeader.SizeBytes + length;
        var frame = payload - FrameHeader.SizeBytes;
        header.Seal(new Span<byte>(frame, bytes), _chain.Next());
        buffers.AddReference(buffer);
        AddPiece(new Piece(frame, frame, bytes, buffer));
    }

    /// <summary>Describes what comes next, for a gathering send.</summary>
    /// <returns>How many vectors were filled.</returns>
    public int Peek(LoopNative.IoVector* vectors, int vectorsMax)
    {
        var count = Math.Min(vectorsMax, _count);
        for (var i = 0; i < count; i++)
        {
            ref var piece = ref _pieces[(_first + i) & (PiecesMax - 1)];
            vectors[i] = new LoopNative.IoVector { Base = piece.Start, Length = (nuint)piece.Bytes };
        }
        return count;
    }

    /// <summary>So many bytes have been taken from the front.</summary>
    public void Sent(long bytes)
    {
        Bytes -= bytes;
        while (bytes > 0)
        {
            ref var piece = ref _pieces[_first];
            var part = (int)Math.Min(bytes, piece.Bytes);
            bytes -= part;
            piece.Start += part;
            piece.Bytes -= part;
            if (piece.Owner == Piece.Ring)
                _ringStart = (int)(piece.Start - _ring);
            if (piece.Bytes > 0)
                return;
            Free(piece);
            _first = (_first + 1) & (PiecesMax - 1);
            _count--;
        }
        if (_count == 0)
            _ringStart = _ringEnd = 0;
    }

    /// <summary>Drops everything: the connection has ended.</summary>
    public void Clear()
    {
        for (; _count > 0; _count--)
        {
            Free(_pieces[_first]);
            _first = (_first + 1) & (PiecesMax - 1);
        }
        _ringStart = _ringEnd = 0;
        Bytes = 0;
    }

    public void Dispose()
    {
        Clear();
        NativeMemory.AlignedFree(_ring);
    }

    private void Fill(byte* frame, int bytes, in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        payload.CopyTo(new Span<byte>(frame + FrameHeader.SizeBytes, bytes - FrameHeader.SizeBytes));
        header.Seal(new Span<byte>(frame, bytes), _chain.Next());
    }

    /// <summary>Contiguous room in the ring. One byte always stays free, so that start = end means empty.</summary>
    private byte* TakeRing(int bytes)
    {
        if (_count == 0)
            _ringStart = _ringEnd = 0;
        if (_ringEnd >= _ringStart)
        {
            if (_ringEnd + bytes <= RingBytes)
                return _ring + _ringEnd;
            if (bytes >= _ringStart)
                return null;
            return _ring;
        }
        return _ringEnd + bytes < _ringStart ? _ring + _ringEnd : null;
    }

    private void AddCopied(byte* frame, int bytes)
    {
        _ringEnd = (int)(frame - _ring) + bytes;
        ref var last = ref _pieces[(_first + _count - 1) & (PiecesMax - 1)];
        if (_count > 0 && last.Owner == Piece.Ring && last.Start + last.Bytes == frame)
        {
            last.Bytes += bytes;
            Bytes += bytes;
            return;
        }
        AddPiece(new Piece(frame, frame, bytes, Piece.Ring));
    }

    private void AddPiece(in Piece piece)
    {
        if (_count == PiecesMax)
            throw new InvalidOperationException($"{PiecesMax} frames wait to be sent.");
        _pieces[(_first + _count++) & (PiecesMax - 1)] = piece;
        Bytes += piece.Bytes;
    }

    private void Free(in Piece piece)
    {
        if (piece.Owner == Piece.Block)
            NativeMemory.Free(piece.Memory);
        else if (piece.Owner != Piece.Ring)
            buffers.Release(piece.Owner);
    }

    private struct Piece(byte* memory, byte* start, int bytes, int owner)
    {
        /// <summary>Owners other than a pool buffer.</summary>
        public const int Ring = -1;
        public const int Block = -2;

        public readonly byte* Memory = memory;
        public byte* Start = start;
        public int Bytes = bytes;
        public readonly int Owner = owner;
    }
}
