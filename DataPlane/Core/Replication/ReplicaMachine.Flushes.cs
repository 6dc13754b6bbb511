namespace Pollux.DataPlane.Core.Replication;

// Flushes run beside writes. Requests that have gathered for the same object are served by one flush: each is about what was applied
// before it came.
public sealed partial class ReplicaMachine
{
    /// <summary>The source has one slot per outstanding operation, so more cannot come.</summary>
    private const int FlushRequestsMax = WriteLedger.Slots;

    /// <summary>Of different objects, at once.</summary>
    private const int FlushesMax = 8;

    private readonly List<FlushRequest> _flushes = new(64);
    private readonly ulong[] _flushedObject = new ulong[FlushesMax];
    private readonly bool[] _flushRuns = new bool[FlushesMax];
    private int _flushesRun;

    private bool TakeFlush(in FrameHeader header)
    {
        if (_flushes.Count >= FlushRequestsMax)
            return false;
        _flushes.Add(new FlushRequest(header.Sequence, header.Object, (header.Flags & FrameFlags.DataOnly) != 0, header.OffsetBytes, -1));
        // It is begun when what came before is applied; that is all that its acknowledgement as a frame says.
        var slot = Start(header, tolerant: false);
        _applying--;
        Finish(slot);
        return true;
    }

    private void AdvanceFlushes()
    {
        for (var i = 0; i < _flushes.Count && _flushesRun < FlushesMax; i++)
        {
            var first = _flushes[i];
            if (first.Runs < 0 && first.Sequence <= _applied && !Runs(first.Object))
                StartFlush(first.Object);
        }
    }

    private bool Runs(ulong obj)
    {
        for (var run = 0; run < FlushesMax; run++)
        {
            if (_flushRuns[run] && _flushedObject[run] == obj)
                return true;
        }
        return false;
    }

    private void StartFlush(ulong obj)
    {
        var run = Array.IndexOf(_flushRuns, false);
        var dataOnly = true;
        for (var i = 0; i < _flushes.Count; i++)
        {
            var request = _flushes[i];
            // A flush of everything covers all that were asked for before it.
            if (request.Runs >= 0 || request.Sequence > _applied || (obj != 0 && request.Object != obj))
                continue;
            dataOnly &= request.DataOnly;
            _flushes[i] = request with { Runs = run };
        }
        (_flushRuns[run], _flushedObject[run]) = (true, obj);
        _flushesRun++;
        _effects.LocalFlush(run, obj, dataOnly && obj != 0);
    }

    /// <summary>A flush has ended.</summary>
    public void LocalFlushed(int slot, int errno)
    {
        _flushRuns[slot] = false;
        _flushesRun--;
        // An object that is gone has nothing left to keep.
        if (LinuxError.LosesData(errno))
        {
            var reason = $"a flush of object {_flushedObject[slot]:x} failed ({LinuxError.Describe(errno)})";
            _streamGoesOn = false;
            RaiseLocalFault(reason);
            Fail(0, errno, reason);
        }
        End(slot);
        Settle();
    }

    /// <summary>Answers what the flush served; nobody waits for it any more when the session is over.</summary>
    private void End(int run)
    {
        var kept = 0;
        for (var i = 0; i < _flushes.Count; i++)
        {
            var request = _flushes[i];
            if (request.Runs != run)
                _flushes[kept++] = request;
            else if (request.IsFinal)
                _finalFlushed = _link != 0;
            else if (_link != 0)
                Send(FrameKind.FlushAck, FrameFlags.None, request.Sequence, request.Slot, []);
        }
        _flushes.RemoveRange(kept, _flushes.Count - kept);
    }

    /// <param name="Slot">The source's; <see cref="FinalSlot"/> for the last flush of a resync.</param>
    /// <param name="Runs">The flush that serves it; -1: none yet.</param>
    private readonly record struct FlushRequest(ulong Sequence, ulong Object, bool DataOnly, long Slot, int Runs)
    {
        public const long FinalSlot = -1;

        public bool IsFinal => Slot == FinalSlot;
    }
}
