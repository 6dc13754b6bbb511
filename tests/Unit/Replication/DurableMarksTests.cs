using Pollux.DataPlane.Replication;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Activity log and checkpoint on a real file system, under the machine that decides about them (rule S6).</summary>
public sealed class DurableMarksTests : IDisposable
{
    private const int Slots = ActivityLogImage.SlotsPerGroup;
    private const long MiB = LogEntry.ExtentBytes;
    private const long Block = DirtyMap.BlockBytes;

    private readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Fact]
    public void An_extent_is_on_disk_when_it_is_active_and_stays_active_over_a_restart_at_no_cost()
    {
        using (var marks = NewModule())
        {
            marks.Write(7, 5 * MiB + 3, 10);
            marks.Write(7, 9 * MiB - 1, 2);
        }
        using var again = new MarksOnDisk(directory.Path);
        Assert.Equal([Extent(7, 5), Extent(7, 8), Extent(7, 9)], again.Recovered.Ranges);
        again.Write(7, 5 * MiB, 1);
        Assert.Equal(0, again.SectorsStored);
    }

    [Fact]
    public void A_long_range_takes_one_slot_for_the_whole_object()
    {
        using var marks = NewModule();
        marks.Write(7, 0, 65 * MiB);
        marks.Write(8, 5, long.MaxValue - 10);
        marks.Write(9, 0, 64 * MiB);
        Assert.Equal(66, marks.Machine.ActiveExtents);
        using var again = new MarksOnDisk(directory.Path);
        Assert.Contains(ObjectRange.Whole(7), again.Recovered.Ranges);
        Assert.Contains(ObjectRange.Whole(8), again.Recovered.Ranges);
    }

    [Fact]
    public void A_full_log_lets_go_what_has_no_marks_and_nothing_else()
    {
        using var marks = NewModule();
        for (var i = 0; i < Slots; i++)
        {
            marks.Write(7, i * MiB, 1);
            if (i % 10 == 0)
                continue;
            marks.Machine.Map.Clip(7, i * MiB); // What was cut off needs no mark.
            for (var kept = 0; kept < i; kept += 10)
                marks.Machine.Map.MarkWritten(7, kept * MiB, 1);
        }
        marks.Write(8, 0, MiB);
        using var again = new MarksOnDisk(directory.Path);
        Assert.Contains(Extent(8, 0), again.Recovered.Ranges);
        for (var kept = 0; kept < Slots; kept += 10)
            Assert.Contains(Extent(7, kept), again.Recovered.Ranges);
        Assert.Empty(again.Recovered.CheckpointRanges);
    }

    [Fact]
    public void A_log_full_of_marked_extents_has_the_marks_stored_first_and_goes_on()
    {
        using var marks = NewModule();
        for (var i = 0; i <= Slots; i++)
            marks.Write(7, i * MiB, 1);
        using var again = new MarksOnDisk(directory.Path);
        var recovered = new DirtyMap();
        recovered.Unite([.. again.Recovered.Ranges]);
        for (var i = 0; i <= Slots; i++)
            Assert.True(recovered.HasMarks(7, i * MiB, 1), $"extent {i}");
        Assert.NotEmpty(again.Recovered.CheckpointRanges);
    }

    [Fact]
    public void An_extent_stays_while_the_checkpoint_lacks_one_of_its_marks_however_many_others_it_has()
    {
        const long PageBytes = 512 * Block;
        using var marks = NewModule();
        var map = marks.Machine.Map;
        marks.Write(7, DirtyMap.PagesMaxDefault * PageBytes, 1);
        map.FlushConfirmed(map.BeginFlush(7, []));
        // With what is confirmed and not proven the checkpoint names more pages than a map has.
        for (var page = 0L; page < DirtyMap.PagesMaxDefault; page++)
            map.MarkDirty(7, page * PageBytes, 1);
        marks.Machine.AskCheckpoint();
        marks.Write(7, PageBytes + (5 * Block), 1);
        for (var twice = 0; twice < 2; twice++)
            marks.Machine.Trim();
        marks.Machine.FinishTurn();
        using var again = new MarksOnDisk(directory.Path);
        var recovered = new RangeSet(again.Recovered.Ranges);
        foreach (var range in map.RunsIfPeerIsLost())
            Assert.True(recovered.Covers(range), $"{range}");
    }

    [Fact]
    public void All_extents_of_a_change_were_used_and_stay_over_the_next_trim()
    {
        using var marks = NewModule();
        marks.Write(7, 0, 3 * MiB);
        marks.Machine.Map.Clear();
        marks.Machine.Trim();
        marks.Write(7, 0, 3 * MiB);
        marks.Machine.Map.Clear();
        marks.Machine.Trim();
        Assert.Equal(3, marks.Machine.ActiveExtents);
        marks.Machine.Trim();
        Assert.Equal(0, marks.Machine.ActiveExtents);
    }

    [Fact]
    public void A_pinned_extent_stays_even_without_marks()
    {
        using var marks = NewModule();
        for (var i = 0; i < Slots; i++)
            Assert.True(marks.Activate(i, 7, i * MiB, 1));
        Assert.False(marks.Activate(Slots, 8, 0, 1), "every extent is pinned");
        Assert.NotNull(marks.Machine.WaitingFor ?? "asked again after the checkpoint");
        marks.Machine.Release(3);
        Assert.True(marks.Activate(Slots, 8, 0, 1));
        using var again = new MarksOnDisk(directory.Path);
        Assert.DoesNotContain(Extent(7, 3), again.Recovered.Ranges);
        Assert.Contains(Extent(7, 4), again.Recovered.Ranges);
    }

    [Fact]
    public void Activating_what_is_active_allocates_nothing()
    {
        using var marks = NewModule();
        marks.Write(7, 0, 4096);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 10_000; i++)
        {
            if (marks.Machine.Activate(0, 7, 0, 4096) == MarksMachine.Activity.Active)
                marks.Machine.Release(0);
        }
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void A_store_that_fails_ends_all_activation_with_the_reason()
    {
        var folder = directory.Sub("gone");
        using var marks = new MarksOnDisk(folder);
        marks.Machine.Repaired();
        Directory.Delete(folder, recursive: true);
        marks.Machine.AskCheckpoint();
        Assert.Contains("could not be stored", marks.Machine.Failure);
        Assert.False(marks.Activate(0, 7, 0, 1));
    }

    [Fact]
    public void A_new_module_may_differ_everywhere_until_it_was_repaired()
    {
        using (var marks = new MarksOnDisk(directory.Path))
            Assert.True(marks.Machine.EverythingMayDiffer);
        using (var marks = new MarksOnDisk(directory.Path))
        {
            Assert.True(marks.Machine.EverythingMayDiffer);
            marks.Machine.AskCheckpoint();
        }
        using (var marks = new MarksOnDisk(directory.Path))
        {
            Assert.True(marks.Machine.EverythingMayDiffer);
            marks.Machine.Repaired();
        }
        using (var marks = new MarksOnDisk(directory.Path))
            Assert.False(marks.Machine.EverythingMayDiffer);
    }

    [Theory]
    [InlineData("activity-log", new byte[] { 1, 2, 3 })]
    [InlineData("activity-log", null)]
    [InlineData("dirty", new byte[] { 1, 2, 3 })]
    [InlineData("dirty", null)]
    public void Damage_or_loss_of_either_file_is_remembered_over_restarts(string file, byte[]? content)
    {
        using (var marks = NewModule())
            marks.Write(1, 0, 1);
        if (content is null)
            File.Delete(directory.File(file));
        else
            File.WriteAllBytes(directory.File(file), content);
        using (var marks = new MarksOnDisk(directory.Path))
            Assert.NotNull(marks.Recovered.Damage);
        using (var marks = new MarksOnDisk(directory.Path))
        {
            Assert.Null(marks.Recovered.Damage);
            Assert.True(marks.Machine.EverythingMayDiffer);
        }
    }

    [Fact]
    public void A_crash_while_the_checkpoint_is_replaced_leaves_the_old_one()
    {
        using (var marks = NewModule())
        {
            marks.Write(1, 0, Block);
            marks.Machine.AskCheckpoint();
        }
        File.WriteAllText(directory.File("dirty.new"), "half of a");
        using (var marks = new MarksOnDisk(directory.Path))
        {
            Assert.Equal([new(1, 0, Block)], marks.Recovered.CheckpointRanges);
            marks.Machine.Map.Clear();
            marks.Machine.AskCheckpoint();
        }
        using (var marks = new MarksOnDisk(directory.Path))
            Assert.Empty(marks.Recovered.CheckpointRanges);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void At_any_moment_a_crash_recovers_every_block_that_may_differ(ulong seed)
    {
        var random = new SeededRandom(seed);
        using var marks = NewModule();
        var map = marks.Machine.Map;
        var copy = directory.Sub("copy");
        for (var step = 0; step < 1500; step++)
        {
            var obj = (ulong)(1 + random.Below(3));
            switch (random.Below(100))
            {
                case < 90:
                    marks.Write(obj, random.Below(400 * MiB), 1 + random.Below(100_000));
                    break;
                case < 97:
                    var token = map.BeginFlush(obj, []);
                    if (random.Below(4) > 0)
                        map.FlushConfirmed(token);
                    else
                        map.FlushFailed(token);
                    break;
                case < 98:
                    marks.Machine.AskCheckpoint();
                    break;
                default:
                    map.PeerLost();
                    break;
            }
            if (step % 30 != 0)
                continue;
            foreach (var file in new[] { "activity-log", "dirty" })
                File.Copy(directory.File(file), Path.Combine(copy, file), overwrite: true);
            using var crashed = new MarksOnDisk(copy);
            foreach (var range in map.RunsIfPeerIsLost().ToArray())
                Assert.True(map.IsCoveredBy(new RangeSet(crashed.Machine.Map.Runs()), range), $"seed {seed}, step {step}: {range}");
        }
    }

    /// <summary>Both copies were proven equal.</summary>
    private MarksOnDisk NewModule()
    {
        var marks = new MarksOnDisk(directory.Path);
        marks.Machine.Repaired();
        Assert.False(marks.Machine.EverythingMayDiffer);
        return marks;
    }

    private static ObjectRange Extent(ulong obj, long index) => new(obj, index * MiB, MiB);
}
