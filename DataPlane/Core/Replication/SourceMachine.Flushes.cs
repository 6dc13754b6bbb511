namespace Pollux.DataPlane.Core.Replication;

// Flushes: of front ends, of a quiesce, of a resync. A flush that began after the last write is shared by all who ask for one.
public sealed partial class SourceMachine
{
    private bool _quiesceFlushes;

    // A second flush proves what the first has confirmed: nothing has to be suspected when this host is started again.
    private bool _quiesceProves;
    private bool _quiesceEnded;
    private int _flushesOut;

    /// <returns>False: it has ended, or ends with another.</returns>
    private bool BeginCoverage(int slot)
    {
        ref var operation = ref _operations[slot];
        _habit.Flushed(operation.Object, operation.DataOnly);
        switch (_coverage.Begin(operation.Object, operation.DataOnly, slot, out var leader))
        {
            case FlushCoverage.Verdict.Covered:
                _ledger.LocalDone(slot, _fault ? LinuxError.InputOutput : 0, 0);
                operation.Step = Step.Done;
                _changed = true;
                return false;
            case FlushCoverage.Verdict.Joined:
                _ledger.Join(slot, leader);
                operation.Step = Step.Done;
                return false;
            default:
                return true;
        }
    }

    /// <returns>False: it waits.</returns>
    private bool AdvanceFlush(int slot)
    {
        ref var operation = ref _operations[slot];
        if (operation.Step != Step.Begin)
            return true;
        if (_stopping)
        {
            operation.Step = Step.Done;
            _ledger.LocalDone(slot, LinuxError.InputOutput, 0);
            _changed = true;
            return true;
        }
        if (!MayGoOn)
            return false;
        // A flush needs the peer only as far as acknowledgements do; orphans are not on the peer.
        if (_link != 0 && (operation.WithPeer || _peer is PeerPart.Member or PeerPart.Joining) && !_orphans.Contains(operation.Object))
        {
            if (!MaySend(0))
                return false;
            var header = FlushFrame(Number(slot, FrameKind.Flush, 0, operation.WithPeer), slot);
            operation.Link = _link;
            operation.FlushToken = _marks.Map.BeginFlush(operation.Object, []);
            // The flush of a resync has to write what was copied, which may fill the peer's page cache; no guest waits for it.
            operation.FlushDueMs = _nowMs + (operation.WithPeer ? _options.ResyncStepDeadlineMs : _options.FlushDeadlineMs);
            _flushesOut++;
            _effects.Send(_link, header, []);
        }
        (operation.Step, operation.GoneBefore) = (Step.Local, _goneNumber);
        _effects.LocalFlush(slot, operation.Object, operation.DataOnly);
        return true;
    }

    private FrameHeader FlushFrame(in FrameHeader header, int slot) => header with
    {
        Kind = FrameKind.Flush, Flags = _operations[slot].DataOnly ? FrameFlags.DataOnly : FrameFlags.None, OffsetBytes = slot,
    };

    /// <summary>The local part of a flush has ended.</summary>
    public void LocalFlushed(int slot, int errno)
    {
        ref var operation = ref Running(slot, OperationKind.Flush);
        if (LinuxError.LosesData(errno))
            RaiseLocalFault($"a flush failed ({LinuxError.Describe(errno)})");
        // The kernel reports lost pages once; the next flush would find nothing wrong. So none succeeds after a fault.
        if (_fault)
            errno = LinuxError.InputOutput;
        if (errno == 0 && operation.Object == 0)
            ForgetGone(operation.GoneBefore);
        operation.Step = Step.Done;
        _ledger.LocalDone(slot, errno, 0);
        _changed = true;
        Settle();
    }

    private void EndFlush(in EndedOperation ended, int errno, Purpose purpose)
    {
        ref var operation = ref _operations[ended.Slot];
        _coverage.Ended(ended.Slot, errno == 0);
        if (operation.FlushToken is { } token)
        {
            operation.FlushToken = null;
            if (errno == 0 && ended.PeerConfirmed)
                _marks.Map.FlushConfirmed(token);
            else
                _marks.Map.FlushFailed(token);
        }
        ForgetFlushDeadline(ref operation);
        if (purpose == Purpose.Expected)
            _expectedRunning--;
        else if (purpose == Purpose.Guest)
            _effects.Complete(new OperationTag(ended.TagUnique, ended.TagDevice), errno, 0);
        else
            InternalFlushEnded(purpose, errno, ended.PeerConfirmed, operation.Session);
    }

    /// <param name="session">The link of the session in which it was begun: a later one is not concerned.</param>
    private void InternalFlushEnded(Purpose purpose, int errno, bool peerConfirmed, int session)
    {
        switch (purpose)
        {
            case Purpose.QuiesceFlush when _quiescing && _quiesceFlushes && !_quiesceProves && errno == 0 && peerConfirmed && _marks.Map.UnprovenPages > 0:
                (_quiesceFlushes, _quiesceProves) = (false, true);
                break;
            case Purpose.QuiesceFlush when _quiescing && _quiesceFlushes:
                (_quiesceFlushes, _quiesceEnded) = (false, true);
                if (errno == 0)
                    _effects.Quiesced();
                break;
            case Purpose.GoneFlush:
                _goneFlushes = false;
                break;
            case Purpose.SettlingFlush:
                _settlingFlushes = false;
                break;
            case Purpose.VerifyFlush when session == _link:
                VerifyFlushed(peerConfirmed && errno == 0);
                break;
            case Purpose.ClipFlush when session == _link:
                ClipFlushed(peerConfirmed && errno == 0);
                break;
            case Purpose.ResyncFlush when session == _link:
                ResyncFlushed(peerConfirmed && errno == 0);
                break;
            case Purpose.FinalFlush when session == _link:
                FinalFlushed(errno);
                break;
        }
    }

    /// <summary>A flush of the volume by the engine itself, on the peer too if acknowledgements need it.</summary>
    /// <param name="withPeer">On the peer even if they do not.</param>
    /// <returns>False: no slot is free now.</returns>
    private bool TryFlushEverything(Purpose purpose, bool withPeer)
    {
        var slot = _ledger.Enter(OperationKind.Flush, guest: false, 0, 0, 0, 0, 0, ++_operationNumber);
        if (slot < 0)
            return false;
        _operations[slot] = new Operation { Kind = OperationKind.Flush, Purpose = purpose, WithPeer = withPeer, Step = Step.Begin, Session = _link };
        Advance(slot);
        return true;
    }

    private void AdvanceQuiesce()
    {
        if (!_quiescing || _quiesceEnded || _quiesceFlushes || _ledger.GuestCount > 0 || _stopping)
            return;
        _quiesceFlushes = TryFlushEverything(Purpose.QuiesceFlush, withPeer: false);
    }

    private void ForgetFlushDeadline(ref Operation operation)
    {
        if (operation.FlushDueMs == 0)
            return;
        operation.FlushDueMs = 0;
        _flushesOut--;
    }

    /// <summary>Flushes that run confirm nothing any more.</summary>
    private void FailFlushes()
    {
        for (var slot = 0; slot < _operations.Length; slot++)
        {
            ref var operation = ref _operations[slot];
            if (operation.FlushToken is { } token)
            {
                _marks.Map.FlushFailed(token);
                operation.FlushToken = null;
            }
            ForgetFlushDeadline(ref operation);
        }
    }
}
