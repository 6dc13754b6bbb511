using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>A range of an object's content, bytes.</summary>
public readonly record struct ObjectRange(ulong Object, long OffsetBytes, long LengthBytes)
{
    /// <summary>Size of the binary form: id, offset and length, little endian.</summary>
    public const int EncodedBytes = 24;

    /// <summary>A length that stands for the whole object, however long it is.</summary>
    public const long WholeLength = long.MaxValue;

    public static ObjectRange Whole(ulong obj) => new(obj, 0, WholeLength);

    public bool IsWhole => LengthBytes == WholeLength;

    /// <summary>First byte after the range; saturates.</summary>
    public long EndBytes => IsWhole ? long.MaxValue : OffsetBytes + LengthBytes;

    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(destination, Object);
        BinaryPrimitives.WriteInt64LittleEndian(destination[8..], OffsetBytes);
        BinaryPrimitives.WriteInt64LittleEndian(destination[16..], LengthBytes);
    }

    /// <returns>False if the numbers are no range: they may come from a disk or from the network.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out ObjectRange range)
    {
        range = new(BinaryPrimitives.ReadUInt64LittleEndian(source), BinaryPrimitives.ReadInt64LittleEndian(source[8..]), BinaryPrimitives.ReadInt64LittleEndian(source[16..]));
        return range.OffsetBytes >= 0 && range.LengthBytes > 0
            && (range.IsWhole ? range.OffsetBytes == 0 : range.LengthBytes <= long.MaxValue - 1 - range.OffsetBytes);
    }
}
