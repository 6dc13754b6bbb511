using System.Text;

namespace Pollux.Tests.Unit.Replication;

/// <summary>What a verify finds, what it does not, and how it repairs.</summary>
public sealed class VerifyMachineTests
{
    private const int MiB = 1 << 20;
    private readonly MachinePair _pair = new();

    private MachineHost A => _pair.A;
    private MachineHost B => _pair.B;
    private VerifyStatus Status => A.Source!.Status.Verify;

    [Fact]
    public void Mutations_beside_a_verify_raise_no_alarm()
    {
        _pair.ServeMirrored();
        var files = Enumerable.Range(0, 300).Select(i => _pair.Create($"f{i}")).ToList();
        Verify();
        for (var i = 0UL; i < 200; i++)
        {
            A.Mutate(1000 + (3 * i), new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes($"g{i}"), Mode = 0x81A4 });
            if (i % 2 == 0)
                A.Mutate(1001 + (3 * i), new Mutation(MutationKind.Unlink) { Parent = 1, Name = Encoding.UTF8.GetBytes($"f{i}") });
            A.Write(1002 + (3 * i), files[299], (long)i * 5000, MachinePair.Bytes(6000, (int)i));
            // Each host gets some turns, never all that it would need: the two are at different points nearly always.
            A.FinishTurn();
            A.Run();
            if (i % 3 != 0)
                B.Receive();
            if (i % 5 == 0)
                B.Run();
            B.FinishTurn();
            A.Receive();
        }
        _pair.Run();
        Assert.Equal(VerifyStatus.Completed, Status.End);
        Assert.Empty(Status.DifferentEntries);
        Assert.Empty(Status.Different);
        Assert.Equal(Status.TotalEntries, Status.DoneEntries);
        Assert.True(Status.TotalEntries > EntryDigest.BatchMax);
    }

    [Fact]
    public void A_file_that_is_removed_while_it_is_compared_raises_no_alarm()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(3 * MiB));
        _pair.Run();
        // The hash of this host comes before the removal, that of the peer after it.
        B.Held = static what => what.StartsWith("hash", StringComparison.Ordinal);
        Verify();
        _pair.Run();
        Assert.NotEqual(VerifyStatus.Completed, Status.End);
        A.Mutate(2, new Mutation(MutationKind.Unlink) { Parent = 1, Name = "f"u8.ToArray() });
        _pair.Run();
        B.Held = static _ => false;
        _pair.Pass(1_000);
        Assert.Equal(VerifyStatus.Completed, Status.End);
        Assert.Empty(Status.Different);
        Assert.Empty(Status.DifferentEntries);
    }

    [Fact]
    public void What_entries_differ_in_is_told()
    {
        _pair.ServeMirrored();
        var (mode, xattr, gone, renamed) = (_pair.Create("mode"), _pair.Create("xattr"), _pair.Create("gone"), _pair.Create("renamed"));
        B.Objects[mode].Mode = 0x81FF;
        B.Objects[xattr].Xattrs.Add(new ManifestXattr("user.x"u8.ToArray(), "1"u8.ToArray()));
        B.Objects.Remove(gone);
        B.Objects[renamed].Links[0] = (1, "other");
        Verify();
        _pair.Run();
        Assert.Equal(VerifyStatus.Completed, Status.End);
        Assert.Equal(5, Status.EntriesDifferent);
        Assert.Equal(
            [(1UL, EntryAspects.Children), (mode, EntryAspects.Mode), (xattr, EntryAspects.Xattrs), (gone, EntryAspects.Missing), (renamed, EntryAspects.Names)],
            Status.DifferentEntries.Select(difference => (difference.Object, difference.Aspects)).OrderBy(difference => difference.Object));
        Assert.True(A.Source!.Status.SessionUp);
    }

    [Fact]
    public void A_tree_that_differs_is_repaired_by_a_resync_for_which_the_peer_leaves_the_record()
    {
        _pair.ServeMirrored();
        var (kept, gone) = (_pair.Create("kept"), _pair.Create("gone"));
        A.Write(1, gone, 0, MachinePair.Bytes(70_000));
        A.Flush(2);
        _pair.Run();
        B.Objects.Remove(gone);
        Verify(repair: true);
        _pair.Run();
        Assert.Equal((VerifyStatus.Completed, true), (Status.End, Status.ResyncFollows));
        Assert.Contains(A.Events, happened => happened.StartsWith("lost a verify found", StringComparison.Ordinal));
        A.Write(3, kept, 0, MachinePair.Bytes(10));
        _pair.Run();
        Assert.DoesNotContain(3UL, A.Completed.Keys);
        A.Events.Clear();
        _pair.Exclude();
        _pair.Join();
        Assert.Equal(0, A.Completed[3]);
        _pair.AssertEqual();
        Verify();
        _pair.Run();
        Assert.Equal((VerifyStatus.Completed, 0, 0L), (Status.End, Status.EntriesDifferent, Status.DifferentBytes));
    }

    [Theory]
    [InlineData(3 * MiB, 3 * MiB + 5)]
    [InlineData(3 * MiB, 5 * MiB)]
    [InlineData(3 * MiB + 100, 3 * MiB)]
    [InlineData(3 * MiB, MiB)]
    [InlineData(3 * MiB, 0)]
    [InlineData(0, 10)]
    public void A_length_that_differs_is_found_and_repaired_without_a_resync(int here, int there)
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        for (var offset = 0; offset < here; offset += 700_000)
            A.Write(100 + (ulong)offset, file, offset, MachinePair.Bytes(Math.Min(700_000, here - offset), offset + 1));
        A.Flush(2);
        _pair.Run();
        B.Objects[file].Cut(there);
        Verify(repair: true);
        _pair.Run();
        Assert.Equal(VerifyStatus.Completed, Status.End);
        Assert.Equal([new EntryDifference(file, EntryAspects.Size)], Status.DifferentEntries);
        Assert.True(Status.DifferentBytes > 0);
        Assert.Equal(Status.DifferentBytes, Status.RepairedBytes);
        Assert.True(A.Source!.Status.SessionUp);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_file_that_grows_beside_a_verify_raises_no_alarm()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("log");
        A.Write(1, file, 0, MachinePair.Bytes(MiB));
        _pair.Run();
        Verify();
        for (var i = 0UL; i < 300; i++)
        {
            A.Write(1000 + i, file, MiB + ((long)i * 4000), MachinePair.Bytes(4000, (int)i));
            A.FinishTurn();
            A.Run();
            if (i % 2 == 0)
                B.Receive();
            if (i % 3 == 0)
                B.Run();
            B.FinishTurn();
            A.Receive();
        }
        _pair.Run();
        Assert.Equal((VerifyStatus.Completed, 0, 0L), (Status.End, Status.EntriesDifferent, Status.DifferentBytes));
        _pair.AssertEqual();
    }

    [Fact]
    public void A_repaired_range_counts_only_when_it_is_stable_on_both_hosts()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(MiB));
        A.Flush(2);
        _pair.Run();
        B.Objects[file].Write(5000, [1, 2, 3]);
        B.Held = what => what.StartsWith("flush", StringComparison.Ordinal);
        Verify(repair: true);
        _pair.Run();
        Assert.Equal((true, 4096L, 0L), (Status.Running, Status.DifferentBytes, Status.RepairedBytes));
        _pair.AssertEqual();
        B.Held = static _ => false;
        _pair.Run();
        Assert.Equal((VerifyStatus.Completed, 4096L), (Status.End, Status.RepairedBytes));
    }

    [Fact]
    public void A_verify_that_is_stopped_between_batches_lets_mutations_go_on()
    {
        _pair.ServeMirrored();
        _pair.Create("f");
        B.Held = what => what == "describe";
        Verify();
        _pair.Run();
        A.Mutate(50, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = "new"u8.ToArray(), Mode = 0x81A4 });
        _pair.Run();
        Assert.DoesNotContain(50UL, A.Completed.Keys);
        A.Source!.StopVerify();
        B.Held = static _ => false;
        _pair.Run();
        Assert.Equal((VerifyStatus.Stopped, 0), (Status.End, A.Completed[50]));
        Verify();
        _pair.Run();
        Assert.Equal(VerifyStatus.Completed, Status.End);
    }

    [Fact]
    public void A_copy_of_which_everything_differs_is_told_in_a_bounded_list()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        for (var i = 0; i < 8; i++)
            A.Write(1 + (ulong)i, file, (long)i * MiB, MachinePair.Bytes(MiB, i + 1));
        _pair.Run();
        B.Objects[file].Write(0, new byte[8 * MiB]);
        Verify();
        _pair.Run();
        Assert.Equal((VerifyStatus.Completed, 8L * MiB), (Status.End, Status.DifferentBytes));
        Assert.InRange(Status.Different.Count, 1, VerifyStatus.RangesMax);
    }

    private void Verify(bool repair = false) => Assert.True(A.Source!.StartVerify(repair, long.MaxValue, out var refusal), refusal);
}
