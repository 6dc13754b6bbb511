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
}
