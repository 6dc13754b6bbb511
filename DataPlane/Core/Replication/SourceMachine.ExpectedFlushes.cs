namespace Pollux.DataPlane.Core.Replication;

// Where a flush follows nearly each write of an object, it is begun right behind the write, on both hosts: the write's way back, the
// application's next call and that call's way here are time in which the disks work already. The flush that is asked for then joins the
// one that runs, or finds it ended. One of an object runs at a time; what is written meanwhile shares the next. A begun flush is one as
// any other: it covers what had ended before it began, here and in the order of the stream. A wrong guess costs a flush.
//
// Several writers of one object: the kernel admits one FSYNC of a file at a time, so each would wait for those before it, and what
// others write meanwhile would call for a flush more. There a write that has ended is answered only when the flush that covers it has
// ended too. Then all that shared it are answered together, and their own flushes find nothing to do. Such a write has left the ledger:
// nothing of the machine waits for it, and it is answered at once when nothing runs any more that would cover it.
public sealed partial class SourceMachine
{
    /// <summary>At once, of different objects. They take slots that are kept for the engine's own work (<see cref="WriteLedger.InternalMax"/>),
    /// most of which copies and comparisons must find free.</summary>
    private const int ExpectedMax = 4;

    /// <summary>Writes that are answered late at once, each with its buffer. Others are answered as ever.</summary>
    private const int AwaitingMax = 64;

    /// <summary>One of four operations comes while another is outstanding: below it, a writer is alone, and waiting for the flush twice would
    /// cost it a way to the kernel and back.</summary>
    private const double CompanyMin = 0.25;

    private readonly FlushHabit _habit;
    private readonly List<(ulong Object, bool DataOnly)> _expected = new(ExpectedMax);
    private readonly List<AwaitingWrite> _awaiting = new(AwaitingMax);
    private readonly int _companyOperations;
    private int _expectedRunning;

    // How many of the last operations of front ends came while others were outstanding, 1 being all.
    private double _company;

    private bool MayExpect => _peer == PeerPart.Member && _link != 0 && IsOpen && !_stopping && !_fault;

    private void NoteCompany() => _company += ((_ledger.GuestCount > 1 || _awaiting.Count > 0 ? 1 : 0) - _company) / _companyOperations;

    private void ExpectFlush(ulong obj)
    {
        if (_habit.Written(obj, out var dataOnly) && MayExpect && !IsExpected(obj) && _expected.Count < ExpectedMax)
            _expected.Add((obj, dataOnly));
    }

    private bool IsExpected(ulong obj)
    {
        foreach (var expected in _expected)
        {
            if (expected.Object == obj)
                return true;
        }
        return false;
    }

    private void BeginExpectedFlushes()
    {
        if (_expected.Count == 0)
            return;
        var kept = 0;
        for (var i = 0; i < _expected.Count && MayExpect; i++)
        {
            var (obj, dataOnly) = _expected[i];
            if (_coverage.Runs(obj))
                _expected[kept++] = _expected[i];
            else if (_expectedRunning < ExpectedMax)
                BeginExpectedFlush(obj, dataOnly);
        }
        _expected.RemoveRange(kept, _expected.Count - kept);
    }

    private void BeginExpectedFlush(ulong obj, bool dataOnly)
    {
        var slot = _ledger.Enter(OperationKind.Flush, guest: false, obj, 0, 0, 0, 0, ++_operationNumber);
        if (slot < 0)
            return;
        if (!_coverage.TryBeginEarly(obj, dataOnly, slot))
        {
            _ledger.Abandon(slot);
            return;
        }
        _operations[slot] = new Operation { Kind = OperationKind.Flush, Object = obj, DataOnly = dataOnly, Purpose = Purpose.Expected, Step = Step.Begin };
        _expectedRunning++;
        Advance(slot);
    }

    /// <summary>A write that has ended well: answers it, or keeps its answer until it is covered.</summary>
    private void EndGuestWrite(in EndedOperation ended, long change)
    {
        var write = new AwaitingWrite(new OperationTag(ended.TagUnique, ended.TagDevice), ended.Count, ended.Object, change);
        if (_company >= CompanyMin && _awaiting.Count < AwaitingMax && WillBeCovered(write))
        {
            _awaiting.Add(write);
            return;
        }
        AnswerAwaiting(ended.Object);
        Answer(write);
    }

    /// <summary>Nothing that was done later is answered before: when this process dies, what has no answer comes again, and would undo it.</summary>
    /// <param name="obj">0: all of them.</param>
    private void AnswerAwaiting(ulong obj)
    {
        var kept = 0;
        for (var i = 0; i < _awaiting.Count; i++)
        {
            if (obj != 0 && _awaiting[i].Object != obj)
                _awaiting[kept++] = _awaiting[i];
            else
                Answer(_awaiting[i]);
        }
        _awaiting.RemoveRange(kept, _awaiting.Count - kept);
    }

    private bool WillBeCovered(in AwaitingWrite write) =>
        MayExpect && !_coverage.Covers(write.Object, write.Change) && (IsExpected(write.Object) || _coverage.WillCover(write.Object, write.Change));

    private void Answer(in AwaitingWrite write)
    {
        _coverage.Completed(write.Object, write.Change);
        _effects.Complete(write.Tag, _stopping ? LinuxError.InputOutput : 0, _stopping ? 0 : write.Count);
    }

    private void AnswerCovered()
    {
        if (_awaiting.Count == 0 || (_frozen && !_stopping))
            return;
        var kept = 0;
        for (var i = 0; i < _awaiting.Count; i++)
        {
            if (WillBeCovered(_awaiting[i]))
                _awaiting[kept++] = _awaiting[i];
            else
                Answer(_awaiting[i]);
        }
        _awaiting.RemoveRange(kept, _awaiting.Count - kept);
    }

    private readonly record struct AwaitingWrite(OperationTag Tag, int Count, ulong Object, long Change);
}
