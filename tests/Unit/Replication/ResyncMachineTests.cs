using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Replication;

public sealed class ResyncMachineTests
{
    private const int MiB = 1 << 20;

    private readonly MachinePair _pair = new();

    private MachineHost A => _pair.A;
    private MachineHost B => _pair.B;

    [Fact]
    public void Guests_write_on_during_a_resync_and_nothing_of_it_is_lost()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        Fill(file, 6);
        _pair.Run();
        _pair.Attach();
        var held = 0;
        // A guest's write between any two steps of either host.
        A.Held = what => what.StartsWith("copy", StringComparison.Ordinal) && held++ % 3 == 0;
        for (var i = 0UL; i < 40; i++)
        {
            A.Write(10 + i, file, (long)(i * 150_001 % (6 * MiB)), MachinePair.Bytes(3000, (int)i));
            A.FinishTurn();
            A.Run();
            B.Receive();
            B.FinishTurn();
            B.Run();
            A.Receive();
        }
        A.Held = static _ => false;
        _pair.Run();
        Assert.Contains("caught-up", A.Events);
        Assert.All(Enumerable.Range(10, 40), tag => Assert.Equal(0, A.Completed[(ulong)tag]));
        _pair.AssertEqual();
    }

    [Fact]
    public void Nothing_of_the_target_changes_before_it_has_stored_that_it_is_inconsistent()
    {
        _pair.ServeAlone();
        A.Write(1, _pair.Create("f"), 0, MachinePair.Bytes(10));
        B.Obliging = false;
        _pair.Attach();
        _pair.Run();
        Assert.Contains(B.Events, static e => e.StartsWith("starting", StringComparison.Ordinal));
        Assert.Equal([1UL], B.Objects.Keys);
        Assert.DoesNotContain("apply manifest", B.Done);
        Assert.Contains("preserve", B.Done);
    }

    [Fact]
    public void A_full_resync_that_was_cut_off_goes_on_where_it_was()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        Fill(file, 32);
        _pair.Attach();
        var copies = 0;
        A.Held = what => what.StartsWith("copy", StringComparison.Ordinal) && ++copies > 24;
        _pair.Run();
        Assert.True(A.Source!.Status.Resync.Running);
        B.Crash();
        A.Held = static _ => false;
        _pair.Run();
        A.Write(8000, file, 31 * MiB, MachinePair.Bytes(100, 90));
        B.Follow(1);
        var sent = A.BytesSent;
        _pair.Pass(8_000);
        Assert.Contains("caught-up", A.Events);
        var resync = A.Source.Status.Resync;
        Assert.True(resync is { Resumed: true, Full: false });
        Assert.InRange(A.BytesSent - sent, 8L * MiB, 17L * MiB);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_full_resync_goes_on_after_a_crash_of_the_source_too()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        Fill(file, 16);
        _pair.Attach();
        var copies = 0;
        A.Held = what => what.StartsWith("copy", StringComparison.Ordinal) && ++copies > 12;
        _pair.Run();
        A.Crash();
        _pair.Run();
        A.Held = static _ => false;
        A.Serve(1);
        A.Write(8000, file, 5 * MiB, MachinePair.Bytes(100, 90));
        A.Source!.AttachPeer(1, inSync: false);
        _pair.Pass(6_000);
        Assert.Contains("caught-up", A.Events);
        Assert.True(A.Source.Status.Resync.Resumed);
        _pair.AssertEqual();
    }

    /// <summary>What a full resync by command does to the source's state (RoleMachine.Commands).</summary>
    [Fact]
    public void A_base_that_was_changed_by_command_ends_what_a_resync_before_had_begun()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        Fill(file, 16);
        _pair.Attach();
        var copies = 0;
        A.Held = what => what.StartsWith("copy", StringComparison.Ordinal) && ++copies > 12;
        _pair.Run();
        B.Crash();
        A.Held = static _ => false;
        _pair.Run();
        A.State = A.State with { SyncBase = Guid.NewGuid(), PendingSyncBase = Guid.Empty };
        B.Follow(1);
        _pair.Pass(8_000);
        Assert.Contains("caught-up", A.Events);
        Assert.True(A.Source!.Status.Resync is { Full: true, Resumed: false });
        _pair.AssertEqual();
    }

    [Fact]
    public void A_target_that_was_anything_else_meanwhile_is_copied_in_full()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        Fill(file, 4);
        _pair.Run();
        _pair.Attach();
        A.Held = static what => what.StartsWith("copy", StringComparison.Ordinal);
        _pair.Run();
        B.Crash();
        A.Held = static _ => false;
        _pair.Run();
        // By an operator's hand it served, and then it follows again.
        B.Serve(1);
        B.Write(7, file, 0, MachinePair.Bytes(100, 7));
        _pair.Run();
        B.Crash();
        B.Follow(1);
        _pair.Pass(8_000);
        Assert.Contains("caught-up", A.Events);
        Assert.True(A.Source!.Status.Resync is { Full: true, Resumed: false });
        _pair.AssertEqual();
    }

    [Fact]
    public void What_the_target_has_already_is_compared_and_not_sent()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(MiB));
        A.Write(2, file, MiB, MachinePair.Bytes(MiB, 2));
        A.Write(3, file, 2 * MiB, MachinePair.Bytes(MiB, 3));
        _pair.Run();
        B.Objects[file] = new FakeObject(0x81A4);
        B.Objects[file].Write(0, A.Objects[file].Content);
        B.Objects[file].Write(MiB + 5, [1, 2, 3]);
        var sent = A.BytesSent;
        _pair.Join();
        _pair.AssertEqual();
        Assert.InRange(A.BytesSent - sent, MiB, MiB + 50_000);
        Assert.Equal(2 * MiB, A.Source!.Status.Resync.SkippedBytes);
    }

    [Fact]
    public void Holes_are_sent_as_holes()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 9 * MiB, MachinePair.Bytes(100));
        _pair.Run();
        var sent = A.BytesSent;
        _pair.Join();
        _pair.AssertEqual();
        Assert.True(A.BytesSent - sent < MiB);
    }

    [Fact]
    public void A_file_that_grew_by_a_hole_while_the_target_made_its_tree_equal_is_as_long_there()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(MiB));
        _pair.Run();
        B.Held = static what => what == "apply manifest";
        _pair.Attach();
        _pair.Run();
        A.Write(2, file, MiB, new byte[MiB / 2]);
        _pair.Run();
        B.Held = static _ => false;
        _pair.Run();
        Assert.Contains("caught-up", A.Events);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_session_that_is_lost_at_the_last_step_leaves_no_member()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        B.Held = static what => what == "confirm";
        _pair.Attach();
        _pair.Run();
        Assert.Contains("flushed", B.Events);
        A.Write(2, file, 0, MachinePair.Bytes(10, 2));
        B.Crash();
        _pair.Run();
        Assert.DoesNotContain("caught-up", A.Events);
        Assert.Equal(0, A.Completed[2]);
        Assert.True(A.Source!.Status.DirtyBytes > 0);
    }

    [Fact]
    public void A_damaged_checkpoint_means_a_full_resync_until_it_was_repaired()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        B.Crash();
        _pair.Exclude();
        A.Crash();
        A.Checkpoint![20] ^= 1;
        A.Serve(3);
        _pair.Join();
        Assert.True(A.Source!.Status.Resync.Full);
        B.Crash();
        _pair.Exclude();
        A.Events.Clear();
        _pair.Join();
        Assert.False(A.Source.Status.Resync.Full);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_rate_limit_is_kept_and_can_be_lifted_while_the_resync_runs()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        Fill(file, 24);
        A.Source!.SetResyncLimits(0, 4 * MiB);
        _pair.Attach();
        _pair.Pass(2_000);
        var resync = A.Source.Status.Resync;
        Assert.InRange(resync.DoneBytes, 6 * MiB, 12 * MiB);
        Assert.InRange(resync.BytesPerSecond, 2 * MiB, 7 * MiB);
        Assert.Equal(24 * MiB, resync.TotalBytes);
        Assert.InRange(resync.RemainingSeconds!.Value, 1, 9);
        A.Source.SetResyncLimits(0, long.MaxValue);
        _pair.Run();
        Assert.Contains("caught-up", A.Events);
    }

    [Fact]
    public void A_verify_of_equal_copies_under_load_finds_nothing()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Fill(file, 8);
        _pair.Run();
        Assert.True(A.Source!.StartVerify(repair: false, long.MaxValue, out _));
        for (var i = 0UL; i < 60; i++)
        {
            A.Write(100 + i, file, (long)(i * 700_001 % (7 * MiB)), MachinePair.Bytes(200_000, (int)i));
            A.FinishTurn();
            A.Run();
            B.Receive();
            if (i % 3 == 0)
                B.Run();
            B.FinishTurn();
            A.Receive();
        }
        _pair.Run();
        var verify = A.Source.Status.Verify;
        Assert.Equal("completed", verify.End);
        Assert.Equal(0, verify.DifferentBytes);
        Assert.Equal(8 * MiB, verify.DoneBytes);
    }

    [Fact]
    public void A_verify_reports_what_differs_and_repairs_it_from_the_primary_on_request()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Fill(file, 3);
        A.Flush(2);
        _pair.Run();
        B.Objects[file].Write(MiB + 77, [9, 9, 9]);
        Assert.True(A.Source!.StartVerify(repair: false, long.MaxValue, out _));
        _pair.Run();
        Assert.Equal([new ObjectRange(file, MiB, 4096)], A.Source.Status.Verify.Different);
        Assert.Equal(0, A.Source.Status.Verify.EntriesDifferent);
        Assert.Equal(0, A.Source.Status.DirtyBytes);
        Assert.True(A.Source.StartVerify(repair: true, long.MaxValue, out _));
        _pair.Run();
        Assert.Equal("completed", A.Source.Status.Verify.End);
        _pair.AssertEqual();
        Assert.True(A.Source.StartVerify(repair: false, 2 * MiB, out _));
        _pair.Pass(500);
        Assert.True(A.Source.Status.Verify.Running);
        _pair.Pass(4_000);
        Assert.Equal((0, "completed"), (A.Source.Status.Verify.DifferentBytes, A.Source.Status.Verify.End));
    }

    [Fact]
    public void A_verify_is_refused_without_a_mirror()
    {
        _pair.ServeAlone();
        Assert.False(A.Source!.StartVerify(repair: false, long.MaxValue, out var refusal));
        Assert.Contains("not mirrored", refusal);
    }

    [Fact]
    public void After_a_handover_the_old_secondary_goes_on_in_sync()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        A.Source!.Quiesce();
        _pair.Run();
        A.Source.Stop();
        B.Replica!.Stop();
        _pair.Run();
        Assert.Contains("stopped", A.Events);
        Assert.Contains("stopped", B.Events);
        A.State = A.State with { DataState = DataState.UpToDate };
        A.Record(3, "b", "a", "b");
        B.Record(3, "b", "a", "b");
        A.Follow(3);
        B.Serve(3, peerIsMember: true);
        B.Write(2, file, 5, MachinePair.Bytes(10, 2));
        _pair.Run();
        Assert.DoesNotContain(2UL, B.Completed.Keys);
        B.Source!.AttachPeer(3, inSync: true);
        _pair.Run();
        Assert.Equal(0, B.Completed[2]);
        _pair.AssertEqual();
    }

    [Fact]
    public void What_a_shortening_cut_off_stays_marked_until_the_shortening_is_stable_on_both_hosts()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        Fill(file, 2);
        A.Flush(1);
        _pair.Run();
        B.Crash();
        _pair.Exclude();
        A.Write(2, file, MiB, MachinePair.Bytes(MiB, 77));
        A.Flush(3);
        _pair.Run();
        A.Crash();
        A.Checkpoint = CheckpointImage.Write([ObjectRange.Whole(file)], everythingMayDiffer: false, ResyncClaim.None);
        A.Serve(3);
        A.Held = B.Held = static what => what.StartsWith("flush", StringComparison.Ordinal);
        A.Mutate(4, new Mutation(MutationKind.SetAttributes) { Object = file, Mask = AttributeMask.Size, SizeBytes = MiB });
        _pair.Attach(3);
        _pair.Run();
        Assert.Equal(0, A.Completed[4]);

        // More than the activity log holds: it keeps only what is marked nowhere else.
        for (var i = 0UL; i < 300; i++)
        {
            A.Write(10_000 + i, _pair.Create($"other {i}"), 0, MachinePair.Bytes(10));
            _pair.Run();
        }
        var left = RecoveredMarks.Read(A.Checkpoint, A.Log, A.Options.ActivityLogSlots, ResyncPart.Source, out _)!;
        var marks = new DirtyMap();
        marks.Unite(left.Ranges.ToArray());
        Assert.True(marks.HasMarks(file, MiB, MiB));

        A.Held = B.Held = static _ => false;
        _pair.Run();
        Assert.Contains("caught-up", A.Events);
        Assert.Equal(0, A.Source!.Status.DirtyBytes);
        _pair.AssertEqual();
    }

    private void Fill(ulong file, int mebibytes)
    {
        for (var i = 0; i < mebibytes; i++)
        {
            A.Write(5000 + (ulong)i, file, (long)i * MiB, MachinePair.Bytes(MiB, i + 1));
            _pair.Run();
            Assert.Equal(0, A.Completed[5000 + (ulong)i]);
        }
    }
}
