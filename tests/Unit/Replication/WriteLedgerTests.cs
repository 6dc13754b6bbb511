using Pollux.DataPlane.Core.Replication;
using Xunit.Abstractions;

namespace Pollux.Tests.Unit.Replication;

public class WriteLedgerTests(ITestOutputHelper output)
{
    private readonly WriteLedger _ledger = new();

    [Fact]
    public void A_mirrored_write_ends_when_both_parts_are_done_in_either_order()
    {
        var first = Write(0, 10);
        var second = Write(10, 20);
        var firstSequence = _ledger.Sent(first, 10, waits: true);
        var secondSequence = _ledger.Sent(second, 10, waits: true);
        _ledger.LocalDone(first, 0, 10);
        Assert.False(_ledger.TryTakeEnded(out _));
        Assert.True(_ledger.Applied(firstSequence));
        Assert.True(_ledger.TryTakeEnded(out var ended));
        Assert.Equal((first, true), (ended.Slot, ended.PeerConfirmed));

        Assert.True(_ledger.Applied(secondSequence));
        Assert.False(_ledger.TryTakeEnded(out _));
        _ledger.LocalDone(second, 0, 10);
        Assert.True(_ledger.TryTakeEnded(out ended));
        Assert.Equal(second, ended.Slot);
        Assert.Equal(0, _ledger.Count);
    }

    [Fact]
    public void Two_failed_writes_of_an_object_do_not_wait_for_each_other_to_repair_the_peer()
    {
        var first = Write(0, 10);
        var second = Write(10, 20);
        _ledger.Start(first);
        _ledger.Start(second);
        Assert.True(_ledger.OthersRun(first));
        _ledger.Repairs(second);
        Assert.False(_ledger.OthersRun(first));
        Assert.True(_ledger.OthersRun(second), "the first one's disk calls run still");
        _ledger.Repairs(first);
        Assert.False(_ledger.OthersRun(second));
    }

    [Fact]
    public void Overlapping_operations_of_an_object_proceed_in_order_of_arrival()
    {
        var a = Write(0, 10);
        var truncate = _ledger.Enter(OperationKind.Mutation, true, 1, 0, long.MaxValue, 0, 0, 0);
        var b = Write(100, 110);
        var other = _ledger.Enter(OperationKind.Write, true, 2, 0, 10, 0, 0, 0);
        Assert.True(_ledger.MayProceed(a));
        Assert.False(_ledger.MayProceed(truncate));
        Assert.False(_ledger.MayProceed(b), "a later write does not starve an earlier truncation");
        Assert.True(_ledger.MayProceed(other));
        End(a);
        Assert.True(_ledger.MayProceed(truncate));
        Assert.False(_ledger.MayProceed(b));
        End(truncate);
        Assert.True(_ledger.MayProceed(b));
    }

    [Fact]
    public void What_waits_for_a_lost_peer_is_held_until_the_peer_is_out()
    {
        var slot = Write(0, 10);
        _ledger.Sent(slot, 10, waits: true);
        _ledger.LocalDone(slot, 0, 10);
        _ledger.NewSession();
        Assert.False(_ledger.TryTakeEnded(out _));
        Assert.Equal(1, _ledger.HeldCount);
        _ledger.PeerConfirmedOut();
        Assert.True(_ledger.TryTakeEnded(out var ended));
        Assert.False(ended.PeerConfirmed);
    }

    [Fact]
    public void While_a_resync_runs_no_write_waits_for_the_target()
    {
        var slot = Write(0, 10);
        _ledger.Sent(slot, 10, waits: false);
        _ledger.LocalDone(slot, 0, 10);
        Assert.True(_ledger.TryTakeEnded(out _));
        var reused = Write(0, 5);
        Assert.Equal(slot, reused);
        Assert.True(_ledger.Applied(1));
        Assert.False(_ledger.TryTakeEnded(out _), "an acknowledgement of the slot's former operation ends nothing");
    }

