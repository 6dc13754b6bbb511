using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

public enum CopyPieceKind : byte
{
    /// <summary>The peer needs nothing: the file is gone, has no name, or ends before the range.</summary>
    Nothing,

    /// <summary>The range reads as zeros and has no storage.</summary>
    Hole,
    Data,
}

/// <summary>The first piece of a range of an object for a copy to the peer.</summary>
/// <param name="CoveredBytes">How much of the range is dealt with by this piece: whole blocks, or all.</param>
/// <param name="LengthBytes">What is sent, from the start of the range: the length of the hole or of the data, up to the end of the file.</param>
public readonly record struct CopyPiece(CopyPieceKind Kind, long CoveredBytes, long LengthBytes)
{
    /// <summary>The most that one piece reads.</summary>
    public const int DataBytesMax = FrameHeader.DataBytesMax;

    /// <summary>Decides what of a range to send.</summary>
    /// <param name="range">Starts at a block.</param>
    /// <param name="links">0: the object has no name any more, or is not there.</param>
    /// <param name="sizeBytes">Of the file.</param>
    /// <param name="dataOffsetBytes">Where SEEK_DATA from the start of the range finds data; long.MaxValue if nowhere (ENXIO), the start of
    /// the range if it is not known.</param>
    /// <param name="dataEndBytes">Where SEEK_HOLE from there finds the end of the data; long.MaxValue if it is not known. A sparse file stays
    /// sparse on the peer to the block.</param>
    public static CopyPiece Plan(in ObjectRange range, uint links, long sizeBytes, long dataOffsetBytes, long dataEndBytes = long.MaxValue)
    {
        var start = range.OffsetBytes;
        // What made the file short or nameless was sent as a mutation.
        if (links == 0 || sizeBytes <= start)
            return new(CopyPieceKind.Nothing, range.EndBytes - start, 0);
        var inFile = Math.Min(range.EndBytes, sizeBytes);
        if (dataOffsetBytes >= inFile)
            return new(CopyPieceKind.Hole, range.EndBytes - start, inFile - start);
        var holeEnd = dataOffsetBytes / DirtyMap.BlockBytes * DirtyMap.BlockBytes;
        if (holeEnd > start)
            return new(CopyPieceKind.Hole, holeEnd - start, holeEnd - start);
        var end = Math.Min(range.EndBytes, start + DataBytesMax);
        if (dataEndBytes < end)
            end = Math.Min(end, (dataEndBytes + DirtyMap.BlockBytes - 1) / DirtyMap.BlockBytes * DirtyMap.BlockBytes);
        return new(CopyPieceKind.Data, end - start, Math.Min(end, inFile) - start);
    }
}

/// <summary>SHA-256 of a range, or rather of what the file has of it.</summary>
/// <param name="HashedBytes">Less than asked for only at the end of the file.</param>
public readonly record struct RangeHash(int HashedBytes, UInt128 First, UInt128 Second)
{
    public const int EncodedBytes = 4 + 32;

    public static RangeHash From(int hashedBytes, ReadOnlySpan<byte> sha256) =>
        new(hashedBytes, BinaryPrimitives.ReadUInt128LittleEndian(sha256), BinaryPrimitives.ReadUInt128LittleEndian(sha256[16..]));

    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteInt32LittleEndian(destination, HashedBytes);
        BinaryPrimitives.WriteUInt128LittleEndian(destination[4..], First);
        BinaryPrimitives.WriteUInt128LittleEndian(destination[20..], Second);
    }

    public static RangeHash Read(ReadOnlySpan<byte> source) =>
        From(BinaryPrimitives.ReadInt32LittleEndian(source), source[4..]);
}
