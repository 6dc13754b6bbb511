namespace Pollux.DataPlane.Core.Roles;

/// <summary>The record: how it is looked up, changed by compare-and-set, and obeyed.</summary>
public sealed partial class RoleMachine
{
    /// <summary>While waiting, the record is looked up this often, milliseconds; one small request per module and second.</summary>
    private const long LookIntervalMs = 1_000;

    /// <summary>A look this old says that the arbiter was there a moment ago: only then is a change asked that could remain undecided and
    /// bind this host (a takeover stops the answers, a join makes the peer a member). Twice the interval, milliseconds.</summary>
    private const long LookFreshMs = 2 * LookIntervalMs;

    /// <summary>Pause before a request without an answer, or a refused one that is still wanted, is sent again, milliseconds.</summary>
    private const long RepeatAfterMs = 500;

    private ArbiterRequest? open;
    private bool openInFlight;
    private long openSentMs;
    private long askNotBeforeMs;

    private Guid lookId;
    private bool lookInFlight;
    private long lookSentMs = -LookIntervalMs - 1;
    private long lookNotBeforeMs;
    private long? lookAnsweredMs;

    /// <summary>The epoch at which a join was last asked: while the record is still at it, the peer may be a member (S2).</summary>
    private long joinAskedEpoch = -1;

    private bool LookFresh => lookAnsweredMs is { } sentMs && nowMs - sentMs <= LookFreshMs;

    private void LookIfDue()
    {
        if (lookInFlight && nowMs - lookSentMs > 2 * timings.ArbiterDeadlineMs)
            lookInFlight = false;
        if (!lookInFlight && nowMs >= lookNotBeforeMs)
        {
            lookId = configuration.NewOperationId();
            lookInFlight = true;
            lookSentMs = nowMs;
            lookNotBeforeMs = nowMs + LookIntervalMs;
            Emit(new RoleEffect.AskArbiter(
                new ArbiterRequest(lookId, Record.Incarnation, Record.Epoch, RecordChange.Look, self, peer), timings.ArbiterDeadlineMs));
        }

        Due(lookInFlight ? lookSentMs + 2 * timings.ArbiterDeadlineMs + 1 : lookNotBeforeMs);
    }

    /// <summary>Asks for a change of the present epoch. An open one of the same epoch is given up for it: one of the two at most is granted,
    /// and the record shows which (S11).</summary>
    private void Ask(RecordChange change)
    {
        open = new ArbiterRequest(configuration.NewOperationId(), Record.Incarnation, Record.Epoch, change, self, peer);
        SendOpenRequest();
    }

    private void SendOpenRequest()
    {
        openInFlight = true;
        openSentMs = nowMs;
        Emit(new RoleEffect.AskArbiter(open!, timings.ArbiterDeadlineMs));
        Due(nowMs + 2 * timings.ArbiterDeadlineMs);
    }

    /// <summary>S11: an unknown outcome is resolved by repeating the same request until it is decided.</summary>
    private void RepeatOpenRequest()
    {
        if (open is null)
            return;
        var repeatMs = openSentMs + (openInFlight ? 2 * timings.ArbiterDeadlineMs : RepeatAfterMs);
        if (nowMs >= repeatMs)
            SendOpenRequest();
        else
            Due(repeatMs);
    }

    private void OnArbiterAnswered(ArbiterAnswer answer)
    {
        var isLook = lookInFlight && answer.OperationId == lookId;
        var isOpen = open?.OperationId == answer.OperationId;
        if (isLook)
            lookInFlight = false;
        if (isOpen)
            openInFlight = false;
        if (answer.Outcome == ArbiterOutcome.Unknown || answer.Record is not { } record)
        {
            if (isLook)
                lookNotBeforeMs = nowMs + RepeatAfterMs;
            return;
        }

        if (isLook)
            lookAnsweredMs = lookSentMs;
        if (isLook && Record.Epoch > record.Epoch && Record.Incarnation == record.Incarnation)
            return;
        // S11: a refusal carries the record, which is obeyed before anything else. A newer record also decides the open request.
        Obey(record, fromArbiter: isLook || isOpen);
        if (isOpen && open?.OperationId == answer.OperationId)
        {
            var refused = open;
            open = null;
            askNotBeforeMs = nowMs + RepeatAfterMs;
            OnDecided(refused, answer.Reason);
        }
    }