    [Fact]
    public void A_hold_keeps_completions_back_and_loses_none()
    {
        var slot = Write(0, 10);
        _ledger.Hold = true;
        _ledger.LocalDone(slot, 0, 10);
        Assert.False(_ledger.TryTakeEnded(out _));
        _ledger.Hold = false;
        Assert.True(_ledger.TryTakeEnded(out _));
        Assert.False(_ledger.TryTakeEnded(out _));
    }

    [Fact]
    public void Bytes_and_operations_are_bounded_and_internal_slots_are_kept()
    {
        var half = WriteLedger.BytesMax / 2;
        Assert.True(_ledger.Enter(OperationKind.Write, true, 1, 0, half, 0, 0, 0) >= 0);
        Assert.True(_ledger.Enter(OperationKind.Write, true, 1, half, 2 * half, 0, 0, 0) >= 0);
        Assert.Equal(-1, _ledger.Enter(OperationKind.Write, true, 2, 0, 1, 0, 0, 0));
        for (var i = 2; i < WriteLedger.OperationsMax; i++)
            Assert.True(_ledger.Enter(OperationKind.Flush, true, 0, 0, 0, 0, 0, 0) >= 0);
        Assert.Equal(-1, _ledger.Enter(OperationKind.Flush, true, 0, 0, 0, 0, 0, 0));
        for (var i = 0; i < WriteLedger.InternalMax; i++)
            Assert.True(_ledger.Enter(OperationKind.Copy, false, 3, 0, 1, 0, 0, 0) >= 0);
        Assert.Equal(-1, _ledger.Enter(OperationKind.Copy, false, 3, 0, 1, 0, 0, 0));
    }

    [Fact]
    public void A_peer_that_acknowledges_what_was_not_sent_is_noticed()
    {
        Assert.False(_ledger.Applied(1));
        _ledger.Sent(Write(0, 1), 1, waits: true);
        Assert.True(_ledger.Applied(1));
        Assert.False(_ledger.Applied(0));
        Assert.False(_ledger.Flushed(2, 0));
    }

    [Fact]
    public void A_flush_after_a_covering_one_needs_no_work_and_a_running_one_serves_all_waiters()
    {
        var coverage = new FlushCoverage(16);
        Assert.Equal(FlushCoverage.Verdict.Start, coverage.Begin(1, true, 1, out _));
        Assert.Equal(FlushCoverage.Verdict.Joined, coverage.Begin(1, true, 2, out var leader));
        Assert.Equal(1, leader);
        Assert.Equal(FlushCoverage.Verdict.Start, coverage.Begin(1, false, 3, out _));
        coverage.Changed(1);
        Assert.Equal(FlushCoverage.Verdict.Start, coverage.Begin(1, true, 4, out _));
        coverage.Ended(1, stable: true);
        Assert.Equal(FlushCoverage.Verdict.Joined, coverage.Begin(1, true, 5, out leader));
        Assert.Equal(4, leader);
        coverage.Ended(4, stable: true);
        Assert.Equal(FlushCoverage.Verdict.Covered, coverage.Begin(1, true, 6, out _));
        Assert.Equal(FlushCoverage.Verdict.Start, coverage.Begin(1, false, 7, out _));
        coverage.Changed(1);
        coverage.Ended(7, stable: true);
        Assert.Equal(FlushCoverage.Verdict.Start, coverage.Begin(1, true, 8, out _));
        coverage.Ended(8, stable: false);
        Assert.Equal(FlushCoverage.Verdict.Start, coverage.Begin(1, true, 9, out _));
        Assert.Equal(FlushCoverage.Verdict.Start, coverage.Begin(0, true, 10, out _));
        coverage.Ended(10, stable: true);
        Assert.Equal(FlushCoverage.Verdict.Covered, coverage.Begin(1, false, 11, out _));
        Assert.Equal(FlushCoverage.Verdict.Covered, coverage.Begin(77, false, 12, out _));
    }

