using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Replication;

namespace Pollux.Tests.Unit.Storage;

public sealed class DurableMarksTests : IDisposable
{
    private const long MiB = 1 << 20;
    private const long Block = DirtyMap.BlockBytes;

    private static readonly ActivityLogOptions Small = new() { Slots = 128 };

    private readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Fact]
    public void A_checkpoint_reads_back_and_is_damage_at_every_other_length()
    {
        var path = directory.File("dirty");
        ObjectRange[] ranges = [new(1, 0, Block), new(2, 5 * Block, 7 * Block), ObjectRange.Whole(3)];
        DirtyCheckpoint.Save(path, ranges, everythingMayDiffer: false);
        var loaded = DirtyCheckpoint.Load(path);
        Assert.Equal(ranges, loaded.Ranges);
        Assert.False(loaded.EverythingMayDiffer);
        var image = File.ReadAllBytes(path);
        for (var length = 0; length < image.Length; length++)
            Check(image[..length]);
        for (var at = 0; at < image.Length; at++)
        {
            var bad = image.ToArray();
            bad[at] ^= 4;
            Check(bad);
        }
        File.Delete(path);
        Assert.NotNull(DirtyCheckpoint.Load(path).Damage);

        void Check(byte[] bad)
        {
            File.WriteAllBytes(path, bad);
            var damaged = DirtyCheckpoint.Load(path);
            Assert.True(damaged.EverythingMayDiffer && damaged.Damage is not null);
        }
    }

    [Fact]
    public void A_checkpoint_that_cannot_be_stored_is_a_fault_of_the_storage()
    {
        // Writers of guests' data handle this type and end their operation; any other would leave it, and its range, open for ever.
        var path = Path.Combine(directory.File("gone"), "dirty");
        Assert.Throws<StorageException>(() => DirtyCheckpoint.Save(path, [], everythingMayDiffer: false));
    }

    [Fact]
    public void A_checkpoint_with_too_many_ranges_covers_all_of_them()
    {
        var path = directory.File("dirty");
        DirtyCheckpoint.Save(path, [.. Enumerable.Range(0, 50).Select(i => new ObjectRange(1, (10 + 2 * i) * Block, Block)), ObjectRange.Whole(2), new(2, 0, Block)], false, rangesMax: 20);
        Assert.Equal([new(1, 10 * Block, 99 * Block), ObjectRange.Whole(2)], DirtyCheckpoint.Load(path).Ranges);
    }

    [Fact]
    public void A_crash_while_the_checkpoint_is_replaced_leaves_the_old_one()
    {
        var path = directory.File("dirty");
        DirtyCheckpoint.Save(path, [new(1, 0, Block)], false);
        File.WriteAllText(path + ".new", "half of a");
        Assert.Equal([new(1, 0, Block)], DirtyCheckpoint.Load(path).Ranges);
        DirtyCheckpoint.Save(path, [], false);
        Assert.Empty(DirtyCheckpoint.Load(path).Ranges);
    }

    [Fact]
    public void A_new_module_may_differ_everywhere_until_it_was_repaired()
    {
        using (var owner = new Owner(directory.Path))
            Assert.True(owner.Marks.EverythingMayDiffer);
        using (var owner = new Owner(directory.Path))
        {
            Assert.True(owner.Marks.EverythingMayDiffer);
            owner.Marks.Checkpoint();
        }
        using (var owner = new Owner(directory.Path))
        {
            Assert.True(owner.Marks.EverythingMayDiffer);
            owner.Marks.Repaired();
        }
        using (var owner = new Owner(directory.Path))
            Assert.False(owner.Marks.EverythingMayDiffer);
    }

    [Theory]
    [InlineData("activity-log")]
    [InlineData("dirty")]
    public void Damage_of_either_file_is_remembered_over_restarts(string file)
    {
        using (var owner = new Owner(directory.Path))
        {
            owner.Marks.Repaired();
            owner.Write(1, 0, 1);
        }
        File.WriteAllBytes(directory.File(file), [1, 2, 3]);
        using (var owner = new Owner(directory.Path))
            Assert.NotNull(owner.Marks.Damage);
        using (var owner = new Owner(directory.Path))
        {
            Assert.Null(owner.Marks.Damage);
            Assert.True(owner.Marks.EverythingMayDiffer);
        }
    }

    [Fact]
    public void What_was_marked_or_active_before_a_crash_is_recovered()
    {
        using (var owner = new Owner(directory.Path))
        {
            owner.Marks.Repaired();
            owner.Write(1, 0, 1);
            owner.Marks.Checkpoint();
            owner.Write(2, 3 * MiB, 1);
        }
        using var again = new Owner(directory.Path);
        Assert.True(Holds(again.Marks.Recovered, new(1, 0, Block)) && Holds(again.Marks.Recovered, new(2, 3 * MiB, Block)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void At_any_moment_a_crash_recovers_every_block_that_may_differ(ulong seed)
    {
        var random = new SeededRandom(seed);
        using var owner = new Owner(directory.Path);
        owner.Marks.Repaired();
        var copy = directory.Sub("copy");
        for (var step = 0; step < 1500; step++)
        {
            var obj = (ulong)(1 + random.Below(3));
            switch (random.Below(100))
            {
                case < 90:
                    owner.Write(obj, random.Below(400 * MiB), 1 + random.Below(100_000));
                    break;
                case < 97:
                    owner.Flush(obj, confirmed: random.Below(4) > 0);
                    break;
                case < 98:
                    owner.Marks.Checkpoint();
                    break;
                default:
                    owner.PeerLost();
                    break;
            }
            if (step % 30 != 0)
                continue;
            foreach (var file in new[] { "activity-log", "dirty" })
                File.Copy(directory.File(file), Path.Combine(copy, file), overwrite: true);
            using var crashed = new Owner(copy);
            var recovered = new DirtyMap();
            recovered.Unite([.. crashed.Marks.Recovered]);
            foreach (var range in owner.SnapshotMarks())
                Assert.True(owner.CoveredBy(recovered, range), $"seed {seed}, step {step}: {range}");
        }
    }

    private static bool Holds(IEnumerable<ObjectRange> ranges, ObjectRange wanted) =>
        ranges.Any(r => r.Object == wanted.Object && r.OffsetBytes <= wanted.OffsetBytes && r.EndBytes >= wanted.EndBytes);

    /// <summary>The part of an engine that holds marks.</summary>
    private sealed class Owner : IMarksOwner, IDisposable
    {
        private readonly Lock gate = new();
        private readonly DirtyMap map = new();

        public Owner(string directory) => Marks = DurableMarks.Open(directory, this, Small);

        public DurableMarks Marks { get; }

        public void Write(ulong obj, long offset, long length)
        {
            using var pin = Marks.EnsureActive(obj, offset, length);
            lock (gate)
                map.MarkWritten(obj, offset, length);
        }

        public void Flush(ulong obj, bool confirmed)
        {
            lock (gate)
            {
                var token = map.BeginFlush(obj, []);
                if (confirmed)
                    map.FlushConfirmed(token);
                else
                    map.FlushFailed(token);
            }
        }

        public void PeerLost()
        {
            lock (gate)
                map.PeerLost();
        }

        public bool CoveredBy(DirtyMap other, in ObjectRange range) => map.IsCoveredBy(other, in range);

        public IReadOnlyCollection<ObjectRange> SnapshotMarks()
        {
            lock (gate)
                return [.. map.Runs()];
        }

        public bool MayLeave(in ObjectRange extent)
        {
            lock (gate)
                return Marks.Covers(map, in extent);
        }

        public void Dispose() => Marks.Dispose();
    }
}
