using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Replication;

public class FrameTests
{
    [Fact]
    public void A_sealed_frame_is_read_back_as_it_was()
    {
        var frame = new byte[FrameHeader.SizeBytes + 3];
        new byte[] { 7, 8, 9 }.CopyTo(frame, FrameHeader.SizeBytes);
        var header = new FrameHeader(FrameKind.Write, FrameFlags.Last, 3, 12, ulong.MaxValue, 77, long.MinValue);
        header.Seal(frame);

        Assert.Equal(FrameDecode.Frame, FrameHeader.TryDecode(frame, out var read, out var payload));
        Assert.Equal(header, read);
        Assert.Equal([7, 8, 9], payload.ToArray());
    }

    [Fact]
    public void Every_flipped_bit_is_noticed()
    {
        var frame = new byte[FrameHeader.SizeBytes + 5];
        new FrameHeader(FrameKind.Mutation, FrameFlags.None, 5, 3, 4, 5, 6).Seal(frame);
        for (var bit = 0; bit < frame.Length * 8; bit++)
        {
            frame[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.NotEqual(FrameDecode.Frame, FrameHeader.TryDecode(frame, out _, out _));
            frame[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Fact]
    public void Every_shorter_part_of_a_frame_asks_for_more()
    {
        var frame = new byte[FrameHeader.SizeBytes + 100];
        new FrameHeader(FrameKind.Write, FrameFlags.None, 100, 1, 1, 1, 0).Seal(frame);
        for (var length = 0; length < frame.Length; length++)
            Assert.Equal(FrameDecode.Incomplete, FrameHeader.TryDecode(frame.AsSpan(0, length), out _, out _));
    }

    [Fact]
    public void The_length_of_a_frame_is_known_from_its_whole_header_and_only_if_it_may_be()
    {
        var frame = new byte[FrameHeader.SizeBytes];
        BitConverter.TryWriteBytes(frame.AsSpan(4), 100);
        Assert.Equal(FrameHeader.SizeBytes + 100, FrameHeader.LengthAt(frame));
        Assert.Null(FrameHeader.LengthAt(frame.AsSpan(0, FrameHeader.SizeBytes - 1)));
        BitConverter.TryWriteBytes(frame.AsSpan(4), FrameHeader.PayloadBytesMax + 1);
        Assert.Null(FrameHeader.LengthAt(frame));
        BitConverter.TryWriteBytes(frame.AsSpan(4), -1);
        Assert.Null(FrameHeader.LengthAt(frame));
    }

    [Fact]
    public void A_length_over_the_limit_is_refused_before_its_payload_is_waited_for()
    {
        var frame = new byte[FrameHeader.SizeBytes];
        new FrameHeader(FrameKind.Ping, FrameFlags.None, 0, 1, 0, 0, 0).Seal(frame);
        BitConverter.TryWriteBytes(frame.AsSpan(4), FrameHeader.PayloadBytesMax + 1);
        Assert.Equal(FrameDecode.TooLong, FrameHeader.TryDecode(frame, out _, out _));
        BitConverter.TryWriteBytes(frame.AsSpan(4), -1);
        Assert.Equal(FrameDecode.TooLong, FrameHeader.TryDecode(frame, out _, out _));
    }

    /// <summary>Random bytes, and random changes to real messages: every reader answers, none throws.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(20261122)]
    public void Any_bytes_are_answered_and_never_thrown_at(int seed)
    {
        var random = new SeededRandom((ulong)seed);
        var buffer = new byte[256];
        for (var round = 0; round < 20_000; round++)
        {
            var length = random.Below(buffer.Length + 1);
            random.Fill(buffer.AsSpan(0, length));
            if (round % 2 == 0 && length >= FrameHeader.SizeBytes)
            {
                BitConverter.TryWriteBytes(buffer, FrameHeader.Magic);
                BitConverter.TryWriteBytes(buffer.AsSpan(4), random.Below(300) - 20);
            }
            FrameHeader.TryDecode(buffer.AsSpan(0, length), out _, out _);

            var hello = new byte[256];
            var written = SampleHello.Write(hello);
            hello[random.Below(written)] ^= (byte)(1 + random.Below(255));
            Hello.Read(hello.AsSpan(0, random.Below(written + 1)), out _);
            Hello.Read(hello.AsSpan(0, written), out _);
            HelloAnswer.Read(buffer.AsSpan(0, length));
            Refusal.Read(buffer.AsSpan(0, length));
            Failure.Read(buffer.AsSpan(0, length));
        }
    }

    [Fact]
    public void Session_messages_are_read_back_as_they_were()
    {
        var payload = new byte[4096];
        Assert.Equal(SampleHello, Hello.Read(payload.AsSpan(0, SampleHello.Write(payload)), out _));
        var answer = new HelloAnswer(Guid.NewGuid(), Guid.NewGuid(), DataState.Outdated, 9, true);
        Assert.Equal(answer, HelloAnswer.Read(payload.AsSpan(0, answer.Write(payload))));
        var refusal = new Refusal(RefusalCode.OlderEpoch, "epoch 3 is older than 4");
        Assert.Equal(refusal, Refusal.Read(payload.AsSpan(0, refusal.Write(payload))));
        var failure = new Failure(28, "No space left on device");
        Assert.Equal(failure, Failure.Read(payload.AsSpan(0, failure.Write(payload))));
    }

    [Fact]
    public void A_hello_of_another_version_says_which()
    {
        var payload = new byte[512];
        var length = SampleHello.Write(payload);
        payload[0] = 9;
        Assert.Null(Hello.Read(payload.AsSpan(0, length), out var version));
        Assert.Equal(9, version);
    }

    private static readonly Hello SampleHello = new(
        "site/cluster/vm", Guid.Parse("00000000-0000-0000-0000-000000000001"), Guid.Parse("00000000-0000-0000-0000-000000000002"), 5,
        Guid.Parse("00000000-0000-0000-0000-000000000003"), Guid.Parse("00000000-0000-0000-0000-000000000004"), Guid.Empty, SessionMode.Resync);
}
