using System.Buffers.Binary;
using System.Text;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>Writes the fields of a payload one after the other, little-endian, byte strings with a 32-bit length before them.</summary>
public ref struct WireWriter(Span<byte> buffer)
{
    private readonly Span<byte> _buffer = buffer;

    /// <summary>Bytes written.</summary>
    public int Length { get; private set; }

    public readonly int RoomBytes => _buffer.Length - Length;

    public void Byte(byte value) => Take(1)[0] = value;
    public void UInt32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Take(4), value);
    public void Int32(int value) => BinaryPrimitives.WriteInt32LittleEndian(Take(4), value);
    public void Int64(long value) => BinaryPrimitives.WriteInt64LittleEndian(Take(8), value);
    public void UInt64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    public void Guid(Guid value)
    {
        if (!value.TryWriteBytes(Take(16)))
            throw new InvalidOperationException("A Guid has 16 bytes.");
    }

    public void Bytes(ReadOnlySpan<byte> value)
    {
        Int32(value.Length);
        value.CopyTo(Take(value.Length));
    }

    public void Text(string value) => Bytes(Encoding.UTF8.GetBytes(value));

    private Span<byte> Take(int bytes)
    {
        if (bytes > RoomBytes)
            throw new ArgumentException($"The payload has room for {RoomBytes} bytes and needs {bytes}.");
        var taken = _buffer.Slice(Length, bytes);
        Length += bytes;
        return taken;
    }
}

/// <summary>Reads what <see cref="WireWriter"/> wrote. Never throws: after a field that is not there, <see cref="Ok"/> is false and every
/// further field is zero or empty.</summary>
public ref struct WireReader(ReadOnlySpan<byte> buffer)
{
    private ReadOnlySpan<byte> _rest = buffer;

    public bool Ok { get; private set; } = true;

    /// <summary>Everything was there, and nothing is left over.</summary>
    public readonly bool Complete => Ok && _rest.IsEmpty;

    public readonly int RestBytes => _rest.Length;

    public byte Byte() => Take(1) is { Length: 1 } b ? b[0] : (byte)0;
    public uint UInt32() => Take(4) is { Length: 4 } b ? BinaryPrimitives.ReadUInt32LittleEndian(b) : 0;
    public int Int32() => Take(4) is { Length: 4 } b ? BinaryPrimitives.ReadInt32LittleEndian(b) : 0;
    public long Int64() => Take(8) is { Length: 8 } b ? BinaryPrimitives.ReadInt64LittleEndian(b) : 0;
    public ulong UInt64() => Take(8) is { Length: 8 } b ? BinaryPrimitives.ReadUInt64LittleEndian(b) : 0;
    public Guid Guid() => Take(16) is { Length: 16 } b ? new Guid(b) : System.Guid.Empty;

    public ReadOnlySpan<byte> Bytes(int bytesMax)
    {
        var length = Int32();
        if (length >= 0 && length <= bytesMax)
            return Take(length);
        Ok = false;
        return default;
    }

    public string Text(int bytesMax) => Encoding.UTF8.GetString(Bytes(bytesMax));

    private ReadOnlySpan<byte> Take(int bytes)
    {
        if (!Ok || bytes > _rest.Length)
        {
            Ok = false;
            return default;
        }
        var taken = _rest[..bytes];
        _rest = _rest[bytes..];
        return taken;
    }
}
