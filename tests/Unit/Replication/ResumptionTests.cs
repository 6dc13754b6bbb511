using System.Text;

namespace Pollux.Tests.Unit.Replication;

/// <summary>A link that ends under a member: the session goes on over another one, or is lost.</summary>
public sealed class ResumptionTests
{
    private readonly MachinePair _pair = new();
    private readonly ulong _file;

    public ResumptionTests()
    {
        _pair.ServeMirrored();
        _file = _pair.Create("f");
        A.Events.Clear();
    }

    private MachineHost A => _pair.A;
    private MachineHost B => _pair.B;

    [Fact]
    public void Operations_in_flight_end_once_and_nobody_hears_of_a_loss()
    {
        B.Held = static what => what != "dial";
        A.Write(1, _file, 0, MachinePair.Bytes(100_000));
        A.Write(2, _file, 50_000, MachinePair.Bytes(100_000, 2));
        A.Mutate(3, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes("g"), Mode = 0x81A4 });
        A.Flush(4, _file);
        _pair.Run();
        Assert.DoesNotContain(A.Completed.Keys, static tag => tag < 10);
        A.Link!.Break("cut");
        B.Held = static _ => false;
        _pair.Pass(1_000);
        Assert.All((ulong[])[1, 2, 3, 4], tag => Assert.Equal(0, A.Completed[tag]));
        Assert.Empty(A.Events);
        _pair.AssertEqual();
        Assert.Equal(0, A.Source!.Status.DirtyBytes);
    }

    [Fact]
    public void What_the_peer_has_applied_is_not_sent_again()
    {
        // The peer applies it, and its acknowledgement is lost with the link.
        B.Held = static what => what == "send Ack";
        A.Mutate(1, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes("g"), Mode = 0x81A4 });
        A.Write(2, _file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        Assert.DoesNotContain(2UL, A.Completed.Keys);
        A.Link!.Break("cut");
        B.Held = static _ => false;
        var sent = A.Done.Count;
        _pair.Pass(1_000);
        Assert.Equal(0, A.Completed[1]);
        Assert.Equal(0, A.Completed[2]);
        Assert.DoesNotContain(A.Done.Skip(sent), static what => what is "send Write" or "send Mutation");
        Assert.Empty(A.Events);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_flush_whose_confirmation_was_lost_is_asked_for_again()
    {
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        B.Held = static what => what == "send FlushAck";
        A.Flush(2, _file);
        _pair.Run();
        A.Link!.Break("cut");
        B.Held = static _ => false;
        var done = B.Done.Count;
        _pair.Pass(1_000);
        Assert.Equal(0, A.Completed[2]);
        Assert.Contains($"flush {_file:x}", B.Done.Skip(done));
        Assert.Equal(0, A.Source!.Status.UnflushedBytes);
        Assert.Empty(A.Events);
    }

    [Fact]
    public void Nothing_is_acknowledged_before_the_session_goes_on()
    {
        A.Reachable = false;
        A.Link!.Break("cut");
        _pair.Run();
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        A.Mutate(2, new Mutation(MutationKind.MakeDirectory) { Parent = 1, Name = Encoding.UTF8.GetBytes("d"), Mode = 0x41ED });
        _pair.Pass(500);
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        Assert.DoesNotContain(2UL, A.Completed.Keys);
        Assert.Contains("the peer or the record", A.Source!.Status.WaitingFor);
        A.Reachable = true;
        _pair.Pass(700);
        Assert.Equal(0, A.Completed[1]);
        Assert.Equal(0, A.Completed[2]);
        Assert.Empty(A.Events);
        _pair.AssertEqual();
    }

    [Fact]
    public void A_mutation_that_was_done_here_while_the_link_was_away_reaches_the_peer()
    {
        A.Held = static what => what.StartsWith("mutation", StringComparison.Ordinal);
        A.Mutate(1, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes("g"), Mode = 0x81A4 });
        _pair.Run();
        A.Reachable = false;
        A.Link!.Break("cut");
        _pair.Run();
        A.Held = static _ => false;
        _pair.Run();
        A.Reachable = true;
        _pair.Pass(1_000);
        Assert.Equal(0, A.Completed[1]);
        Assert.Empty(A.Events);
        _pair.AssertEqual();
    }

    [Fact]
    public void Mutations_that_wait_behind_it_keep_their_order()
    {
        A.Held = static what => what.StartsWith("mutation", StringComparison.Ordinal);
        A.Mutate(1, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes("g"), Mode = 0x81A4 });
        A.Mutate(2, new Mutation(MutationKind.SetAttributes) { Object = _file, Mask = AttributeMask.Size, SizeBytes = 100_000 });
        A.Mutate(3, new Mutation(MutationKind.Allocate) { Object = _file, OffsetBytes = 50_000, LengthBytes = 500_000 });
        _pair.Run();
        A.Reachable = false;
        A.Link!.Break("cut");
        _pair.Run();
        A.Held = static _ => false;
        _pair.Run();
        A.Reachable = true;
        _pair.Pass(1_000);
        Assert.All((ulong[])[1, 2, 3], tag => Assert.Equal(0, A.Completed.GetValueOrDefault(tag, -1)));
        _pair.AssertEqual();
    }

    [Fact]
    public void A_peer_that_stays_away_is_lost_when_the_time_is_over()
    {
        A.Reachable = false;
        A.Link!.Break("cut");
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        _pair.Pass(A.Options.ResumeDeadlineMs - 100);
        Assert.Empty(A.Events);
        _pair.Pass(500);
        Assert.Single(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        // Only the record says what becomes of it.
        A.Reachable = true;
        _pair.Pass(5_000);
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        _pair.Exclude();
        Assert.Equal(0, A.Completed[1]);
        Assert.NotEqual(0, A.Source!.Status.DirtyBytes);
    }

    [Fact]
    public void A_peer_that_has_restarted_is_lost_at_once()
    {
        B.Crash();
        B.Follow(A.State.Record.Epoch);
        _pair.Pass(200);
        Assert.Single(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
    }

    [Fact]
    public void A_peer_that_failed_to_apply_what_was_in_flight_is_lost()
    {
        B.Held = static what => what.StartsWith("write", StringComparison.Ordinal);
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        A.Link!.Break("cut");
        B.Fails = static (what, _) => what == "write" ? LinuxError.NoSpace : 0;
        B.Held = static _ => false;
        _pair.Pass(500);
        Assert.Single(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
        Assert.DoesNotContain(1UL, A.Completed.Keys);
    }

    [Fact]
    public void A_peer_whose_flush_failed_meanwhile_is_lost()
    {
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        B.Held = static what => what.StartsWith("flush", StringComparison.Ordinal);
        A.Flush(2, _file);
        _pair.Run();
        A.Link!.Break("cut");
        B.Fails = static (what, _) => what == "flush" ? LinuxError.NoSpace : 0;
        B.Held = static _ => false;
        _pair.Pass(500);
        Assert.Single(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
        Assert.DoesNotContain(2UL, A.Completed.Keys);
    }

    [Fact]
    public void A_write_that_fails_here_after_it_was_sent_ends_the_session()
    {
        A.Held = static what => what.StartsWith("write", StringComparison.Ordinal);
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        A.Reachable = false;
        A.Link!.Break("cut");
        _pair.Run();
        A.Fails = static (what, _) => what == "write" ? LinuxError.NoSpace : 0;
        A.Held = static _ => false;
        _pair.Run();
        Assert.Single(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
    }

    /// <summary>The peer has what was really left of it, and lacks the length of the file.</summary>
    [Fact]
    public void A_refused_write_whose_repair_is_not_acknowledged_ends_the_session()
    {
        A.Fails = static (what, _) => what == "write" ? LinuxError.NoSpace : 0;
        A.Held = static what => what == "send Mutation";
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        A.Link!.Break("cut");
        A.Fails = static (_, _) => 0;
        A.Held = static _ => false;
        _pair.Pass(500);
        Assert.Single(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
        _pair.Exclude();
        Assert.Equal(LinuxError.NoSpace, A.Completed[1]);
        Assert.NotEqual(0, A.Source!.Status.DirtyBytes);
    }

    [Fact]
    public void A_link_that_ends_again_and_again_gets_no_more_time_than_one_that_stays_away()
    {
        for (var waited = 0L; waited < A.Options.ResumeDeadlineMs + 1_000; waited += 100)
        {
            A.Link?.Break("cut");
            _pair.Pass(100);
        }
        Assert.Single(A.Events, static e => e.StartsWith("lost", StringComparison.Ordinal));
    }

    [Fact]
    public void A_greeting_that_is_lost_is_repeated()
    {
        B.Held = static what => what == "send HelloAnswer";
        A.Write(1, _file, 0, MachinePair.Bytes(4096));
        A.Link!.Break("cut");
        _pair.Pass(200);
        A.Link!.Break("cut again");
        B.Held = static _ => false;
        _pair.Pass(1_000);
        Assert.Equal(0, A.Completed[1]);
        Assert.Empty(A.Events);
        _pair.AssertEqual();
    }
}
