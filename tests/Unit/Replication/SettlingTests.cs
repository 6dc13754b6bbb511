using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Unit.Replication;

/// <summary>What the engine flushes by itself, what its flushes prove, and what leaves the activity log by that.</summary>
public sealed class SettlingTests
{
    private const long Extent = 1 << 20;

    private readonly MachinePair _pair = new();
    private ulong _tag = 1_000;

    private MachineHost A => _pair.A;

    private MachineHost B => _pair.B;

    [Fact]
    public void A_flush_that_a_dying_disk_called_done_is_made_good_although_its_host_never_told()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Write(file, 0);
        A.Flush(++_tag, file);
        _pair.Run();
        Assert.Equal(0, A.Source!.Status.UnflushedBytes);
        B.Objects[file].Clear(0, 4096);
        B.Crash();
        _pair.Exclude();
        _pair.Join();
        _pair.AssertEqual();
    }

    [Fact]
    public void What_a_guest_never_flushes_is_flushed_after_a_while()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Write(file, 0);
        _pair.Pass(A.Options.SettleAfterMs - 1_000);
        Assert.Equal(DirtyMap.BlockBytes, A.Source!.Status.UnflushedBytes);
        _pair.Pass(2_000);
        Assert.Equal(0, A.Source.Status.UnflushedBytes);
    }

    [Fact]
    public void A_guest_that_is_never_quiet_is_spared_for_longer_but_not_for_ever()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        var dueMs = _pair.Clock.NowMs + 3 * A.Options.SettleAfterMs;
        for (; _pair.Clock.NowMs < dueMs; _pair.Pass(500))
            Write(file, 0);
        Assert.NotEqual(0, A.Source!.Status.UnflushedBytes);
        var flushed = false;
        for (dueMs += 2 * A.Options.SettleAfterMs; _pair.Clock.NowMs < dueMs && !flushed; _pair.Pass(500))
        {
            flushed = A.Source.Status.UnflushedBytes == 0;
            Write(file, 0);
        }
        Assert.True(flushed);
    }

    [Theory]
    [InlineData(0, DirtyMap.BlockBytes)]
    [InlineData(2_000, 0)]
    public void A_quiet_module_proves_its_last_flush_so_that_nothing_of_it_is_copied_again(long quietMs, long dirtyBytes)
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Write(file, 0);
        A.Flush(++_tag, file);
        _pair.Run();
        _pair.Pass(quietMs);
        B.Crash();
        _pair.Exclude();
        Assert.Equal(dirtyBytes, A.Source!.Status.DirtyBytes);
    }

    [Fact]
    public void A_quiesce_proves_what_it_flushes()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Write(file, 0);
        A.Source!.Quiesce();
        _pair.Run();
        Assert.Single(A.Events, "quiesced");
        A.Source.Unfreeze();
        B.Crash();
        _pair.Exclude();
        Assert.Equal(0, A.Source.Status.DirtyBytes);
    }

    [Fact]
    public void Settled_extents_leave_the_activity_log_and_used_or_unsettled_ones_do_not()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        for (var i = 0; i < 3; i++)
            Write(file, i * Extent);
        Assert.Equal([(file, 0), (file, 1), (file, 2)], Active());
        var endMs = _pair.Clock.NowMs + 3 * A.Options.SettleAfterMs;
        for (; _pair.Clock.NowMs < endMs; _pair.Pass(10_000))
            Write(file, Extent);
        Assert.Equal([(file, 1)], Active());
        _pair.Pass(3 * A.Options.SettleAfterMs);
        Assert.Empty(Active());
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 1)]
    public void A_source_that_has_failed_leaves_its_log_as_after_a_crash(bool fails, int active)
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Write(file, 0);
        if (fails)
        {
            A.Fails = static (what, _) => what == "flush" ? LinuxError.InputOutput : 0;
            A.Flush(++_tag, file);
            _pair.Run();
            A.Fails = static (_, _) => 0;
            Assert.Contains(A.Events, e => e.StartsWith("fault", StringComparison.Ordinal));
        }
        A.Source!.Stop();
        _pair.Run();
        Assert.Single(A.Events, "stopped");
        Assert.Equal(active, Active().Count);
    }

    private void Write(ulong file, long offset)
    {
        A.Write(++_tag, file, offset, MachinePair.Bytes(4096));
        _pair.Run();
    }

    /// <summary>What a crash would find in the file.</summary>
    private List<(ulong Object, long Extent)> Active() =>
        [.. ActivityLogImage.Read(A.Log, out _, out _)!.Entries.Where(entry => entry.Object != 0).Select(entry => (entry.Object, entry.Extent)).Order()];
}
