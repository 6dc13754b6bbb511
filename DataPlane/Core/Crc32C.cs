using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Core;

/// <summary>CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, RFC 3720 appendix B.4) by the processor's instruction where there is
/// one. It guards frames on the link and every durable structure against torn and misdirected data, not against malice.</summary>
/// <remarks>
/// The instruction takes three cycles and one can begin in each, so long data is read at three places at once:
/// <code>
/// block:  a (1360 bytes) │ b (1360 bytes) │ c (1360 bytes)      crc(abc) = zeros(zeros(crc(a)) ^ crc(b)) ^ crc(c)
/// </code>
/// zeros(x) is the checksum register x after 1360 further zero bytes: linear in x, so four tables of 256 entries give it. A block nearly
/// fills the 4 KiB that most frames carry.
/// </remarks>
public static class Crc32C
{
    /// <summary>The checksum of nothing; also the start value for <see cref="Append"/>.</summary>
    public const uint Empty = 0;

    private const int StreamWords = 170;
    private const int BlockWords = 3 * StreamWords;

    private static readonly uint[] s_zeros = TablesOfZeros();

    public static uint Compute(ReadOnlySpan<byte> data) => Append(Empty, data);

    /// <summary>The checksum of the concatenation of what <paramref name="checksum"/> covers and <paramref name="data"/>.</summary>
    public static uint Append(uint checksum, ReadOnlySpan<byte> data)
    {
        var crc = ~checksum;
        var words = MemoryMarshal.Cast<byte, ulong>(data);
        var tail = data[(words.Length * sizeof(ulong))..];
        for (; words.Length >= BlockWords; words = words[BlockWords..])
            crc = AppendBlock(crc, words);
        foreach (var word in words)
            crc = BitOperations.Crc32C(crc, Little(word));
        foreach (var b in tail)
            crc = BitOperations.Crc32C(crc, b);
        return ~crc;
    }

    private static uint AppendBlock(uint crc, ReadOnlySpan<ulong> block)
    {
        // SAFETY: the caller has checked that the span holds BlockWords words; the greatest index is BlockWords - 1.
        ref var first = ref MemoryMarshal.GetReference(block);
        uint b = 0, c = 0;
        for (nint i = 0; i < StreamWords; i++)
        {
            crc = BitOperations.Crc32C(crc, Little(Unsafe.Add(ref first, i)));
            b = BitOperations.Crc32C(b, Little(Unsafe.Add(ref first, i + StreamWords)));
            c = BitOperations.Crc32C(c, Little(Unsafe.Add(ref first, i + (2 * StreamWords))));
        }
        return Zeros(Zeros(crc) ^ b) ^ c;
    }

    private static uint Zeros(uint crc)
    {
        var tables = s_zeros;
        return tables[crc & 0xFF] ^ tables[256 + ((crc >> 8) & 0xFF)] ^ tables[512 + ((crc >> 16) & 0xFF)] ^ tables[768 + (crc >> 24)];
    }

    private static uint[] TablesOfZeros()
    {
        var tables = new uint[4 * 256];
        for (var bit = 0; bit < 32; bit++)
        {
            var crc = 1u << bit;
            for (var i = 0; i < StreamWords; i++)
                crc = BitOperations.Crc32C(crc, 0UL);
            var table = tables.AsSpan(bit / 8 * 256, 256);
            for (var value = 0; value < 256; value++)
            {
                if ((value >> (bit % 8) & 1) != 0)
                    table[value] ^= crc;
            }
        }
        return tables;
    }

    private static ulong Little(ulong word) => BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word);
}
