namespace Pollux.Tests.Unit.Replication;

/// <summary>What a stable checkpoint covers: all that was given, in whole blocks, and nothing else.</summary>
public sealed class RangeSetTests
{
    private const long Block = DirtyMap.BlockBytes;

    [Fact]
    public void Ranges_that_touch_are_one_and_a_gap_is_none()
    {
        var set = new RangeSet([new(1, 4 * Block, Block), new(1, 0, 2 * Block), new(1, 2 * Block, 1), new(2, 0, Block)]);
        Assert.True(set.Covers(new(1, 0, 3 * Block)) && set.Covers(new(1, (2 * Block) + 9, 1)) && set.Covers(new(1, 4 * Block, Block)));
        Assert.False(set.Covers(new(1, 2 * Block, 2 * Block)) || set.Covers(new(1, 3 * Block, 1)) || set.Covers(new(1, 5 * Block, 1)) || set.Covers(new(3, 0, 1)));
        Assert.False(set.Covers(ObjectRange.Whole(2)));
    }

    [Fact]
    public void An_object_that_differs_as_a_whole_is_covered_to_the_end_of_all_offsets()
    {
        var set = new RangeSet([ObjectRange.Whole(1)]);
        Assert.True(set.Covers(ObjectRange.Whole(1)) && set.Covers(new(1, long.MaxValue - 10, 9)));
        Assert.False(new RangeSet([new(1, 0, long.MaxValue - (2 * Block))]).Covers(ObjectRange.Whole(1)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Covers_what_a_set_of_blocks_has(ulong seed)
    {
        var random = new SeededRandom(seed);
        for (var round = 0; round < 200; round++)
        {
            var blocks = new HashSet<long>();
            var ranges = new List<ObjectRange>();
            for (var i = random.Below(20); i > 0; i--)
            {
                var (first, count) = (random.Below(60), 1 + random.Below(6));
                ranges.Add(new(5, first * Block, count * Block));
                for (var block = first; block < first + count; block++)
                    blocks.Add(block);
            }
            var set = new RangeSet(ranges);
            for (var first = 0; first < 64; first++)
            {
                for (var count = 1; count < 8; count++)
                    Assert.Equal(Enumerable.Range(first, count).All(block => blocks.Contains(block)), set.Covers(new(5, first * Block, count * Block)));
            }
        }
    }
}
