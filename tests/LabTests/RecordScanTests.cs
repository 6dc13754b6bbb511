using Pollux.Lab.Guest;

namespace Pollux.Tests.Lab;

/// <summary>The judge of all fault tests: what it must not overlook.</summary>
public sealed class RecordScanTests
{
    private const int Slots = 4;

    [Fact]
    public void A_ring_without_gaps_is_whole_and_loses_nothing()
    {
        var scan = Scan([4, 5, 6, 3]);
        Assert.True(scan.IsWhole);
        Assert.Equal(6ul, scan.Max);
        Assert.Empty(scan.LostOf(new AcknowledgedRange(1, 6)));
    }

    [Fact]
    public void An_acknowledged_record_above_the_highest_on_disk_is_lost() =>
        Assert.Equal([7ul, 8ul], Scan([4, 5, 6, 3]).LostOf(new AcknowledgedRange(1, 8)));

    [Fact]
    public void A_record_that_a_later_one_should_have_replaced_counts_as_missing()
    {
        var scan = Scan([4, 1, 6, 3]);
        Assert.Equal([5ul], scan.Missing);
        Assert.Equal([5ul], scan.LostOf(new AcknowledgedRange(1, 6)));
        Assert.False(scan.IsWhole);
    }

    [Fact]
    public void A_slot_never_written_within_the_lap_counts_as_missing()
    {
        var scan = Scan([0, 1, 0, 3]);
        Assert.Equal([2ul], scan.Missing);
        Assert.Equal([2ul], scan.LostOf(new AcknowledgedRange(1, 3)));
    }

    [Fact]
    public void Records_of_two_boots_that_alternate_are_two_writers_at_once()
    {
        Assert.True(new RecordScan(Slots, [4, 1, 2, 3], [8, 7, 7, 8], []).WritersTookTurns);
        Assert.False(new RecordScan(Slots, [4, 1, 2, 3], [7, 7, 8, 8], []).WritersTookTurns);
    }

    [Fact]
    public void A_file_that_holds_neither_record_nor_zeros_has_bad_slots()
    {
        var path = Path.GetTempFileName();
        try
        {
            var content = new byte[Slots * RecordFile.RecordBytes];
            content[RecordFile.RecordBytes] = 1;
            File.WriteAllBytes(path, content);
            var scan = RecordFile.Scan(path, Slots);
            Assert.Equal([1], scan.BadSlots);
            Assert.Equal(0, scan.Records);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static RecordScan Scan(ulong[] numbers) => new(Slots, numbers, [.. numbers.Select(number => number == 0 ? 0ul : 1ul)], []);
}
