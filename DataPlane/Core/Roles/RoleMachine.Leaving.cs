namespace Pollux.DataPlane.Core.Roles;

/// <summary>A host that is shut down in order: SECOND asks its way out of the record, and promises to stay out if the arbiter is away.</summary>
/// <remarks>
/// SECOND says that it leaves; the primary asks it out while it still replicates, so nothing waits. If the record does not change within two
/// deadlines of the arbiter, SECOND stores the promise that it will not become primary from this record, shuts its replica side and says so.
/// The primary that hears it in the same epoch goes on without it and without a lease (S9): nobody else can take over.
/// The promise outlives the process. It ends only where this copy has been resynced, which needs a record that left it out (S7).
/// </remarks>
public sealed partial class RoleMachine
{
    private bool hostStops;
    private bool mayEndSaid;
    private long promiseNotBeforeMs;
    private long leaveUntilMs;

    /// <summary>A newer record has come to this process. A request that an earlier process of this host left under way was made at the
    /// epoch it had stored, or before: none of the present epoch can be open.</summary>
    private bool recordRenewed;

    /// <summary>The epoch for which the peer's promise to leave was heard, or 0.</summary>
    private long releasedEpoch;

    private bool Promised => State.PromisedEpoch != 0;

    /// <summary>S9: the peer is named by the record and has promised not to become primary from it.</summary>
    private bool PeerReleased => Released(Record) && Released(durableRecord);

    /// <summary>S8, S9: from a record that this host may have to go by, the newest or the stored one, the peer may become primary.</summary>
    private bool PeerMayTakeOver =>
        (Record.Contains(peer) && !Released(Record)) || (durableRecord.Contains(peer) && !Released(durableRecord))
        || joinAskedEpoch == Record.Epoch || joinAskedEpoch == durableRecord.Epoch;

    /// <summary>A handover that is open names the peer anew.</summary>
    private bool Released(AuthorityRecord record) => releasedEpoch != 0 && releasedEpoch == record.Epoch && open is not { Change: RecordChange.Handover };

    /// <summary>The peer said it in the record that is this host's: a word of an earlier one says nothing.</summary>
    private void HearPromise(Beacon beacon)
    {
        if (beacon.PromisedEpoch != 0 && beacon.PromisedEpoch == beacon.Record.Epoch && beacon.Record == Record && Record.Primary == self)
            releasedEpoch = beacon.PromisedEpoch;
    }

    private void OnHostStops()
    {
        if (hostStops)
            return;
        hostStops = true;
        promiseNotBeforeMs = nowMs + 2 * timings.ArbiterDeadlineMs;
        leaveUntilMs = promiseNotBeforeMs + timings.DetectionMs;
        nextBeaconMs = nowMs;
    }

    /// <summary>SECOND, and the host is shut down.</summary>
    private bool TurnLeaving()
    {
        // A primary that is shut down too needs no word, and this copy may be the one that starts first.
        var serves = PeerNow is { Leaves: false } beacon && IsPrimaryRole(beacon.Role) && nowMs - peerSeenMs < timings.DegradeAfterMs;
        if (!Record.Contains(self) || Record.Primary != peer || !serves || nowMs >= leaveUntilMs)
            return Leave(RoleCodes.Leaving, "This host is shut down.");
        Due(leaveUntilMs);
        if (Promised)
            return Durable && Leave(RoleCodes.Leaving, $"This host is shut down; it has promised {peer} not to become primary at epoch {State.PromisedEpoch}.");
        Due(promiseNotBeforeMs);
        // S9: with no request open, and for the epoch that the primary goes on in.
        if (nowMs < promiseNotBeforeMs || !Durable || open is not null || !recordRenewed || State.DataState != DataState.UpToDate || PeerNow!.Record != Record)
            return false;
        Save(State with { PromisedEpoch = Record.Epoch });
        return true;
    }

    private void SayMayEnd()
    {
        if (!hostStops || mayEndSaid || phase == Phase.Following || (phase == Phase.Releasing && leaveProblem == RoleCodes.Leaving))
            return;
        var unheard = phase == Phase.Stopped && Promised && Record.Epoch == State.PromisedEpoch && nowMs < leaveUntilMs
            && PeerNow is { } beacon && !(beacon.PeerReleased && beacon.Record.Epoch == State.PromisedEpoch);
        if (unheard)
        {
            Due(leaveUntilMs);
            return;
        }

        mayEndSaid = true;
        Emit(new RoleEffect.MayEnd());
    }
}
