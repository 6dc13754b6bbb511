using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Unit.Replication;

/// <summary>What a broken or hostile peer may send, as bytes: only a frame that was sealed comes out, nothing throws, and nothing that
/// a length field says costs memory.</summary>
public class FrameFuzzTests
{
    private const int StreamBytes = 8 * 1024;
    private const int Rounds = 5_000;

    [Theory]
    [InlineData(1)]
    [InlineData(20261122)]
    public void A_damaged_stream_gives_only_frames_that_were_sealed_and_then_a_refusal(int seed)
    {
        var random = new SeededRandom((ulong)seed);
        var sealedFrames = new HashSet<FrameHeader>();
        var stream = new byte[StreamBytes];
        var outcomes = new int[6];
        for (var round = 0; round < Rounds; round++)
        {
            sealedFrames.Clear();
            var length = FillWithFrames(random, stream, sealedFrames);
            length = Damage(random, stream, length);
            var rest = stream.AsSpan(0, length);
            while (true)
            {
                var found = FrameHeader.TryDecode(rest, out var header, out var payload);
                outcomes[(int)found]++;
                if (found != FrameDecode.Frame)
                    break;
                Assert.True(sealedFrames.Contains(header), $"seed {seed}, round {round}: {header} was never sealed");
                Assert.Equal(header.PayloadBytes, payload.Length);
                rest = rest[(FrameHeader.SizeBytes + payload.Length)..];
            }
        }
        Assert.All(outcomes, count => Assert.True(count > 0, string.Join(", ", outcomes)));
    }

    [Fact]
    public void A_length_field_costs_no_memory()
    {
        var random = new SeededRandom(3);
        var bytes = new byte[256];
        FrameHeader.TryDecode(bytes, out _, out _);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var round = 0; round < 100_000; round++)
        {
            random.Fill(bytes.AsSpan(0, FrameHeader.SizeBytes));
            BitConverter.TryWriteBytes(bytes, FrameHeader.Magic);
            if (random.Below(2) == 0)
                BitConverter.TryWriteBytes(bytes.AsSpan(4), random.Below(2 * FrameHeader.PayloadBytesMax));
            FrameHeader.TryDecode(bytes.AsSpan(0, random.Below(bytes.Length)), out _, out _);
        }
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1024);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    public void Messages_of_a_session_are_read_or_refused_and_cost_no_more_than_they_are_long(int seed)
    {
        var random = new SeededRandom((ulong)seed);
        var payload = new byte[2048];
        for (var round = 0; round < 50_000; round++)
        {
            var length = Message(random, payload);
            for (var flips = random.Below(4); flips > 0; flips--)
                payload[random.Below(length)] = (byte)random.Next();
            if (random.Below(3) == 0)
                length = random.Below(length + 1);
            var before = GC.GetAllocatedBytesForCurrentThread();
            Hello.Read(payload.AsSpan(0, length), out _);
            HelloAnswer.Read(payload.AsSpan(0, length));
            Refusal.Read(payload.AsSpan(0, length));
            Failure.Read(payload.AsSpan(0, length));
            // Text is decoded to UTF-16, and each of the four readers may hold the whole of it; the rest is the decoder's way with bad UTF-8.
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, (16 << 10) + (16 * length));
            for (var at = 0; at + ObjectRange.EncodedBytes <= length; at += ObjectRange.EncodedBytes)
            {
                if (ObjectRange.TryRead(payload.AsSpan(at), out var range))
                    Assert.True(range.OffsetBytes >= 0 && range.EndBytes > range.OffsetBytes, $"seed {seed}, round {round}: {range}");
            }
        }
    }

    private static int FillWithFrames(SeededRandom random, byte[] stream, HashSet<FrameHeader> sealedFrames)
    {
        var length = 0;
        while (true)
        {
            var payloadBytes = random.Below(4) == 0 ? random.Below(2_000) : random.Below(64);
            if (length + FrameHeader.SizeBytes + payloadBytes > stream.Length)
                return length;
            var frame = stream.AsSpan(length, FrameHeader.SizeBytes + payloadBytes);
            random.Fill(frame);
            var header = new FrameHeader(
                (FrameKind)(1 + random.Below((int)FrameKind.Ping)), (FrameFlags)random.Below(256), payloadBytes, (long)random.Next(), random.Next(),
                random.Next(), (long)random.Next());
            header.Seal(frame);
            sealedFrames.Add(header);
            length += frame.Length;
        }
    }

    /// <summary>A few of: a changed bit, a changed field of a header, a piece cut out, a piece doubled, the end cut off.</summary>
    private static int Damage(SeededRandom random, byte[] stream, int length)
    {
        for (var damages = random.Below(3); damages > 0; damages--)
        {
            var at = random.Below(length);
            var piece = Math.Min(1 + random.Below(200), length - at);
            switch (random.Below(6))
            {
                case 0:
                    stream[at] ^= (byte)(1 << random.Below(8));
                    break;
                case 1:
                    stream[random.Below(Math.Min(length, FrameHeader.SizeBytes))] = (byte)random.Next();
                    break;
                case 2:
                    stream.AsSpan(at + piece, length - at - piece).CopyTo(stream.AsSpan(at));
                    length -= piece;
                    break;
                case 3:
                    random.Fill(stream.AsSpan(at, piece));
                    break;
                case 4:
                    length = at + 1;
                    break;
                default:
                    SealUnknown(random, stream.AsSpan(0, length));
                    break;
            }
            if (length == 0)
                return 0;
        }
        return length;
    }

    /// <summary>A sound checksum around a kind that this version does not know, as a newer peer would send.</summary>
    private static void SealUnknown(SeededRandom random, Span<byte> stream)
    {
        if (stream.Length < FrameHeader.SizeBytes)
            return;
        new FrameHeader((FrameKind)(100 + random.Below(100)), FrameFlags.None, 0, 1, 1, 1, 1).Seal(stream[..FrameHeader.SizeBytes]);
    }

    private static int Message(SeededRandom random, Span<byte> payload)
    {
        switch (random.Below(5))
        {
            case 0:
                return new Hello(new string('m', random.Below(40)), AnyGuid(random), AnyGuid(random), (long)random.Next(), AnyGuid(random), AnyGuid(random), AnyGuid(random), SessionMode.Resync)
                    .Write(payload);
            case 1:
                return new HelloAnswer(AnyGuid(random), AnyGuid(random), DataPlane.Core.Roles.DataState.Outdated, (long)random.Next(), false).Write(payload);
            case 2:
                return new Refusal((RefusalCode)random.Below(9), new string('é', random.Below(200))).Write(payload);
            case 3:
                return new Failure(random.Below(133), new string('x', random.Below(256))).Write(payload);
            default:
                var length = 1 + random.Below(payload.Length);
                random.Fill(payload[..length]);
                return length;
        }
    }

    private static Guid AnyGuid(SeededRandom random)
    {
        Span<byte> bytes = stackalloc byte[16];
        random.Fill(bytes);
        return new Guid(bytes);
    }
}