    /// <summary>Takes over a newer record of the same incarnation, from whomever it comes; another incarnation only from the arbiter (S10).</summary>
    private void Obey(AuthorityRecord record, bool fromArbiter)
    {
        var sameIncarnation = record.Incarnation == Record.Incarnation;
        if (sameIncarnation ? record.Epoch <= Record.Epoch : !fromArbiter)
            return;

        var data = State.DataState;
        // Before the first start the only member is the host whose directory the operator named: its copy is the module.
        if (Record.Epoch == 0 && record.Primary is null && record.Contains(self))
            data = DataState.UpToDate;
        // S3: the operator's word makes a copy that is whole the module, whatever it lacks; never the half of a resync.
        var declared = record.Declared == self && record.Contains(self) && data is DataState.Outdated or DataState.UpToDate;
        if (declared)
            data = DataState.UpToDate;
        // Out of the set means that writes are acknowledged without this host.
        if (!record.Contains(self) && data == DataState.UpToDate)
            data = DataState.Outdated;
        // Authority that has just come to the peer, by a handover from here say, is no silence: it gets the whole detection time.
        if (record.Primary == peer && Record.Primary != peer)
        {
            primaryAliveMs = nowMs;
            failed = false; // It may run well there; should it come back, it gets a try here.
        }

        cause = Tell(record) ?? cause;
        recordRenewed = true;
        if (!sameIncarnation)
            releasedEpoch = 0; // Its epochs are others.
        Save(State with { Record = record, DataState = data, PromisedEpoch = declared ? 0 : State.PromisedEpoch });

        // A higher epoch than the expected one decides a compare-and-set either way; a new incarnation voids it (S10).
        if (open is { } decided && (!sameIncarnation || record.Epoch > decided.ExpectedEpoch))
        {
            open = null;
            OnDecided(decided, $"The record is at epoch {record.Epoch}.");
        }
    }

    /// <summary>What a newer record means for this host, in words.</summary>
    private string? Tell(AuthorityRecord record)
    {
        if (record.Declared == self)
            return $"The operator declared this copy to be the module at epoch {record.Epoch}.";
        if (record.Primary == self)
        {
            if (record.Primary != Record.Primary || phase == Phase.Claiming)
                return record.Contains(peer) ? $"{peer} handed over at epoch {record.Epoch}." : $"Took over at epoch {record.Epoch}. {takeoverReason}";
            if (record.Contains(peer) == Record.Contains(peer))
                return null;
            return record.Contains(peer)
                ? $"{peer} is in sync since epoch {record.Epoch}."
                : $"{peer} was excluded at epoch {record.Epoch}. {peerLost}";
        }

        if (record.Primary != Record.Primary)
            return $"{record.Primary} is the primary since epoch {record.Epoch}.";
        if (record.Contains(self) == Record.Contains(self))
            return null;
        return record.Contains(self) ? $"In sync since epoch {record.Epoch}." : $"Left out at epoch {record.Epoch}.";
    }

    private void OnDecided(ArbiterRequest request, string why)
    {
        if (phase == Phase.Claiming)
        {
            // S3: primary only if recorded, and in the set with a copy that is UpToDate. A takeover leaves only itself in the set: a record
            // that has the peer in it too is another's doing (one rebuilt, say), and says nothing of the peer's copy.
            var granted = Record.Primary == self && Record.Contains(self) && !Record.Contains(peer) && State.DataState == DataState.UpToDate && !Promised && Record.Epoch > request.ExpectedEpoch;
            if (granted && State.LostPower)
                Save(State with { LostPower = false }); // From here on this copy is the truth.
            if (!granted)
                cause = $"The takeover was not granted. {why}";
            phase = granted && Wanted ? Phase.Opening : Phase.Waiting;
            openingEmitted = false;
        }
        else if (request.Change == RecordChange.Join && Record.Epoch == request.ExpectedEpoch && Record.Incarnation == request.RecordIncarnation)
        {
            // Refused, and the record is as it was: the peer is no member. It is asked in again.
            joinAskedEpoch = -1;
            peerCaughtUp = peerHolds && peerLost is null;
        }
        else if (request.Change == RecordChange.Handover && Record.Primary == self)
        {
            GiveUpSwap($"The handover was refused. {why}");
        }
    }
}
