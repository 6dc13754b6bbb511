using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Payloads and durable structures with damage that a checksum did not see, or with none: read as they were, or refused; nothing
/// throws but what says that a manifest is none, and no length field costs memory.</summary>
public class CodecFuzzTests
{
    private const int Rounds = 20_000;

    [Theory]
    [InlineData(1)]
    [InlineData(20261122)]
    public void A_damaged_mutation_is_read_or_refused_and_costs_no_more_than_it_is_long(int seed)
    {
        var random = new SeededRandom((ulong)seed);
        var payload = new byte[2048];
        var (read, refused) = (0, 0);
        MutationCodec.Read(payload);
        for (var round = 0; round < Rounds; round++)
        {
            var mutation = AnyMutation(random);
            var length = MutationCodec.SizeOf(mutation);
            MutationCodec.Write(mutation, payload.AsSpan(0, length));
            length = Damage(random, payload, length);
            var before = GC.GetAllocatedBytesForCurrentThread();
            var result = MutationCodec.Read(payload.AsSpan(0, length));
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1024 + length);
            (read, refused) = result is null ? (read, refused + 1) : (read + 1, refused);
            if (result is not null)
                Assert.True(MutationCodec.Fits(result), $"seed {seed}, round {round}");
        }
        Assert.True(read > 0 && refused > 0, $"{read} read, {refused} refused");
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    public void A_damaged_manifest_is_read_or_refused_and_costs_a_small_multiple_of_its_length(int seed)
    {
        var random = new SeededRandom((ulong)seed);
        var (read, refused, unfinished) = (0, 0, 0);
        for (var round = 0; round < Rounds / 10; round++)
        {
            var chunks = ManifestWriter.Write(AnyManifest(random)).Select(static chunk => chunk.ToArray()).ToList();
            var bytes = chunks[0];
            var length = Damage(random, bytes, bytes.Length);
            var reader = new ManifestReader();
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                reader.Append(bytes.AsSpan(0, length));
                (read, unfinished) = reader.Complete ? (read + 1, unfinished) : (read, unfinished + 1);
            }
            catch (MalformedManifestException)
            {
                refused++;
            }
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, (64 << 10) + (64 * length));
        }
        Assert.True(read > 0 && refused > 0 && unfinished > 0, $"{read} read, {refused} refused, {unfinished} unfinished");
    }

    [Fact]
    public void Damaged_marks_are_read_as_they_were_or_mean_that_everything_may_differ()
    {
        var random = new SeededRandom(4);
        var ranges = new ObjectRange[] { new(2, 0, 65536), new(3, 1 << 20, 1 << 20), ObjectRange.Whole(4) };
        var image = CheckpointImage.Write(ranges, everythingMayDiffer: false, ResyncClaim.None);
        var log = ActivityLogImage.Empty(ActivityLogImage.SlotsPerGroup);
        for (var round = 0; round < Rounds; round++)
        {
            var bytes = image.ToArray();
            var length = Damage(random, bytes, bytes.Length);
            var read = CheckpointImage.Read(bytes.AsSpan(0, length));
            Assert.True(read.EverythingMayDiffer || read.NewerVersion > 0 || read.Ranges.SequenceEqual(ranges), $"round {round}: {read}");

            bytes = log.ToArray();
            length = Damage(random, bytes, bytes.Length);
            var opened = ActivityLogImage.Read(bytes.AsSpan(0, length), out var damage, out var newer);
            Assert.Equal(opened is null, damage is not null || newer > 0);
        }
    }

    private static int Damage(SeededRandom random, byte[] bytes, int length)
    {
        for (var damages = random.Below(3); damages > 0; damages--)
        {
            var at = random.Below(length);
            if (random.Below(8) == 0)
                length = at + 1;
            else if (random.Below(4) == 0)
                BitConverter.TryWriteBytes(bytes.AsSpan(Math.Min(at, length - 1) / 4 * 4), (int)random.Next());
            else
                bytes[at] ^= (byte)(1 << random.Below(8));
        }
        return length;
    }

    private static Mutation AnyMutation(SeededRandom random) => new((MutationKind)(1 + random.Below((int)MutationKind.Release)))
    {
        Object = random.Next(), Parent = random.Next(), Name = AnyBytes(random, 64), NewParent = random.Next(), NewName = AnyBytes(random, 64),
        Data = AnyBytes(random, 512), Mask = (AttributeMask)random.Below(64), SizeBytes = (long)random.Next(), OffsetBytes = (long)random.Next(),
    };

    private static List<ManifestEntry> AnyManifest(SeededRandom random)
    {
        var entries = new List<ManifestEntry>();
        for (var count = random.Below(20); count > 0; count--)
        {
            entries.Add(new ManifestEntry(random.Next(), (uint)random.Next())
            {
                Links = [.. Enumerable.Range(0, random.Below(3)).Select(_ => new ManifestLink(random.Next(), AnyBytes(random, 30)))],
                SymlinkTarget = AnyBytes(random, 30),
                Xattrs = [.. Enumerable.Range(0, random.Below(3)).Select(_ => new ManifestXattr(AnyBytes(random, 20), AnyBytes(random, 100)))],
            });
        }
        return entries;
    }

    private static byte[] AnyBytes(SeededRandom random, int lengthMax)
    {
        var bytes = new byte[random.Below(lengthMax)];
        random.Fill(bytes);
        return bytes;
    }
}
