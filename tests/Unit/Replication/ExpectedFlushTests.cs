namespace Pollux.Tests.Unit.Replication;

/// <summary>Flushes that the source begins by itself because one follows each write.</summary>
public sealed class ExpectedFlushTests
{
    private readonly MachinePair _pair = new();
    private ulong _tag = 1000;

    private MachineHost A => _pair.A;
    private MachineHost B => _pair.B;

    [Fact]
    public void A_lone_writers_flush_runs_on_both_hosts_before_it_is_asked_for_and_holds_nothing()
    {
        var file = FileOfALoneWriter();
        var frames = FlushFrames();
        A.Held = B.Held = IsFlush;
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        Assert.Equal((0, frames + 1, 1, 1), (A.Completed[1], FlushFrames(), A.Pending, B.Pending));
        A.Flush(2, file);
        _pair.Run();
        Assert.DoesNotContain(2UL, A.Completed.Keys);
        A.Held = B.Held = static _ => false;
        _pair.Run();
        Assert.Equal((0, frames + 1), (A.Completed[2], FlushFrames()));
        _pair.AssertEqual();
    }

    [Fact]
    public void A_flush_that_was_expected_and_has_ended_is_answered_without_another()
    {
        var file = FileOfALoneWriter();
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        var (frames, flushes) = (FlushFrames(), LocalFlushes(A));
        A.Flush(2, file);
        Assert.Equal(0, A.Completed[2]);
        _pair.Run();
        Assert.Equal((frames, flushes), (FlushFrames(), LocalFlushes(A)));
    }

    [Fact]
    public void What_is_written_while_a_flush_runs_shares_the_next()
    {
        var file = FileOfALoneWriter();
        var frames = FlushFrames();
        B.Held = IsFlush;
        for (var i = 0; i < 5; i++)
        {
            A.Write((ulong)i + 1, file, i << 16, MachinePair.Bytes(4096, i));
            _pair.Run();
        }
        Assert.Equal(frames + 1, FlushFrames());
        A.Flush(6, file);
        B.Held = static _ => false;
        _pair.Run();
        Assert.Equal((0, frames + 2), (A.Completed[6], FlushFrames()));
        Assert.Equal(0, A.Source!.Status.DirtyBytes);
    }

