using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation;

/// <summary>The check of what a VM may read is neither too strict nor too lax about what a disk may bring back.</summary>
public sealed class CellTests
{
    private const ulong File = 2;
    private const long Older = 168;
    private const long Newer = 220;

    private readonly SimDisk disk = new();
    private readonly Cell cell = Cell.OfContent(File, 0);

    public CellTests()
    {
        disk.MakeFiles(new Layout(wide: false));
        Change(Older, Older, () => Write(Older));
        disk.EndFlush(disk.BeginFlush(), 0);
        cell.FlushAcknowledged(Older);
    }

    [Fact]
    public void A_newer_state_that_the_disk_may_bring_back_is_allowed_after_a_loss_of_power_although_a_VM_has_read_the_older_one()
    {
        // The length was cut, and a failed flush has left that to the journal; the memory shows the older content again.
        Change(Newer, 0, () => disk.SetSize(File, 0));
        disk.SetSize(File, Cell.Bytes);
        Start(Older);
        Assert.False(cell.MayBe(0));
        cell.MemberLostUnflushed();
        Assert.True(cell.MayBe(0) && cell.MayBe(Older));
    }

    [Fact]
    public void A_newer_state_that_is_nowhere_on_the_disk_is_not()
    {
        Change(Newer, Newer, () => { });
        Start(Older);
        cell.MemberLostUnflushed();
        Assert.True(cell.MayBe(Older) && !cell.MayBe(Newer));
    }

    [Fact]
    public void A_flush_of_what_the_VM_has_read_ends_it()
    {
        Change(Newer, 0, () => disk.SetSize(File, 0));
        disk.SetSize(File, Cell.Bytes);
        Start(Older);
        cell.FlushAcknowledged(Older);
        cell.MemberLostUnflushed();
        Assert.True(cell.MayBe(Older) && !cell.MayBe(0));
    }

    [Fact]
    public void What_a_loss_of_power_may_leave_is_any_content_since_the_last_flush_with_any_length()
    {
        Write(Newer);
        Assert.Equal([Older, Newer], cell.AfterLoss(disk).Order());
        disk.SetSize(File, 0);
        Assert.Equal([0, Older, Newer], cell.AfterLoss(disk).Order());
        disk.EndFlush(disk.BeginFlush(), 0);
        Assert.Equal([0], cell.AfterLoss(disk));
    }

    private void Write(long number)
    {
        var content = new byte[Cell.Bytes];
        Cell.Fill(content, number);
        disk.Write(File, 0, content);
    }

    private void Change(long number, long value, Action change)
    {
        cell.ChangeBegins(number, value);
        change();
        cell.ChangeAcknowledged(number, keepOlder: true);
    }

    private void Start(long value)
    {
        cell.Found(value);
        cell.Seen(value, cell.AfterLoss(disk));
    }
}
