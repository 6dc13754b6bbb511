namespace Pollux.Tests.Unit.Replication;

public class ActivityLogImageTests
{
    private const int Slots = ActivityLogImage.SlotsPerGroup;

    [Fact]
    public void A_torn_write_of_any_sectors_loses_nothing_and_a_second_one_completes_no_first()
    {
        var (before, after, start) = OneWrite();
        for (var arrived = 0; arrived < 256; arrived++)
        {
            var torn = Mixed(before, after, start, arrived);
            Assert.True(Holds(torn, out var damage), $"sectors {arrived:b8}: {damage}");
            var log = ActivityLogImage.Read(torn, out _, out _)!;
            log.Entries[3] = new LogEntry(9, 1);
            var second = torn.ToArray();
            var at = Write(log, second);
            foreach (var again in new[] { 0x01, 0x80, 0x55, 0xaa, 0x7f, 0xfe })
                Assert.True(Holds(Mixed(torn, second, at, again), out damage), $"sectors {arrived:b8}, then {again:b8}: {damage}");
        }
    }

    [Fact]
    public void A_flipped_bit_in_any_byte_and_any_other_length_is_damage_or_a_newer_version()
    {
        var (_, image, _) = OneWrite();
        for (var at = 0; at < image.Length; at++)
        {
            var bad = image.ToArray();
            bad[at] ^= (byte)(1 << at % 8);
            Assert.Null(ActivityLogImage.Read(bad, out var damage, out _));
            Assert.NotNull(damage);
            Assert.Null(ActivityLogImage.Read(image.AsSpan(0, at), out damage, out _));
            Assert.NotNull(damage);
        }
    }

    [Fact]
    public void A_longer_file_and_a_write_cut_off_at_any_byte_are_damage_or_no_less_than_was_promised()
    {
        var (before, after, start) = OneWrite();
        Assert.Null(ActivityLogImage.Read([.. after, 0], out var damage, out _));
        Assert.NotNull(damage);
        for (var cut = 0; cut <= ActivityLogImage.SectorBytes; cut++)
        {
            var torn = before.ToArray();
            after.AsSpan(start, cut).CopyTo(torn.AsSpan(start));
            Assert.True(Holds(torn, out damage) || damage is not null, $"cut off after {cut} bytes");
        }
    }

    [Fact]
    public void Sectors_in_the_wrong_place_and_copies_that_do_not_belong_together_are_damage()
    {
        var image = ActivityLogImage.Empty(2 * Slots);
        foreach (var (from, to) in new[] { (1, 2), (2, 1), (1, 3), (3, 1), (4, 2), (0, 1) })
        {
            var bad = image.ToArray();
            image.AsSpan(from * 4096, 4096).CopyTo(bad.AsSpan(to * 4096));
            Assert.Null(ActivityLogImage.Read(bad, out var damage, out _));
            Assert.NotNull(damage);
        }
        // Torn, and the torn write older than the other copy: no crash does that.
        var sectors = new byte[2][];
        for (var copy = 0; copy < 2; copy++)
            ActivityLogSector.Seal(sectors[copy] = new byte[4096], 0, copy, copy == 0 ? 3ul : 9ul);
        var older = new byte[4096];
        ActivityLogSector.Seal(older, 0, 0, 5);
        older.AsSpan(512, 512).CopyTo(sectors[0].AsSpan(512));
        Assert.NotNull(ActivityLogSector.Choose(sectors[0], sectors[1], 0, out _, out _));
    }

    [Theory]
    [InlineData(2 * Slots)]
    [InlineData(Slots)]
    public void A_log_of_another_size_goes_to_the_checkpoint_before_one_of_this_size_replaces_it(int slotsNow)
    {
        var slotsThen = 3 * Slots - slotsNow;
        var log = ActivityLogImage.Read(ActivityLogImage.Empty(slotsThen), out _, out _)!;
        for (var slot = 0; slot < slotsThen; slot++)
            log.Entries[slot] = new LogEntry(7, 2 * slot);
        var dirty = new ObjectRange(9, 0, 65536);
        var checkpoint = CheckpointImage.Write([dirty], everythingMayDiffer: false, ResyncClaim.None);

        var marks = RecoveredMarks.Read(checkpoint, log.Whole(), slotsNow, ResyncPart.None, out _)!;
        Assert.False(marks.EverythingMayDiffer);
        Assert.Equal(slotsThen + 1, marks.Ranges.Count);
        Assert.Equal(slotsNow, marks.Log.Entries.Length);
        var again = RecoveredMarks.Read(marks.CheckpointToStore, marks.LogToStore, slotsNow, ResyncPart.None, out _)!;
        Assert.Equal(Sorted(marks.Ranges), Sorted(again.CheckpointRanges));
        Assert.Null(again.CheckpointToStore);
        Assert.Null(again.LogToStore);
        // A crash between the two stores finds the new checkpoint beside the old log.
        Assert.Equal(Sorted(marks.Ranges), Sorted(RecoveredMarks.Read(marks.CheckpointToStore, log.Whole(), slotsNow, ResyncPart.None, out _)!.Ranges.Distinct()));

        static IEnumerable<ObjectRange> Sorted(IEnumerable<ObjectRange> ranges) => ranges.OrderBy(range => (range.Object, range.OffsetBytes));
    }

    private static (byte[] Before, byte[] After, int StartBytes) OneWrite()
    {
        var before = ActivityLogImage.Empty(Slots);
        var log = ActivityLogImage.Read(before, out _, out _)!;
        // In several of the eight sectors of 512 bytes.
        for (var slot = 0; slot < Slots; slot += 9)
            log.Entries[slot] = new LogEntry(7, slot);
        Write(log, before);
        log.Entries[0] = new LogEntry(8, 0);
        log.Entries[127] = new LogEntry(8, 1);
        Write(log, before);
        var after = before.ToArray();
        log.Entries[3] = new LogEntry(8, 2);
        log.Entries[60] = new LogEntry(8, 3);
        return (before, after, Write(log, after));
    }

    private static int Write(ActivityLogImage log, byte[] image)
    {
        var sector = new byte[4096];
        var at = (int)log.NextSector(0, sector);
        sector.CopyTo(image, at);
        log.Stored(0);
        return at;
    }

    private static byte[] Mixed(byte[] before, byte[] after, int start, int arrived)
    {
        var mixed = before.ToArray();
        for (var sector = 0; sector < 8; sector++)
        {
            if ((arrived >> sector & 1) != 0)
                after.AsSpan(start + sector * 512, 512).CopyTo(mixed.AsSpan(start + sector * 512));
        }
        return mixed;
    }

    /// <summary>All that was active before the write that was cut off.</summary>
    private static bool Holds(byte[] image, out string? damage) =>
        ActivityLogImage.Read(image, out damage, out _) is { } log
        && log.Entries[0] == new LogEntry(8, 0) && log.Entries[127] == new LogEntry(8, 1) && log.Entries[9] == new LogEntry(7, 9);
}
