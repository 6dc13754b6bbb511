using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Unit.Replication;

public sealed class DirtyMapTests
{
    private const long Block = DirtyMap.BlockBytes;
    private const ulong A = 100, B = 200;

    private static ObjectRange Blocks(ulong obj, long first, long count) => new(obj, first * Block, count * Block);

    private static List<ObjectRange> DirtyRuns(DirtyMap map, long bytesMax = long.MaxValue)
    {
        var runs = new List<ObjectRange>();
        var cursor = default(DirtyCursor);
        while (map.NextDirtyRun(ref cursor, bytesMax, out var run))
            runs.Add(run);
        return runs;
    }

    [Fact]
    public void A_byte_marks_its_block_and_a_range_every_block_it_touches()
    {
        var map = new DirtyMap();
        map.MarkDirty(A, 5, 1);
        map.MarkDirty(A, 3 * Block - 1, 2);
        Assert.Equal([Blocks(A, 0, 1), Blocks(A, 2, 2)], map.Runs());
        Assert.Equal(3 * Block, map.DirtyBytes);
        map.MarkDirty(A, 0, 0);
        Assert.Equal(3 * Block, map.DirtyBytes);
    }

    [Fact]
    public void Runs_are_joined_over_page_boundaries()
    {
        var map = new DirtyMap();
        map.MarkDirty(A, 510 * Block, 1030 * Block);
        Assert.Equal([Blocks(A, 510, 1030)], map.Runs());
        Assert.Equal([Blocks(A, 510, 1000), Blocks(A, 1510, 30)], DirtyRuns(map, 1000 * Block));
    }

