using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Core;

/// <summary>CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, RFC 3720 appendix B.4) by the processor's instruction where there is
/// one. It guards frames on the link and every durable structure against torn and misdirected data, not against malice.</summary>
public static class Crc32C
{
    /// <summary>The checksum of nothing; also the start value for <see cref="Append"/>.</summary>
    public const uint Empty = 0;

    public static uint Compute(ReadOnlySpan<byte> data) => Append(Empty, data);

    /// <summary>The checksum of the concatenation of what <paramref name="checksum"/> covers and <paramref name="data"/>.</summary>
    public static uint Append(uint checksum, ReadOnlySpan<byte> data)
    {
        var crc = ~checksum;
        var words = MemoryMarshal.Cast<byte, ulong>(data);
        if (BitConverter.IsLittleEndian)
        {
            foreach (var word in words)
                crc = BitOperations.Crc32C(crc, word);
        }
        else
        {
            foreach (var word in words)
                crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReverseEndianness(word));
        }
        foreach (var b in data[(words.Length * sizeof(ulong))..])
            crc = BitOperations.Crc32C(crc, b);
        return ~crc;
    }
}