    /// <summary>Random steps against a plain model: an operation ends exactly once, exactly when its parts are done, and overlapping ones
    /// never run side by side.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(20261122)]
    public void Random_steps_end_every_operation_once_and_never_early(int seed)
    {
        output.WriteLine($"seed {seed}");
        var random = new SeededRandom((ulong)seed);
        var model = new Dictionary<ulong, Operation>();
        var mirrored = true;
        ulong tags = 0;
        for (var step = 0; step < 50_000; step++)
        {
            switch (random.Below(10))
            {
                case < 3 when model.Count < 200:
                    var start = random.Below(64);
                    var operation = new Operation { Object = (ulong)random.Below(3), Start = start, End = start + 1 + random.Below(8), Tag = ++tags };
                    operation.Slot = _ledger.Enter(OperationKind.Write, true, operation.Object, operation.Start, operation.End, operation.Tag, 0, 0);
                    Assert.True(operation.Slot >= 0);
                    model.Add(operation.Tag, operation);
                    break;
                case < 5:
                    foreach (var waiting in model.Values.Where(o => !o.Running).OrderBy(o => o.Tag))
                    {
                        var blocked = model.Values.Any(o => o.Tag < waiting.Tag && o.Object == waiting.Object && o.Start < waiting.End && waiting.Start < o.End);
                        Assert.Equal(!blocked, _ledger.MayProceed(waiting.Slot));
                        if (blocked)
                            continue;
                        waiting.Running = true;
                        _ledger.Start(waiting.Slot);
                        if (mirrored)
                            waiting.Sequence = _ledger.Sent(waiting.Slot, 1, waits: waiting.Waits = random.Below(4) != 0);
                        break;
                    }
                    break;
                case < 7:
                    if (model.Values.Where(o => o is { Running: true, Local: false }).MinBy(o => random.Next()) is { } written)
                    {
                        written.Local = true;
                        _ledger.LocalDone(written.Slot, 0, 1);
                    }
                    break;
                case < 9 when mirrored && _ledger.LastSent > _ledger.LastApplied:
                    var upTo = _ledger.LastApplied + 1 + (ulong)random.Below((int)(_ledger.LastSent - _ledger.LastApplied));
                    Assert.True(_ledger.Applied(upTo));
                    foreach (var sent in model.Values.Where(o => o.Sequence != 0 && o.Sequence <= upTo))
                        sent.Peer = true;
                    break;
                case 9 when random.Below(50) == 0:
                    if (mirrored)
                    {
                        _ledger.NewSession();
                        foreach (var lost in model.Values)
                            lost.Sequence = 0;
                    }
                    else
                    {
                        _ledger.PeerConfirmedOut();
                        foreach (var released in model.Values)
                            released.Waits = false;
                    }
                    mirrored = !mirrored;
                    break;
            }
            while (_ledger.TryTakeEnded(out var ended))
            {
                Assert.True(model.Remove(ended.TagUnique, out var done), "ended once");
                Assert.True(done!.Local && (!done.Waits || done.Peer), "not early");
            }
            Assert.DoesNotContain(model.Values, o => o.Local && (!o.Waits || o.Peer));
            Assert.Equal(model.Count, _ledger.Count);
        }
    }

    [Fact]
    public void An_operation_that_is_repaired_while_others_wait_for_the_peer_waits_too()
    {
        var slot = Write(0, 10);
        _ledger.Start(slot);
        _ledger.Sent(slot, 100, waits: false);
        _ledger.Repairs(slot);
        var repair = _ledger.SentAgain(slot, 100, waits: true);
        _ledger.LocalDone(slot, LinuxError.NoSpace, 0);
        Assert.True(_ledger.Applied(repair - 1));
        Assert.False(_ledger.TryTakeEnded(out _));
        Assert.True(_ledger.Applied(repair));
        Assert.True(_ledger.TryTakeEnded(out var ended));
        Assert.Equal(LinuxError.NoSpace, ended.ErrorNumber);
    }

    private int Write(long start, long end) => _ledger.Enter(OperationKind.Write, true, 1, start, end, 0, 0, 0);

    private void End(int slot)
    {
        _ledger.LocalDone(slot, 0, 0);
        Assert.True(_ledger.TryTakeEnded(out _));
    }

    private sealed class Operation
    {
        public ulong Tag;
        public ulong Object;
        public long Start;
        public long End;
        public int Slot;
        public bool Running;
        public bool Local;
        public bool Peer;
        public bool Waits;
        public ulong Sequence;
    }
}
