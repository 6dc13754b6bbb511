using System.Text;

namespace Pollux.Tests.Unit.Replication;

/// <summary>A verify whose link ends under it: it goes on with the session, and finds neither more nor less for it.</summary>
public sealed class VerifyResumptionTests
{
    private const int MiB = 1 << 20;
    private readonly MachinePair _pair = new();
    private readonly ulong _file;

    public VerifyResumptionTests()
    {
        _pair.ServeMirrored();
        _file = _pair.Create("f");
        for (var i = 0; i < 8; i++)
            A.Write(1 + (ulong)i, _file, (long)i * MiB, MachinePair.Bytes(MiB, i + 1));
        A.Flush(20);
        _pair.Run();
        A.Events.Clear();
    }

    private MachineHost A => _pair.A;
    private MachineHost B => _pair.B;
    private VerifyStatus Status => A.Source!.Status.Verify;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_was_being_compared_is_compared_again(bool hashesOfThisHostAreLate)
    {
        B.Objects[_file].Write(5 * MiB, [1, 2, 3]);
        B.Held = IsHash;
        if (hashesOfThisHostAreLate)
            A.Held = IsHash;
        Verify();
        _pair.Run();
        A.Link!.Break("cut");
        _pair.Run();
        Assert.True(Status.Running);
        A.Held = B.Held = static _ => false;
        _pair.Pass(1_000);
        Assert.Equal((VerifyStatus.Completed, 8L * MiB, 4096L), (Status.End, Status.DoneBytes, Status.DifferentBytes));
        Assert.Equal([new ObjectRange(_file, 5 * MiB, 4096)], Status.Different);
        Assert.Empty(A.Events);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Entries_are_described_again_and_mutations_in_between_raise_no_alarm(bool thisHostIsLate)
    {
        var (mode, _) = (_pair.Create("mode"), _pair.Create("same"));
        B.Objects[mode].Mode = 0x81FF;
        (thisHostIsLate ? A : B).Held = static what => what == "describe";
        Verify();
        _pair.Run();
        A.Mutate(50, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = "new"u8.ToArray(), Mode = 0x81A4 });
        A.Mutate(51, new Mutation(MutationKind.Unlink) { Parent = 1, Name = "same"u8.ToArray() });
        A.Link!.Break("cut");
        _pair.Pass(200);
        A.Held = B.Held = static _ => false;
        _pair.Pass(1_000);
        Assert.Equal((VerifyStatus.Completed, Status.TotalEntries), (Status.End, Status.DoneEntries));
        Assert.Equal([new EntryDifference(mode, EntryAspects.Mode)], Status.DifferentEntries);
        Assert.Equal((0, 0), (A.Completed[50], A.Completed[51]));
        Assert.Empty(A.Events);
    }

    [Fact]
    public void A_link_that_ends_again_and_again_beside_writes_and_mutations_changes_nothing_of_the_outcome()
    {
        var files = Enumerable.Range(0, 300).Select(i => _pair.Create($"f{i}")).ToList();
        B.Objects[files[7]].Mode = 0x81FF;
        B.Objects[_file].Write(3 * MiB, [1, 2, 3]);
        Verify();
        for (var cut = 0; cut < 60 && Status.Running; cut++)
        {
            A.Write(1_000 + (ulong)cut, _file, (6 * MiB) + (cut * 5_000), MachinePair.Bytes(6_000, cut));
            A.Mutate(2_000 + (ulong)cut, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes($"g{cut}"), Mode = 0x81A4 });
            for (var turn = 0; turn < 2 + (cut % 3); turn++)
                _pair.Step();
            A.Link?.Break("cut");
            // Long enough apart for the session to count as steady.
            _pair.Clock.NowMs += A.Options.ResumeDeadlineMs;
            for (var turn = 0; turn < 12 && A.Link is null; turn++)
                _pair.Pass(50);
        }
        _pair.Pass(2_000);
        Assert.Equal((VerifyStatus.Completed, 4096L), (Status.End, Status.DifferentBytes));
        Assert.Equal([new EntryDifference(files[7], EntryAspects.Mode)], Status.DifferentEntries);
        Assert.Equal(Status.TotalEntries, Status.DoneEntries);
        Assert.Empty(A.Events);
    }

    [Fact]
    public void A_length_is_mended_once_when_the_link_ends_before_the_peer_is_told()
    {
        B.Objects[_file].Cut((8 * MiB) - 5);
        A.Held = static what => what.StartsWith("stat", StringComparison.Ordinal);
        Verify(repair: true);
        _pair.Run();
        Assert.True(Status.Running);
        A.Link!.Break("cut");
        _pair.Run();
        A.Held = static _ => false;
        _pair.Pass(1_000);
        Assert.Equal((VerifyStatus.Completed, 5L, 5L), (Status.End, Status.DifferentBytes, Status.RepairedBytes));
        Assert.Equal([new EntryDifference(_file, EntryAspects.Size)], Status.DifferentEntries);
        Assert.Empty(A.Events);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_session_that_is_lost_ends_the_verify_with_the_reason()
    {
        B.Held = IsHash;
        Verify();
        _pair.Run();
        A.Reachable = false;
        A.Link!.Break("cut");
        _pair.Pass(A.Options.ResumeDeadlineMs - 100);
        Assert.True(Status.Running);
        _pair.Pass(1_000);
        Assert.False(Status.Running);
        Assert.StartsWith("the session ended: cut", Status.End);
        Assert.Single(A.Events, static happened => happened.StartsWith("lost", StringComparison.Ordinal));
    }

    [Fact]
    public void A_verify_can_be_stopped_while_its_session_is_away()
    {
        B.Held = IsHash;
        Verify();
        _pair.Run();
        A.Reachable = false;
        A.Link!.Break("cut");
        _pair.Run();
        A.Source!.StopVerify();
        Assert.Equal(VerifyStatus.Stopped, Status.End);
        (A.Reachable, B.Held) = (true, static _ => false);
        _pair.Pass(1_000);
        Verify();
        _pair.Run();
        Assert.Equal((VerifyStatus.Completed, 0L), (Status.End, Status.DifferentBytes));
    }

    [Fact]
    public void The_session_may_move_to_a_better_link_beside_a_comparison_and_not_beside_a_repair()
    {
        _pair.Pass(A.Options.ResumeDeadlineMs);
        Assert.True(A.Source!.MayMoveLink);
        B.Held = IsHash;
        Verify();
        _pair.Run();
        Assert.True(A.Source.MayMoveLink);
        A.Source.StopVerify();
        B.Held = static _ => false;
        _pair.Run();
        B.Held = IsHash;
        Verify(repair: true);
        _pair.Run();
        Assert.False(A.Source.MayMoveLink);
    }

    private static bool IsHash(string what) => what.StartsWith("hash", StringComparison.Ordinal);

    private void Verify(bool repair = false) => Assert.True(A.Source!.StartVerify(repair, long.MaxValue, out var refusal), refusal);
}