    [Fact]
    public void A_flush_is_about_what_was_answered_before_it()
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        A.Write(1, file, 0, MachinePair.Bytes(4096, 1));
        _pair.Run();
        A.Flush(2, file);
        _pair.Run();
        var frames = FlushFrames();
        B.Held = static what => what.StartsWith("write", StringComparison.Ordinal);
        A.Write(3, file, 8192, MachinePair.Bytes(4096, 2));
        _pair.Run();
        A.Flush(4, file);
        _pair.Run();
        Assert.Equal((0, frames), (A.Completed[4], FlushFrames()));
        Assert.DoesNotContain(3UL, A.Completed.Keys);
        B.Held = static _ => false;
        _pair.Run();
        Assert.Equal(0, A.Completed[3]);
        B.Held = IsFlush;
        A.Flush(5, file);
        _pair.Run();
        Assert.DoesNotContain(5UL, A.Completed.Keys);
        B.Held = static _ => false;
        _pair.Run();
        Assert.Equal((0, frames + 1), (A.Completed[5], FlushFrames()));
    }

    [Fact]
    public void Writers_in_company_are_answered_when_their_writes_are_stable_and_their_flushes_at_once()
    {
        var file = FileOfEightWriters();
        var frames = FlushFrames();
        B.Held = IsFlush;
        for (var i = 0UL; i < 8; i++)
            A.Write(i + 1, file, (long)i << 16, MachinePair.Bytes(4096, (int)i));
        _pair.Run();
        Assert.All(Enumerable.Range(1, 8), i => Assert.DoesNotContain((ulong)i, A.Completed.Keys));
        B.Held = static _ => false;
        _pair.Run();
        Assert.All(Enumerable.Range(1, 8), i => Assert.Equal(0, A.Completed[(ulong)i]));
        var shared = FlushFrames();
        Assert.InRange(shared, frames + 1, frames + 2);
        for (var i = 11UL; i < 19; i++)
        {
            A.Flush(i, file);
            Assert.Equal(0, A.Completed[i]);
        }
        _pair.Run();
        Assert.Equal(shared, FlushFrames());
    }

    [Fact]
    public void Answers_that_wait_for_a_flush_are_held_by_a_freeze()
    {
        var file = FileOfEightWriters();
        B.Held = IsFlush;
        WriteTwo(file);
        A.Source!.Freeze();
        B.Held = static _ => false;
        _pair.Run();
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        A.Source.Unfreeze();
        _pair.Run();
        Assert.Equal((0, 0), (A.Completed[1], A.Completed[2]));
    }

    [Fact]
    public void Answers_that_wait_for_a_flush_do_not_wait_for_a_lost_peer()
    {
        var file = FileOfEightWriters();
        B.Held = IsFlush;
        WriteTwo(file);
        B.Crash();
        _pair.Run();
        // Both hosts have applied them; that is all that a write promises.
        Assert.Equal((0, 0), (A.Completed[1], A.Completed[2]));
        A.Flush(3, file);
        _pair.Run();
        Assert.DoesNotContain(3UL, A.Completed.Keys);
        _pair.Exclude();
        Assert.Equal(0, A.Completed[3]);
    }

    /// <summary>When the process dies, the kernel gives what has no answer to the next one: a write that came before would undo it.</summary>
    [Fact]
    public void No_later_write_is_answered_before_one_that_waits_for_a_flush()
    {
        var file = FileOfEightWriters();
        B.Held = IsFlush;
        var last = 0UL;
        while (last < 100 && !A.Completed.ContainsKey(Math.Max(last, 1)))
        {
            A.Write(++last, file, 0, MachinePair.Bytes(4096, (int)last));
            _pair.Run();
        }
        Assert.InRange(last, 2UL, 99UL);
        for (var tag = 1UL; tag <= last; tag++)
            Assert.Equal(0, A.Completed[tag]);
    }

    [Fact]
    public void No_change_of_names_is_answered_before_a_write_that_waits_for_a_flush()
    {
        var file = FileOfEightWriters();
        B.Held = IsFlush;
        WriteTwo(file);
        _pair.Create("g");
        Assert.Equal((0, 0), (A.Completed[1], A.Completed[2]));
    }

    [Fact]
    public void A_quiesce_does_not_wait_for_answers_that_wait_for_a_flush()
    {
        var file = FileOfEightWriters();
        B.Held = IsFlush;
        WriteTwo(file);
        A.Source!.Quiesce();
        _pair.Run();
        Assert.Equal((0, 0), (A.Completed[1], A.Completed[2]));
        Assert.DoesNotContain("quiesced", A.Events);
        B.Held = static _ => false;
        _pair.Run();
        Assert.Contains("quiesced", A.Events);
    }

    [Theory]
    [InlineData("flush")]
    [InlineData("write")]
    [InlineData("send")]
    public void A_stop_answers_each_write_once(string held)
    {
        var file = FileOfEightWriters();
        A.Held = what => what.StartsWith(held, StringComparison.Ordinal);
        WriteTwo(file);
        A.Source!.Stop();
        _pair.Run();
        A.Held = static _ => false;
        _pair.Run();
        Assert.Equal((LinuxError.InputOutput, LinuxError.InputOutput), (A.Completed[1], A.Completed[2]));
        Assert.Contains("stopped", A.Events);
    }

    [Fact]
    public void A_failed_expected_flush_fails_the_flush_that_is_asked_for()
    {
        var file = FileOfALoneWriter();
        A.Fails = static (what, _) => what == "flush" ? LinuxError.InputOutput : 0;
        A.Write(1, file, 0, MachinePair.Bytes(4096));
        _pair.Run();
        A.Fails = static (_, _) => 0;
        A.Flush(2, file);
        _pair.Run();
        Assert.Equal((0, LinuxError.InputOutput), (A.Completed[1], A.Completed[2]));
        Assert.Single(A.Events, static e => e.StartsWith("fault", StringComparison.Ordinal));
    }

    private static bool IsFlush(string what) => what.StartsWith("flush", StringComparison.Ordinal);

    private static int LocalFlushes(MachineHost host) => host.Done.Count(IsFlush);

    private int FlushFrames() => A.Done.Count(static what => what == "send Flush");

    private void WriteTwo(ulong file)
    {
        A.Write(1, file, 0, MachinePair.Bytes(4096, 1));
        A.Write(2, file, 8192, MachinePair.Bytes(4096, 2));
        _pair.Run();
        Assert.DoesNotContain(1UL, A.Completed.Keys);
        Assert.DoesNotContain(2UL, A.Completed.Keys);
    }

    private ulong FileOfALoneWriter() => FileOf(writers: 1);

    private ulong FileOfEightWriters() => FileOf(writers: 8);

    private ulong FileOf(int writers)
    {
        _pair.ServeMirrored();
        var file = _pair.Create("f");
        for (var round = 0; round < 100; round++)
        {
            for (var i = 0; i < writers; i++)
                A.Write(++_tag, file, i << 16, MachinePair.Bytes(4096, i));
            _pair.Run();
            for (var i = 0; i < writers; i++)
                A.Flush(++_tag, file);
            _pair.Run();
        }
        return file;
    }
}
