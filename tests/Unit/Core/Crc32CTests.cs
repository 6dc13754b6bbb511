using System.Text;
using Pollux.DataPlane.Core;

namespace Pollux.Tests.Unit.Core;

public sealed class Crc32CTests
{
    // RFC 3720 appendix B.4.
    public static TheoryData<byte[], uint> Vectors => new()
    {
        { new byte[32], 0x8A9136AA },
        { Enumerable.Repeat((byte)0xFF, 32).ToArray(), 0x62A8AB43 },
        { Enumerable.Range(0, 32).Select(i => (byte)i).ToArray(), 0x46DD794E },
        { Enumerable.Range(0, 32).Select(i => (byte)(31 - i)).ToArray(), 0x113FDB5C },
        { Encoding.ASCII.GetBytes("123456789"), 0xE3069283 },
        { Array.Empty<byte>(), 0 },
    };

    [Theory]
    [MemberData(nameof(Vectors))]
    public void Agrees_with_the_published_vectors(byte[] data, uint expected) => Assert.Equal(expected, Crc32C.Compute(data));

    [Fact]
    public void Appending_parts_gives_the_checksum_of_the_whole_at_every_cut()
    {
        var data = Enumerable.Range(0, 67).Select(i => (byte)(i * 37)).ToArray();
        for (var cut = 0; cut <= data.Length; cut++)
            Assert.Equal(Crc32C.Compute(data), Crc32C.Append(Crc32C.Compute(data.AsSpan(0, cut)), data.AsSpan(cut)));
    }

    [Theory]
    [InlineData(4079)]
    [InlineData(4080)]
    [InlineData(4081)]
    [InlineData(2 * 4080)]
    [InlineData((1 << 20) + 32)]
    public void Long_data_read_at_three_places_has_the_checksum_of_its_bytes_one_by_one(int lengthBytes)
    {
        var data = new byte[lengthBytes];
        for (var i = 0; i < data.Length; i++)
            data[i] = (byte)((i * 31) ^ (i >> 8) ^ (i >> 16));
        Assert.Equal(OneByOne(data), Crc32C.Compute(data));
        Assert.Equal(OneByOne(data), Crc32C.Append(Crc32C.Compute(data.AsSpan(0, 13)), data.AsSpan(13)));
    }

    private static uint OneByOne(ReadOnlySpan<byte> data)
    {
        var crc = uint.MaxValue;
        foreach (var b in data)
        {
            crc ^= b;
            for (var bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
        }
        return ~crc;
    }
}
