namespace Pollux.DataPlane.Core.Replication;

// A session whose link ends while the peer is a member goes on over another link, if both processes are the same ones and the replica knows
// what it has applied of the stream. Only the two engines hear of it.
//
//   up ─► link ends ─► dial ─► Hello (Resumed, stream) ─► HelloAnswer (applied up to N), Ready ─► what follows N is sent again ─► up
//                        └── refused, or not within ResumeDeadlineMs ─► the session is lost (rule S4)
//
// Nothing is acknowledged meanwhile: operations wait as for any member that is out of reach. The stream is the unbroken sequence of frames
// since its first session. What of it the replica has not acknowledged is still in the hands of its operations, so nothing is kept twice.
public sealed partial class SourceMachine
{
    private Guid _stream;
    private Guid _greetingSession;
    private Guid _peerIncarnation;
    private ulong _appliedThere;
    private long _upMs;

    /// <summary>The link of the session that is being resumed; 0: none.</summary>
    private int _brokenLink;
    private string _brokenBy = "";
    private long _resumeDueMs;

    /// <summary>The session would be resumed if its link ended now: it is in sync, and nothing is under way that would have to begin again. A verify
    /// that only compares asks again for what it had asked.</summary>
    public bool MayMoveLink =>
        _phase == SessionPhase.Up && _peer == PeerPart.Member && _resync is ResyncStep.None or ResyncStep.Done && _copies == 0
        && _verify is not { Running: true, Repairs: true } && !_quiescing && !_frozen && !_fault && _nowMs - _upMs >= _options.ResumeDeadlineMs && !RepairRuns();

    private bool Resuming => _brokenLink != 0;

    /// <summary>The peer has it, or gets it when the session is resumed.</summary>
    private bool IsSent(in Operation operation) => operation.Link != 0 && (operation.Link == _link || operation.Link == _brokenLink);

    private void BeginStream()
    {
        (_stream, _peerIncarnation, _resumeDueMs) = (_greetingSession, _answer!.Incarnation, 0);
        _ledger.NewSession();
    }

    /// <returns>False: the session is lost.</returns>
    private bool TryBeginResuming(int link, string reason)
    {
        if (_fault || _stopping || RepairRuns())
            return false;
        // A link that ends again and again gets no more time than one that stays away.
        if (_resumeDueMs == 0 || _nowMs - _upMs >= _options.ResumeDeadlineMs)
            _resumeDueMs = _nowMs + _options.ResumeDeadlineMs;
        if (_nowMs >= _resumeDueMs)
            return false;
        (_brokenLink, _brokenBy, _pauseMs) = (link, reason, PauseMsMin);
        if (_nowMs - _upMs < PauseMsMin)
            DialAfterPause();
        else
            Dial();
        return true;
    }

    /// <summary>What a repair sends is not kept: from the refusal of its write until the peer has acknowledged all of it.</summary>
    private bool RepairRuns()
    {
        foreach (ref readonly var operation in _operations.AsSpan())
        {
            if (operation is { Kind: OperationKind.Write, Errno: not 0 })
                return true;
        }
        return false;
    }

    /// <summary>The stream does not go on, and what needs it ends.</summary>
    private void EndResuming(string reason)
    {
        (_brokenLink, _stream) = (0, Guid.Empty);
        EndVerify($"the session ended: {reason}");
    }

    private void GiveUpResuming(string cause)
    {
        var reason = $"{_brokenBy}; and {cause}";
        EndResuming(reason);
        if (_greetingLink != 0)
            _effects.CloseLink(_greetingLink, reason, afterSending: false);
        (_greetingLink, _phase, _answer, _dialDueMs) = (0, SessionPhase.None, null, 0);
        _attempt++;
        _attachmentEnded = true;
        _waitingFor = reason;
        _changed = true;
        ReportLoss(reason);
    }

    /// <summary>The new link is up: goes on where the replica is.</summary>
    private void Resume()
    {
        var broken = _brokenLink;
        _brokenLink = 0;
        if (_fault || !_ledger.Applied(_appliedThere) || !SendAgain(broken))
            LoseSession("what the peer has not applied cannot be sent again");
    }

    /// <returns>False: something was sent that no operation holds any more: a copy, a repair.</returns>
    private bool SendAgain(int broken)
    {
        // Copies that had begun are over; everything else is in this session now, repairs of writes that fail from here on included.
        foreach (ref var operation in _operations.AsSpan())
        {
            if (operation.Link == broken && operation.Kind != OperationKind.Copy)
                operation.Link = _link;
        }
        var last = _ledger.LastSent;
        for (var sequence = _ledger.LastApplied + 1; sequence <= last; sequence++)
        {
            if (!_ledger.Holds(sequence, out var slot) || !SendAgain(slot, sequence))
                return false;
        }
        // Flushes that were begun there may have been forgotten with the session.
        for (var slot = 0; slot < WriteLedger.Slots; slot++)
        {
            if (!_ledger.AwaitsFlush(slot, upTo: _ledger.LastApplied))
                continue;
            if (!_ledger.CanSend || !SendAgain(slot, _ledger.SentAgain(slot, FrameHeader.SizeBytes, waits: true)))
                return false;
        }
        return true;
    }

    private bool SendAgain(int slot, ulong sequence)
    {
        ref readonly var operation = ref _operations[slot];
        var header = new FrameHeader(default, FrameFlags.None, 0, _epoch, sequence, operation.Object, 0);
        switch (operation.Kind)
        {
            case OperationKind.Write when operation.Step is Step.Local or Step.Done:
                _effects.Send(
                    _link, header with { Kind = FrameKind.Write, PayloadBytes = operation.Data.Length, OffsetBytes = operation.StartBytes }, operation.Data);
                return true;
            case OperationKind.Mutation when operation.Mutation is { } mutation:
                var payload = PayloadOf(MutationCodec.SizeOf(mutation));
                MutationCodec.Write(mutation, payload);
                _effects.Send(_link, header with { Kind = FrameKind.Mutation, PayloadBytes = payload.Length, Object = mutation.Object }, payload);
                return true;
            case OperationKind.Flush:
                _effects.Send(_link, FlushFrame(header, slot), []);
                return true;
            default:
                return false;
        }
    }
}
