namespace Pollux.Tests.Unit.Replication;

public class CheckpointImageTests
{
    private const long Block = DirtyMap.BlockBytes;

    private static readonly ObjectRange[] Ranges = [new(1, 0, Block), new(2, 5 * Block, 7 * Block), ObjectRange.Whole(3)];
    private static readonly ResyncClaim Claim = new(ResyncPart.Target, Guid.Parse("33333333-2222-3333-4444-555555555555"));

    [Fact]
    public void A_checkpoint_reads_back_and_a_flipped_bit_or_any_other_length_is_damage_or_a_newer_version()
    {
        var image = CheckpointImage.Write(Ranges, everythingMayDiffer: false, Claim);
        var read = CheckpointImage.Read(image);
        Assert.Equal(Ranges, read.Ranges);
        Assert.Equal((false, Claim, null, 0), (read.EverythingMayDiffer, read.Claim, read.Damage, read.NewerVersion));
        for (var at = 0; at < image.Length; at++)
        {
            var bad = image.ToArray();
            bad[at] ^= (byte)(1 << at % 8);
            IsDamage(bad);
            IsDamage(image[..at]);
        }
        IsDamage([.. image, 0]);

        static void IsDamage(byte[] bad)
        {
            var damaged = CheckpointImage.Read(bad);
            Assert.True(damaged is { EverythingMayDiffer: true, Damage: not null, Ranges: [] } && damaged.Claim == ResyncClaim.None);
        }
    }

    [Fact]
    public void Too_many_ranges_are_covered_by_one_for_each_object()
    {
        ObjectRange[] many = [.. Enumerable.Range(0, 50).Select(i => new ObjectRange(1, (10 + 2 * i) * Block, Block)), ObjectRange.Whole(2), new(2, 0, Block)];
        var read = CheckpointImage.Read(CheckpointImage.Write(many, everythingMayDiffer: true, ResyncClaim.None, rangesMax: 20));
        Assert.Equal([new(1, 10 * Block, 99 * Block), ObjectRange.Whole(2)], read.Ranges);
        Assert.True(read.EverythingMayDiffer);
    }
}