    [Fact]
    public void A_flush_confirmed_by_both_clears_what_was_written_before_it_began_and_nothing_else()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, Block);
        map.MarkDirty(A, 9 * Block, Block);
        var flush = map.BeginFlush(A, []);
        map.MarkWritten(A, 2 * Block, Block);
        map.FlushConfirmed(flush);
        Assert.Equal([Blocks(A, 2, 1), Blocks(A, 9, 1)], map.Runs());
        Assert.Equal([Blocks(A, 9, 1)], map.Runs(MarkKinds.Dirty));
    }

    [Fact]
    public void A_block_written_again_while_its_flush_runs_stays_marked()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, Block);
        var flush = map.BeginFlush(A, []);
        map.MarkWritten(A, 0, 10);
        map.FlushConfirmed(flush);
        Assert.True(map.HasMarks(A, 0, 1));
        map.FlushConfirmed(map.BeginFlush(A, []));
        Assert.True(map.IsEmpty);
    }

    [Fact]
    public void A_write_on_its_way_when_the_flush_begins_is_not_covered_by_it()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, 2 * Block);
        var flush = map.BeginFlush(A, [new(A, Block, 100), new(B, 0, 1)]);
        map.FlushConfirmed(flush);
        Assert.Equal([Blocks(A, 1, 1)], map.Runs());
    }

    [Fact]
    public void Two_flushes_at_once_clear_no_more_than_the_first_covers()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, Block);
        var first = map.BeginFlush(A, []);
        map.MarkWritten(A, Block, Block);
        var second = map.BeginFlush(A, []);
        map.FlushConfirmed(second);
        Assert.Equal([Blocks(A, 0, 2)], map.Runs());
        map.FlushConfirmed(first);
        Assert.Equal([Blocks(A, 1, 1)], map.Runs());
    }

    [Fact]
    public void A_flush_of_all_covers_all_objects()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, Block);
        map.MarkWritten(B, 0, Block);
        map.FlushConfirmed(map.BeginFlush(0, []));
        Assert.True(map.IsEmpty);
    }

    [Fact]
    public void A_failed_flush_confirms_nothing_and_the_next_covers_it()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, Block);
        map.FlushFailed(map.BeginFlush(A, []));
        Assert.Equal(Block, map.UnflushedBytes);
        map.FlushConfirmed(map.BeginFlush(A, []));
        Assert.True(map.IsEmpty);
    }

    [Fact]
    public void After_the_loss_of_the_peer_everything_unflushed_is_dirty_and_a_late_confirmation_means_nothing()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, Block);
        var flush = map.BeginFlush(A, []);
        map.MarkWritten(A, 4 * Block, Block);
        map.PeerLost();
        map.FlushConfirmed(flush);
        Assert.Equal([Blocks(A, 0, 1), Blocks(A, 4, 1)], map.Runs(MarkKinds.Dirty));
        Assert.Equal((2 * Block, 0L), (map.DirtyBytes, map.UnflushedBytes));
    }

    [Fact]
    public void What_a_flush_has_confirmed_is_dirty_when_the_peer_is_lost_before_another_has_proven_it()
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 40 * Block, Block);
        map.FlushConfirmed(map.BeginFlush(A, []));
        Assert.True(map.IsEmpty);
        Assert.Equal([Blocks(A, 40, 1)], map.RunsIfPeerIsLost());
        Assert.True(map.MayDiffer(new(A, 0, 41 * Block)) && !map.MayDiffer(new(A, 0, 40 * Block)) && !map.MayDiffer(new(A, 41 * Block, 600 * Block)));
        Assert.False(map.IsCoveredBy(new RangeSet([]), new(A, 0, 64 * Block)));
        Assert.True(map.IsCoveredBy(new RangeSet([Blocks(A, 40, 1)]), new(A, 0, 64 * Block)));
        Assert.True(map.IsCoveredBy(new RangeSet([]), new(A, 0, 40 * Block)), "the rest of its page is another extent's");
        Assert.False(map.IsCoveredBy(new RangeSet([]), ObjectRange.Whole(A)));
        Assert.True(map.IsCoveredBy(new RangeSet([Blocks(A, 39, 3)]), ObjectRange.Whole(A)));
        map.PeerLost();
        Assert.Equal([Blocks(A, 40, 1)], map.Runs(MarkKinds.Dirty));
        Assert.Equal(0, map.UnprovenPages);
    }

    [Theory]
    [InlineData(A, true)]
    [InlineData(0UL, true)]
    [InlineData(B, false)]
    public void Only_a_flush_of_the_same_or_of_everything_that_began_after_the_confirmation_proves_it(ulong flushed, bool proves)
    {
        var map = new DirtyMap();
        map.MarkWritten(A, 0, Block);
        var first = map.BeginFlush(A, []);
        var beside = map.BeginFlush(flushed, []);
        map.FlushConfirmed(first);
        map.FlushConfirmed(beside);
        Assert.Equal(1, map.UnprovenPages);
        map.FlushConfirmed(map.BeginFlush(flushed, []));
        Assert.Equal(proves ? 0 : 1, map.UnprovenPages);
        map.PeerLost();
        Assert.Equal(proves, map.IsEmpty);
    }

    [Fact]
    public void A_flush_that_finds_no_room_to_be_remembered_clears_no_marks_and_the_next_one_does()
    {
        var map = new DirtyMap();
        var all = UnprovenFlushes.PagesMax + 5L;
        for (var i = 0L; i < all; i++)
            map.MarkWritten((ulong)(i + 1), 0, Block);
        map.FlushConfirmed(map.BeginFlush(0, []));
        Assert.Equal((UnprovenFlushes.PagesMax, 5 * Block), (map.UnprovenPages, map.UnflushedBytes));
        map.FlushConfirmed(map.BeginFlush(0, []));
        Assert.Equal((5, 0L), (map.UnprovenPages, map.UnflushedBytes));
        map.FlushConfirmed(map.BeginFlush(0, []));
        Assert.Equal(0, map.UnprovenPages);
    }

    [Fact]
    public void A_copied_run_is_equal_only_after_a_flush_of_both()
    {
        var map = new DirtyMap();
        map.MarkDirty(A, 0, 4 * Block);
        map.Copied(A, 0, 3 * Block);
        Assert.Equal([Blocks(A, 3, 1)], DirtyRuns(map));
        Assert.Equal([Blocks(A, 0, 4)], map.Runs());
        map.FlushConfirmed(map.BeginFlush(A, []));
        Assert.Equal([Blocks(A, 3, 1)], map.Runs());
    }

    [Fact]
    public void A_walk_visits_objects_in_order_and_sees_what_becomes_dirty_ahead_of_it()
    {
        var map = new DirtyMap();
        map.MarkDirty(B, 0, Block);
        map.MarkDirty(A, 5 * Block, 2 * Block);
        var cursor = default(DirtyCursor);
        Assert.True(map.NextDirtyRun(ref cursor, Block, out var run));
        Assert.Equal(Blocks(A, 5, 1), run);
        map.MarkDirty(A, 0, Block);
        map.MarkDirty(B, 7 * Block, Block);
        map.Forget(A);
        Assert.True(map.NextDirtyRun(ref cursor, 2 * Block, out run));
        Assert.Equal(Blocks(B, 0, 1), run);
        Assert.True(map.NextDirtyRun(ref cursor, 2 * Block, out run));
        Assert.Equal(Blocks(B, 7, 1), run);
        Assert.False(map.NextDirtyRun(ref cursor, Block, out _));
    }

    [Fact]
    public void An_object_dirty_as_a_whole_is_dirty_to_its_end_once_the_size_is_known()
    {
        var map = new DirtyMap();
        map.Unite([ObjectRange.Whole(A)]);
        Assert.True(map.IsWhole(A) && map.HasMarks(A, 1L << 60, 1));
        Assert.Equal([ObjectRange.Whole(A)], map.Runs());
        map.MarkWritten(A, 0, 10);
        map.PeerLost();
        Assert.Equal([ObjectRange.Whole(A)], map.Runs());
        map.Clip(A, 2 * Block + 1);
        Assert.Equal([Blocks(A, 0, 3)], DirtyRuns(map));
        Assert.Equal(0, map.WholeObjects);
    }

    [Fact]
    public void Marks_behind_the_common_size_are_dropped()
    {
        var map = new DirtyMap();
        map.MarkDirty(A, 0, 2000 * Block);
        map.MarkWritten(A, 600 * Block, Block);
        map.Clip(A, 3 * Block);
        Assert.Equal([Blocks(A, 0, 3)], map.Runs());
        map.Clip(A, 0);
        Assert.True(map.IsEmpty);
    }

    [Fact]
    public void Beyond_the_limit_of_memory_an_object_becomes_dirty_as_a_whole()
    {
        var map = new DirtyMap(pagesMax: 4);
        for (var i = 0; i < 4; i++)
            map.MarkWritten(A, i * 512 * Block, 1);
        map.MarkWritten(B, 0, 1);
        Assert.Equal([ObjectRange.Whole(B)], map.Runs(MarkKinds.Dirty));
        map.MarkWritten(A, long.MaxValue - 5, 5);
        Assert.True(map.IsWhole(A));
        map.Forget(B);
        map.MarkDirty(B, 0, long.MaxValue - 1);
        Assert.True(map.IsWhole(B));
    }

    [Fact]
    public void A_whole_object_longer_than_there_are_pages_for_is_copied_to_its_end_and_once()
    {
        const long PageBytes = 512 * Block;
        var map = new DirtyMap(pagesMax: 8);
        map.Unite([ObjectRange.Whole(A)]);
        map.Clip(A, (100 * PageBytes) + 1);
        Assert.Equal((0, (51_201L * Block)), (map.WholeObjects, map.DirtyBytes));
        Assert.True(map.HasMarks(A, 99 * PageBytes, 1) && !map.HasMarks(A, 101 * PageBytes, 1) && !map.IsCoveredBy(new RangeSet([]), new(A, 99 * PageBytes, 1)));
        Assert.True(map.IsCoveredBy(new RangeSet(map.Runs()), new(A, 99 * PageBytes, 1)) && map.IsCoveredBy(new RangeSet(map.Runs()), ObjectRange.Whole(A)));
        var copied = new List<ObjectRange>();
        for (var rounds = 0; map.DirtyBytes > 0; rounds++)
        {
            Assert.True(rounds < 200);
            foreach (var run in DirtyRuns(map))
            {
                copied.Add(run);
                map.Copied(run.Object, run.OffsetBytes, run.LengthBytes);
            }
            Assert.Equal(map.DirtyBytes > 0, map.WaitsForPages);
            map.FlushConfirmed(map.BeginFlush(0, []));
        }
        Assert.True(map.IsEmpty);
        Assert.Equal(51_201 * Block, copied.Sum(run => run.LengthBytes));
        var end = 0L;
        foreach (var run in copied.OrderBy(run => run.OffsetBytes))
        {
            Assert.Equal(end, run.OffsetBytes);
            end = run.EndBytes;
        }
    }

    [Fact]
    public void A_whole_object_that_waits_for_pages_goes_with_a_shorter_length_or_with_the_object()
    {
        var map = new DirtyMap(pagesMax: 4);
        map.Unite([ObjectRange.Whole(A), ObjectRange.Whole(B)]);
        map.Clip(A, 100 * 512 * Block);
        map.Clip(B, 100 * 512 * Block);
        map.Clip(A, 7 * 512 * Block);
        Assert.Equal(107 * 512 * Block, map.DirtyBytes);
        map.Forget(B);
        Assert.Equal(7 * 512 * Block, map.DirtyBytes);
        map.Forget(A);
        Assert.True(map is { IsEmpty: true, DirtyBytes: 0, WaitsForPages: false });
    }

    [Fact]
    public void Hot_writes_and_flushes_allocate_nothing()
    {
        var map = new DirtyMap();
        for (var i = 0; i < 3; i++)
            Use();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1000; i++)
            Use();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Use()
        {
            map.MarkWritten(A, 4096, 4096);
            map.MarkWritten(A, 600 * Block, 4096);
            map.FlushConfirmed(map.BeginFlush(A, []));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(20251122)]
    public void Behaves_like_sets_of_block_numbers(ulong seed)
    {
        var random = new SeededRandom(seed);
        var map = new DirtyMap();
        var model = new Model();
        var running = new List<(FlushToken Token, long Number)>();
        for (var step = 0; step < 6000; step++)
        {
            var obj = (ulong)(1 + random.Below(3));
            var (offset, length) = (random.Below(2000 * Block), 1 + random.Below(random.Below(8) == 0 ? 700 * Block : 3 * Block));
            switch (random.Below(20))
            {
                case < 6:
                    map.MarkWritten(obj, offset, length);
                    model.Mark(model.Written, obj, offset, length);
                    break;
                case < 8:
                    map.MarkDirty(obj, offset, length);
                    model.Mark(model.Dirty, obj, offset, length);
                    break;
                case < 11:
                    var flushed = random.Below(4) == 0 ? 0 : obj;
                    ObjectRange[] inFlight = random.Below(2) == 0 ? [new(obj, offset, length)] : [];
                    var token = map.BeginFlush(flushed, inFlight);
                    model.BeginFlush(flushed, token.Number);
                    foreach (var range in inFlight)
                        model.Mark(model.Written, range.Object, range.OffsetBytes, range.LengthBytes);
                    running.Add((token, token.Number));
                    break;
                case < 14 when running.Count > 0:
                    var ended = running[random.Below(running.Count)];
                    running.Remove(ended);
                    if (random.Below(5) > 0)
                    {
                        map.FlushConfirmed(ended.Token);
                        model.EndFlush(ended.Number, confirmed: true, ended.Token.Object);
                    }
                    else
                    {
                        map.FlushFailed(ended.Token);
                        model.EndFlush(ended.Number, confirmed: false);
                    }
                    break;
                case < 17:
                    var cursor = new DirtyCursor(obj, offset);
                    if (map.NextDirtyRun(ref cursor, 1 << 20, out var run))
                    {
                        Assert.All(Model.BlocksOf(run.Object, run.OffsetBytes, run.LengthBytes), b => Assert.Contains(b, model.Dirty));
                        map.Copied(run.Object, run.OffsetBytes, run.LengthBytes);
                        model.Copied(run.Object, run.OffsetBytes, run.LengthBytes);
                    }
                    break;
                case 17 when random.Below(10) == 0:
                    map.PeerLost();
                    model.PeerLost();
                    break;
                case 18 when random.Below(10) == 0:
                    map.Forget(obj);
                    model.Forget(obj, 0, gone: true);
                    break;
                case 19 when random.Below(4) == 0:
                    map.Clip(obj, offset);
                    model.Forget(obj, offset);
                    break;
            }
            if (step % 50 == 0)
                Compare($"seed {seed}, step {step}");
        }
        Compare($"seed {seed}, end");

        void Compare(string where)
        {
            Same(model.Dirty, MarkKinds.Dirty);
            Same(model.Written, MarkKinds.Written);
            Same(model.FlushingAll(), MarkKinds.Flushing);
            Assert.True(model.Dirty.Count * Block == map.DirtyBytes, where);
            Assert.True(model.Unproven.Count == map.UnprovenPages, where);

            void Same(ISet<(ulong, long)> expected, MarkKinds kind)
            {
                var actual = map.Runs(kind).SelectMany(r => Model.BlocksOf(r.Object, r.OffsetBytes, r.LengthBytes)).ToList();
                Assert.True(actual.Count == expected.Count && expected.SetEquals(actual), $"{kind} differs: {where}");
            }
        }
    }

    /// <summary>The same rules over sets of (object, block).</summary>
    private sealed class Model
    {
        private readonly Dictionary<ulong, (long Number, HashSet<(ulong, long)> Blocks)> flushing = [];
        private long flushLast;

        public HashSet<(ulong, long)> Dirty { get; } = [];
        public HashSet<(ulong, long)> Written { get; } = [];

        /// <summary>Blocks confirmed and not proven, and the newest flush at that time, by page.</summary>
        public Dictionary<(ulong Object, long Page), (HashSet<long> Blocks, long FlushLast)> Unproven { get; } = [];

        public static IEnumerable<(ulong, long)> BlocksOf(ulong obj, long offset, long length)
        {
            for (var block = offset / Block; block * Block < offset + length; block++)
                yield return (obj, block);
        }

        public HashSet<(ulong, long)> FlushingAll() => [.. flushing.Values.SelectMany(f => f.Blocks)];

        public void Mark(HashSet<(ulong, long)> set, ulong obj, long offset, long length) => set.UnionWith(BlocksOf(obj, offset, length));

        public void BeginFlush(ulong obj, long number)
        {
            flushLast = number;
            foreach (var one in Written.Select(b => b.Item1).Distinct().Where(o => obj == 0 || o == obj).ToList())
            {
                if (flushing.ContainsKey(one))
                    continue;
                flushing[one] = (number, [.. Written.Where(b => b.Item1 == one)]);
                Written.RemoveWhere(b => b.Item1 == one);
            }
        }

        public void EndFlush(long number, bool confirmed, ulong flushed = 0)
        {
            if (confirmed)
            {
                foreach (var key in Unproven.Where(u => (flushed == 0 || u.Key.Object == flushed) && u.Value.FlushLast < number).Select(u => u.Key).ToList())
                    Unproven.Remove(key);
                foreach (var (one, block) in flushing.Values.Where(f => f.Number == number).SelectMany(f => f.Blocks))
                {
                    var blocks = Unproven.TryGetValue((one, block / 512), out var known) ? known.Blocks : [];
                    blocks.Add(block);
                    Unproven[(one, block / 512)] = (blocks, flushLast);
                }
            }
            foreach (var (obj, flush) in flushing.Where(f => f.Value.Number == number).ToList())
            {
                flushing.Remove(obj);
                if (!confirmed)
                    Written.UnionWith(flush.Blocks);
            }
        }

        public void Copied(ulong obj, long offset, long length)
        {
            foreach (var block in BlocksOf(obj, offset, length).Where(Dirty.Remove).ToList())
                Written.Add(block);
        }

        public void PeerLost()
        {
            Dirty.UnionWith(Written);
            Dirty.UnionWith(FlushingAll());
            foreach (var ((obj, _), (blocks, _)) in Unproven)
                Dirty.UnionWith(blocks.Select(block => (obj, block)));
            Unproven.Clear();
            Written.Clear();
            flushing.Clear();
        }

        public void Forget(ulong obj, long from, bool gone = false)
        {
            var first = (from + Block - 1) / Block;
            Dirty.RemoveWhere(b => b.Item1 == obj && b.Item2 >= first);
            Written.RemoveWhere(b => b.Item1 == obj && b.Item2 >= first);
            if (flushing.TryGetValue(obj, out var flush))
                flush.Blocks.RemoveWhere(b => b.Item2 >= first);
            if (gone)
            {
                foreach (var key in Unproven.Keys.Where(key => key.Object == obj).ToList())
                    Unproven.Remove(key);
            }
            if (!Dirty.Concat(Written).Concat(FlushingAll()).Any(b => b.Item1 == obj))
                flushing.Remove(obj);
        }
    }
}
