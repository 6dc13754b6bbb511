using System.Text;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Replication;

public sealed class SourceMachineTests
{
    private const int KiB64 = 64 << 10;

    private readonly MachinePair _pair = new();

    private MachineHost A => _pair.A;
    private MachineHost B => _pair.B;

    [Fact]
    public void A_lone_host_acknowledges_when_its_own_copy_is_written_and_marks_what_the_peer_lacks()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        _pair.Run();
        Assert.Equal(0, A.Completed[1]);
        Assert.Equal(KiB64, A.Source!.Status.DirtyBytes);
        Assert.True(A.Done.IndexOf("log") < A.Done.IndexOf($"write {file:x}"), "written before it was marked durably");
    }

    [Fact]
    public void A_resync_makes_an_empty_peer_equal_and_it_joins()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(300_000));
        A.Write(2, file, 2_000_000, MachinePair.Bytes(5000, 2));
        _pair.Join();
        _pair.AssertEqual();
        Assert.Equal(DataState.UpToDate, B.State.DataState);
        Assert.Equal(B.State.SyncBase, A.State.SyncBase);
        Assert.Equal(0, A.Source!.Status.DirtyBytes);
        Assert.Equal(0, A.Source.Status.UnflushedBytes);
    }

    [Fact]
    public void A_member_holds_the_acknowledgement_until_it_has_applied()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        B.Held = what => what.StartsWith("write", StringComparison.Ordinal);
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        B.Held = static _ => false;
        _pair.Run();
        Assert.Equal(0, A.Completed[1]);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_flush_is_confirmed_when_both_hosts_are_stable_and_only_then_do_marks_go()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        Assert.Equal(KiB64, A.Source!.Status.UnflushedBytes);
        B.Held = what => what.StartsWith("flush", StringComparison.Ordinal);
        A.Flush(2, file);
        _pair.Run();
        Assert.DoesNotContain(2UL, A.Completed.Keys);
        Assert.Equal(KiB64, A.Source.Status.UnflushedBytes);
        B.Held = static _ => false;
        _pair.Run();
        Assert.Equal(0, A.Completed[2]);
        Assert.Equal(0, A.Source.Status.UnflushedBytes);
        A.Flush(3, file);
        Assert.DoesNotContain(A.Done.Skip(A.Done.LastIndexOf($"flush {file:x}") + 1), what => what.StartsWith("flush", StringComparison.Ordinal));
        Assert.Equal(0, A.Completed[3]);
    }

    [Fact]
    public void A_lost_member_holds_everything_until_it_is_out_of_the_record()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        B.Held = static what => what.StartsWith("write", StringComparison.Ordinal);
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        B.Crash();
        _pair.Pass(200);
        Assert.Contains(A.Events, e => e.StartsWith("lost", StringComparison.Ordinal));
        A.Write(2, file, KiB64, MachinePair.Bytes(4096));
        A.Flush(3, file);
        _pair.Pass(10_000);
        Assert.Empty(A.Completed.Keys.Intersect([1UL, 2UL, 3UL]));
        Assert.Contains("the peer or the record", A.Source!.Status.WaitingFor);
        _pair.Exclude();
        Assert.All((ulong[])[1, 2, 3], tag => Assert.Equal(0, A.Completed[tag]));
        Assert.Equal(2 * KiB64, A.Source.Status.DirtyBytes);
    }

    [Fact]
    public void A_silent_member_is_given_up_after_the_progress_deadline_and_the_time_for_another_link()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        B.Held = static _ => true;
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Pass(1_500);
        Assert.DoesNotContain(A.Events, e => e.StartsWith("lost", StringComparison.Ordinal));
        _pair.Pass(1_500 + A.Options.ResumeDeadlineMs);
        Assert.Contains(A.Events, e => e.Contains("owes acknowledgements", StringComparison.Ordinal));
    }

    [Fact]
    public void A_returning_peer_is_resynced_by_marks_only()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(1 << 20));
        _pair.Run();
        A.Flush(2);
        _pair.Run();
        // A later flush proves the first; what it covers itself is copied again.
        A.Write(4, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        A.Flush(5);
        _pair.Run();
        B.Crash();
        _pair.Exclude();
        A.Write(3, file, 1 << 19, MachinePair.Bytes(100, 3));
        _pair.Run();
        A.Events.Clear();
        var sent = A.BytesSent;
        _pair.Join();
        _pair.AssertEqual();
        Assert.False(A.Source!.Status.Resync.Full);
        Assert.InRange(A.BytesSent - sent, 1, 200_000);
    }

    [Fact]
    public void Overlapping_writes_keep_their_order_and_others_do_not_wait()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        var other = _pair.Create("g", 91);
        B.Held = static what => what.StartsWith("write", StringComparison.Ordinal);
        A.Write(1, file, 0, MachinePair.Bytes(8192, 1));
        A.Write(2, file, 4096, MachinePair.Bytes(8192, 2));
        A.Write(3, other, 0, MachinePair.Bytes(10, 3));
        _pair.Run();
        Assert.Equal(2, A.Done.Count(what => what == $"write {file:x}" || what == $"write {other:x}"));
        B.Held = static _ => false;
        _pair.Run();
        Assert.All((ulong[])[1, 2, 3], tag => Assert.Equal(0, A.Completed[tag]));
        _pair.AssertEqual();
        Assert.Equal(MachinePair.Bytes(8192, 2), A.Objects[file].Content[4096..]);
    }

    [Fact]
    public void While_frozen_nothing_begins_and_nothing_ends()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        A.Source!.Freeze();
        A.Write(2, file, KiB64, MachinePair.Bytes(10));
        _pair.Run();
        Assert.Equal(ReadGate.Held, A.Source.Reads);
        Assert.Empty(A.Completed.Keys.Intersect([1UL, 2UL]));
        A.Source.Unfreeze();
        _pair.Run();
        Assert.Equal((0, 0), (A.Completed[1], A.Completed[2]));
    }

    [Fact]
    public void A_quiesce_finishes_and_flushes_what_was_accepted_and_holds_the_rest()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        A.Source!.Quiesce();
        A.Write(2, file, KiB64, MachinePair.Bytes(10));
        _pair.Run();
        Assert.Contains("quiesced", A.Events);
        Assert.Equal(0, A.Source.Status.UnflushedBytes);
        Assert.DoesNotContain(2UL, A.Completed.Keys);
        A.Source.Unfreeze();
        _pair.Run();
        Assert.Equal(0, A.Completed[2]);
    }

    [Fact]
    public void After_a_failed_flush_no_flush_succeeds()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        A.Fails = static (what, _) => what == "flush" ? LinuxError.InputOutput : 0;
        A.Flush(2, file);
        _pair.Run();
        A.Fails = static (_, _) => 0;
        A.Flush(3, file);
        A.Flush(4);
        _pair.Run();
        Assert.Equal((5, 5, 5), (A.Completed[2], A.Completed[3], A.Completed[4]));
        Assert.Single(A.Events, static e => e.StartsWith("fault", StringComparison.Ordinal));
    }

    /// <summary>The kernel passes on what the block layer said: no data, protocol, timed out, no space, over quota.</summary>
    [Theory]
    [InlineData(61)]
    [InlineData(71)]
    [InlineData(110)]
    [InlineData(LinuxError.NoSpace)]
    [InlineData(LinuxError.QuotaExceeded)]
    public void A_flush_that_fails_in_any_way_is_a_fault_on_either_host(int errno)
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        B.Fails = (what, _) => what == "flush" ? errno : 0;
        A.Flush(2, file);
        _pair.Run();
        Assert.Single(B.Events, static e => e.StartsWith("fault", StringComparison.Ordinal));
        Assert.DoesNotContain(2UL, A.Completed.Keys);
        _pair.Exclude();
        A.Fails = B.Fails;
        A.Flush(3);
        _pair.Run();
        A.Fails = static (_, _) => 0;
        A.Flush(4);
        _pair.Run();
        Assert.Equal((0, LinuxError.InputOutput, LinuxError.InputOutput), (A.Completed[2], A.Completed[3], A.Completed[4]));
        Assert.Single(A.Events, static e => e.StartsWith("fault", StringComparison.Ordinal));
    }

    [Fact]
    public void A_replica_whose_flush_has_failed_takes_no_further_session()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(10));
        B.Fails = static (what, _) => what == "flush" ? LinuxError.InputOutput : 0;
        A.Flush(2);
        _pair.Run();
        B.Fails = static (_, _) => 0;
        _pair.Exclude();
        A.Events.Clear();
        _pair.Attach(A.State.Record.Epoch);
        _pair.Pass(8_000);
        Assert.DoesNotContain("caught-up", A.Events);
        Assert.Contains(A.Events, static e => e.Contains("has failed", StringComparison.Ordinal));

        // A process that has dropped what the page cache showed may follow again.
        B.Crash();
        _pair.Pass(8_000);
        B.Follow(A.State.Record.Epoch);
        _pair.Pass(8_000);
        Assert.Contains("caught-up", A.Events);
    }

    /// <summary>A loss of power may bring the file back on both hosts, each with what it had flushed of it.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_was_written_to_a_removed_file_stays_marked_until_the_removal_is_stable(bool whileOpen)
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Flush(1);
        _pair.Run();
        Assert.Equal(0, A.Source!.Status.UnflushedBytes);
        if (whileOpen)
            A.Referenced.Add(file);
        else
            A.Write(2, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        A.Mutate(3, new Mutation(MutationKind.Unlink) { Parent = 1, Name = "f"u8.ToArray() });
        _pair.Run();
        if (whileOpen)
        {
            A.Write(2, file, 0, MachinePair.Bytes(10));
            _pair.Run();
            A.Referenced.Clear();
            A.Source.Unreferenced(file);
            _pair.Run();
        }

        Assert.DoesNotContain(file, A.Objects.Keys);
        Assert.Equal(KiB64, A.Source.Status.UnflushedBytes);
        var marks = RecoveredMarks.Read(A.Checkpoint, A.Log, A.Options.ActivityLogSlots, ResyncPart.Source, out _)!;
        Assert.Contains(marks.Ranges, range => range.Object == file);
        A.Flush(4);
        _pair.Run();
        Assert.Equal(0, A.Source.Status.UnflushedBytes);
    }

    [Fact]
    public void Without_any_flush_of_a_guest_removed_files_do_not_gather_marks_without_end()
    {
        const int FlushedAt = 4_096;
        _pair.ServeAlone();
        for (var i = 0; i < FlushedAt + 10; i++)
        {
            var file = _pair.Create("f");
            A.Write(1, file, 0, MachinePair.Bytes(10));
            _pair.Run();
            A.Completed.Clear();
            A.Mutate(3, new Mutation(MutationKind.Unlink) { Parent = 1, Name = "f"u8.ToArray() });
            _pair.Run();
            A.Completed.Clear();
            A.Done.Clear();
        }

        Assert.InRange(A.Source!.Status.DirtyBytes, 0, 100 * KiB64);
    }

    [Fact]
    public void A_machine_with_failed_marks_stops_only_when_its_calls_have_ended()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Held = static what => what == "take manifest";
        _pair.Attach();
        _pair.Run();
        A.Fails = static (what, _) => what == "log" ? LinuxError.InputOutput : 0;
        A.Write(1, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        A.Source!.Stop();
        _pair.Run();
        Assert.DoesNotContain("stopped", A.Events);
        A.Held = static _ => false;
        _pair.Run();
        Assert.Contains("stopped", A.Events);
    }

    [Fact]
    public void A_write_that_a_full_disk_refused_leaves_both_copies_equal()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        A.Fails = static (what, _) => what == "write" ? LinuxError.NoSpace : 0;
        A.Write(2, file, 2048, MachinePair.Bytes(8192, 2));
        _pair.Run();
        Assert.Equal(LinuxError.NoSpace, A.Completed[2]);
        _pair.AssertEqual();
        Assert.DoesNotContain(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
    }

    [Fact]
    public void A_broken_disk_of_the_primary_is_reported_once_and_its_bytes_go_nowhere()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Fails = static (what, _) => what == "write" ? LinuxError.InputOutput : 0;
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        A.Write(2, file, KiB64, MachinePair.Bytes(4096));
        _pair.Run();
        Assert.Equal(LinuxError.InputOutput, A.Completed[1]);
        Assert.Single(A.Events, static e => e.StartsWith("fault", StringComparison.Ordinal));
    }

    [Fact]
    public void A_broken_disk_of_the_secondary_ends_the_session_and_is_its_own_fault()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        B.Fails = static (what, _) => what == "write" ? LinuxError.InputOutput : 0;
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        Assert.Contains(A.Events, static e => e.StartsWith("lost the peer could not apply", StringComparison.Ordinal));
        Assert.Contains(B.Events, static e => e.StartsWith("fault", StringComparison.Ordinal));
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        _pair.Exclude();
        Assert.Equal(0, A.Completed[1]);
    }

    /// <summary>ext4 whose journal is aborted while it makes written blocks valid tells the flush nothing of it.</summary>
    [Fact]
    public void What_a_disk_called_stable_shortly_before_it_failed_is_copied_again()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        A.Flush(2, file);
        _pair.Run();
        Assert.Equal((0, 0L), (A.Completed[2], A.Source!.Status.DirtyBytes));
        B.Fails = static (what, _) => what == "write" ? LinuxError.ReadOnly : 0;
        A.Write(3, file, 8 << 20, MachinePair.Bytes(4096));
        _pair.Run();
        _pair.Exclude();
        Assert.Equal(2L * LogEntry.ExtentBytes, A.Source!.Status.DirtyBytes);
    }

    [Fact]
    public void Mutations_are_applied_one_at_a_time_and_in_the_same_order()
    {
        _pair.ServeMirrored();
        for (var i = 0UL; i < 20; i++)
            A.Mutate(100 + i, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes($"f{i}"), Mode = 0x81A4 });
        A.Held = static what => what.StartsWith("mutation", StringComparison.Ordinal);
        _pair.Run();
        Assert.Equal(1, A.Pending);
        A.Held = static _ => false;
        _pair.Run();
        _pair.AssertEqual();
        Assert.Equal(20, A.Mutated.Values.Select(static a => a.Object).Distinct().Count());
    }

    [Fact]
    public void A_cut_marks_what_it_takes_away_and_waits_for_writes_before_it()
    {
        _pair.ServeAlone();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(4 * KiB64));
        A.Mutate(2, new Mutation(MutationKind.SetAttributes) { Object = file, Mask = AttributeMask.Size, SizeBytes = 10 });
        A.Write(3, file, 5, MachinePair.Bytes(10, 3));
        _pair.Run();
        Assert.Equal((0, 0, 0), (A.Completed[1], A.Completed[2], A.Completed[3]));
        Assert.Equal(15, A.Objects[file].Content.Length);
        Assert.Equal(4 * KiB64, A.Source!.Status.DirtyBytes);
        _pair.Join();
        _pair.AssertEqual();
    }

    [Fact]
    public void An_unlinked_file_lives_on_both_hosts_until_nobody_uses_it()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Referenced.Add(file);
        A.Mutate(1, new Mutation(MutationKind.Unlink) { Parent = 1, Name = "f"u8.ToArray() });
        _pair.Run();
        A.Write(2, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        Assert.Equal(0, A.Completed[2]);
        Assert.True(A.Objects.ContainsKey(file) && B.Objects.ContainsKey(file));
        A.Referenced.Remove(file);
        A.Source!.Unreferenced(file);
        _pair.Run();
        Assert.False(A.Objects.ContainsKey(file) || B.Objects.ContainsKey(file));
        Assert.Equal(0, A.Source.Status.DirtyBytes);
    }

    [Fact]
    public void Stopping_ends_everything_once_and_stores_the_marks()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Held = what => what == $"write {file:x}" || what == "flush 0";
        A.Write(1, file, 0, MachinePair.Bytes(10));
        A.Write(2, file, 0, MachinePair.Bytes(10));
        A.Flush(3);
        _pair.Run();
        A.Source!.Stop();
        A.Source.Stop();
        A.Write(4, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        Assert.Equal((5, 5), (A.Completed[2], A.Completed[4]));
        Assert.DoesNotContain("stopped", A.Events);
        A.Held = static _ => false;
        _pair.Run();
        Assert.Single(A.Events, "stopped");
        Assert.All((ulong[])[1, 3], tag => Assert.Equal(5, A.Completed[tag]));
        A.Serve(3);
        Assert.Equal(KiB64, A.Source.Status.DirtyBytes);
    }

    [Fact]
    public void After_a_crash_the_active_extents_and_the_checkpoint_are_dirty()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 3 << 20, MachinePair.Bytes(10));
        A.Flush(2);
        _pair.Run();
        A.Crash();
        A.Serve(3);
        Assert.Equal(1 << 20, A.Source!.Status.DirtyBytes);
    }

    [Fact]
    public void The_log_makes_room_by_a_checkpoint_and_loses_no_mark()
    {
        _pair.ServeAlone();
        for (var i = 0UL; i < 300; i++)
        {
            A.Write(1000 + i, _pair.Create($"f{i}"), 0, MachinePair.Bytes(10));
            if (i % 7 == 0)
                _pair.Run();
        }
        _pair.Run();
        Assert.Equal(300, A.Completed.Count(static c => c.Key >= 1000 && c.Value == 0));
        A.Crash();
        A.Serve(3);
        Assert.True(A.Source!.Status.DirtyBytes >= 300 * KiB64);
        _pair.Pass(1);
    }

    [Fact]
    public void A_peer_that_takes_no_data_holds_writes_back_and_says_why()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.SendRoom = 0;
        A.Write(1, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        Assert.Contains("takes no more data", A.Source!.Status.WaitingFor);
        A.SendRoom = 8 << 20;
        A.Source.RoomFreed();
        _pair.Run();
        Assert.Equal(0, A.Completed[1]);
    }

    [Fact]
    public void A_peer_that_stops_applying_holds_the_guest_back_within_limits_and_is_named_as_the_reason()
    {
        const int WriteBytes = 1 << 20;
        const int Given = 40;
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        // The file has its length already, so that the fake disk need not grow it again and again.
        A.Write(1, file, (Given * (long)WriteBytes) - 1, [0]);
        _pair.Run();
        var data = MachinePair.Bytes(WriteBytes);
        B.Held = static _ => true;
        var sentBefore = A.BytesSent;
        for (var i = 0; i < Given; i++)
            A.Write(1000 + (ulong)i, file, i * (long)WriteBytes, data);
        _pair.Run();
        Assert.InRange(A.BytesSent - sentBefore, WriteBytes, WriteLedger.BytesMax);
        Assert.Equal(Given, A.Source!.Status.HeldOperations);
        Assert.Contains("the peer", A.Source.Status.WaitingFor);
        B.Held = static _ => false;
        _pair.Run();
        Assert.All(Enumerable.Range(0, Given), i => Assert.Equal(0, A.Completed[1000 + (ulong)i]));
        Assert.Null(A.Source.Status.WaitingFor);
        _pair.AssertEqual();
    }

    [Fact]
    public void Stopping_acknowledges_nothing_that_a_member_lacks()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        B.Held = static _ => true;
        A.Write(1, file, 0, MachinePair.Bytes(10));
        _pair.Run();
        A.Source!.Stop();
        _pair.Run();
        Assert.Equal(LinuxError.InputOutput, A.Completed[1]);
        A.Serve(3);
        Assert.Equal(KiB64, A.Source.Status.DirtyBytes);
    }
}
