namespace Pollux.DataPlane.Core.Roles;

/// <summary>ALONE and PRIM: serving, the lease, and who is a member.</summary>
public sealed partial class RoleMachine
{
    private bool openingEmitted;
    private bool released;
    private RoleProblem leaveProblem = RoleCodes.Deposed;

    /// <summary>The engine lets acknowledgements wait for the peer.</summary>
    private bool peerHolds;
    private bool attached;
    private long attachedMs;
    private bool sessionUp;
    private bool frozen;

    /// <summary>When a lease was had again, after a time without.</summary>
    private long? thawedMs;
    private long servingMs;
    private long engineEpoch;
    private long leaseEmittedMs;

    /// <summary>The run of the peer's process whose copy is in sync (or being resynced).</summary>
    private Guid? memberIncarnation;

    /// <summary>Why the peer must leave the set, if it must and has not yet.</summary>
    private string? peerLost;

    /// <summary>Source of a resync: its base, whether it was allowed, and whether the target has stored it.</summary>
    private Guid? sourceBase;
    private bool sourceAllowed;
    private bool peerCaughtUp;
    private long caughtUpMs;

    private bool ServesOrOpens => phase is Phase.Opening or Phase.Serving;

    /// <summary>S2: a member is any host that the record may name: in from the moment of asking, out only by a confirmed, durable answer.</summary>
    private bool PeerMayBeMember =>
        Record.Contains(peer) || durableRecord.Contains(peer) || joinAskedEpoch == Record.Epoch || joinAskedEpoch == durableRecord.Epoch;

    /// <summary>S8: a recorded ALONE host needs no lease, because nobody can take over; nor does one whose peer has promised not to (S9).</summary>
    private bool LeaseNeeded => ServesOrOpens && PeerMayTakeOver;

    private bool TurnOpening()
    {
        if (Record.Primary != self)
            return Leave(RoleCodes.Deposed, "Deposed while the volume was opened.");
        if (openingEmitted || !Durable)
            return false; // S1: durable before it is acted on.
        openingEmitted = true;
        ResetServing();
        peerHolds = Record.Contains(peer);
        engineEpoch = Record.Epoch;
        Emit(new RoleEffect.Serve(Record.Epoch, peerHolds));
        return true;
    }

    private void ResetServing()
    {
        attached = sessionUp = frozen = paused = released = false;
        memberIncarnation = null;
        peerLost = null;
        thawedMs = null;
        leaseEmittedMs = 0;
        ForgetResync();
        quiesce = Quiesce.None;
    }

    private void ForgetResync()
    {
        sourceBase = null;
        sourceAllowed = peerCaughtUp = false;
    }

    private void OnServing(long epoch)
    {
        if (phase != Phase.Opening || epoch != engineEpoch)
            return;
        phase = Phase.Serving;
        servingMs = nowMs;
        GoOn();
    }

    private bool TurnServing()
    {
        if (Record.Primary != self)
            return LeaveAsFormerPrimary();
        if (ForeignRecord)
            LookIfDue();
        return TurnLease() || TurnFullResync() || TurnMembership() || TurnSource() || TurnGoal();
    }

    private bool LeaveAsFormerPrimary()
    {
        if (!Record.Contains(self) || work != Work.Off)
            return Leave(RoleCodes.Deposed, cause); // S8: stop once the takeover is known.
        if (!Durable)
            return false;
        return Leave(RoleCodes.SwapHandover, $"Handed over to {peer}.");
    }

    /// <summary>S8: the right to execute, to the guard; freeze and pause when it ends; go on when it is back.</summary>
    private bool TurnLease()
    {
        var until = LeaseNeeded ? leaseUntilMs : long.MaxValue;
        if (until != leaseEmittedMs)
        {
            leaseEmittedMs = until;
            Emit(new RoleEffect.ExtendLease(until));
        }

        if (nowMs < until)
        {
            Due(until);
            if (!frozen)
                return false;
            frozen = false;
            thawedMs = nowMs;
            cause = LeaseNeeded ? $"{peer} answers again." : cause;
            Emit(new RoleEffect.Unfreeze());
            if (paused && WorkloadMayRun)
                Emit(new RoleEffect.ResumeWorkload());
            paused = false;
            return true;
        }

        if (frozen || work == Work.Off)
            return false;
        frozen = true;
        cause = $"The lease ended: no answer of {peer} since {nowMs - (lastAnsweredBeaconSentMs ?? servingMs)} ms, and no permission of the arbiter.";
        Emit(new RoleEffect.Freeze());
        paused = true;
        Emit(new RoleEffect.PauseWorkload());
        return true;
    }

    private bool TurnMembership()
    {
        if (!PeerMayBeMember)
            return TurnAlone();

        if (PeerReleased && peerHolds)
        {
            if (!Durable)
                return false;
            cause = $"{peer} is shut down and has promised not to become primary at epoch {Record.Epoch}.";
            DetachPeer();
            nextBeaconMs = nowMs;
            return true;
        }

        peerLost ??= peerHolds ? ReasonToExclude() : PeerReleased ? $"{peer} has left." : $"{peer} is recorded as in sync and is not.";
        if (peerLost is null)
        {
            if (Durable && engineEpoch != Record.Epoch)
            {
                engineEpoch = Record.Epoch;
                Emit(new RoleEffect.SetEpoch(engineEpoch));
                return true;
            }

            if (!attached && Durable)
            {
                attached = true;
                attachedMs = nowMs;
                Emit(new RoleEffect.AttachPeer(Record.Epoch, InSync: true));
                return true;
            }

            return false;
        }

        // S4: ask before acknowledging. An open join of this epoch is given up for it; an open handover has to be decided first.
        var mayAsk = Durable && nowMs >= askNotBeforeMs && open is not { Change: RecordChange.Exclude or RecordChange.Handover };
        Due(askNotBeforeMs);
        if (!mayAsk)
            return false;
        Ask(RecordChange.Exclude);
        return true;
    }

    /// <summary>S4: silent, not replicating although it answers, or back as another incarnation.</summary>
    private string? ReasonToExclude()
    {
        if (memberIncarnation is { } member && peerBeacon is { } beacon && beacon.Incarnation != member)
            return $"{peer} has restarted.";
        if (PeerNow is { } now && now.Record == Record && Record.Contains(peer) && now.DataState != DataState.UpToDate)
            return $"{peer} says that its copy is {now.DataState}.";
        if (PeerNow is { Leaves: true })
            return $"{peer} is being shut down.";
        if (attached && !sessionUp && nowMs - servingMs >= 2 * timings.DetectionMs)
            return $"No replication session with {peer}.";

        var heardMs = Math.Max(lastAnsweredBeaconSentMs ?? servingMs, servingMs);
        if (nowMs - heardMs < timings.DegradeAfterMs)
        {
            Due(heardMs + timings.DegradeAfterMs);
            return null;
        }

        // Silence may pass. An exclusion that stays undecided would outlive it; so it is asked only when the arbiter is known to be there.
        if (lookSentMs < heardMs)
            lookNotBeforeMs = nowMs;
        LookIfDue();
        return LookFresh && lookAnsweredMs >= heardMs ? $"{peer} has not answered for {nowMs - heardMs} ms." : null;
    }

    /// <summary>The record, durably, names this host only, and no join is open.</summary>
    private bool TurnAlone()
    {
        if (!Durable)
            return false;
        if (peerHolds && !peerCaughtUp)
        {
            // Confirmed: out. What was held is released, what the peer may lack is marked (S4).
            DetachPeer();
            return true;
        }

        if (engineEpoch != Record.Epoch)
        {
            engineEpoch = Record.Epoch;
            if (!peerHolds)
                peerLost = null; // It was detached before the record left it out.
            Emit(new RoleEffect.SetEpoch(engineEpoch));
            return true;
        }

        if (!attached && Wanted && PeerNow is { StopRequested: false, Leaves: false } beacon && !IsPrimaryRole(beacon.Role))
        {
            attached = true;
            Emit(new RoleEffect.AttachPeer(Record.Epoch, InSync: false));
            return true;
        }

        return peerCaughtUp && TurnJoin();
    }

    /// <summary>The target has stored UpToDate and every acknowledgement waits for it: it is asked in (S7).</summary>
    private bool TurnJoin()
    {
        // From the moment of asking the peer may be a member, so a lease is needed first (S2, S8).
        if (!LeaseValid || memberIncarnation != peerBeacon?.Incarnation)
        {
            if (nowMs - caughtUpMs >= timings.DegradeAfterMs)
                DetachPeer(); // Never asked, so never a member: it is resynced again.
            Due(caughtUpMs + timings.DegradeAfterMs);
            return false;
        }

        // An arbiter that is away would leave the peer between in and out.
        LookIfDue();
        if (!LookFresh || nowMs < askNotBeforeMs || open is not null)
            return false;
        joinAskedEpoch = Record.Epoch;
        peerCaughtUp = false;
        TurnLease();
        Ask(RecordChange.Join);
        return true;
    }

    /// <summary>The source's part of a resync: the bases are durable before the engine goes on.</summary>
    private bool TurnSource()
    {
        if (sourceBase is not { } syncBase || sourceAllowed || !Durable)
            return false;
        sourceAllowed = true;
        Emit(new RoleEffect.AllowResync(syncBase));
        return true;
    }

    private void DetachPeer()
    {
        peerHolds = attached = sessionUp = false;
        memberIncarnation = null;
        peerLost = null;
        engineEpoch = Record.Epoch;
        ForgetResync();
        Emit(new RoleEffect.DetachPeer(Record.Epoch));
    }

    private void OnSessionUp(Guid peerIncarnation)
    {
        if (phase != Phase.Serving || !attached)
            return;
        sessionUp = true;
        memberIncarnation = peerIncarnation;
    }

    private void OnSessionLost(string reason)
    {
        if (phase != Phase.Serving)
            return;
        if (!sessionUp)
        {
            // Not had at all after a handover. The peer may need a moment until it follows; an early end is a refusal.
            if (attached && PeerMayBeMember && nowMs - attachedMs < timings.DegradeAfterMs)
                peerLost ??= $"No replication session with {peer}: {reason}";
            return;
        }

        sessionUp = false;
        if (PeerMayBeMember)
            peerLost ??= $"The replication session ended: {reason}";
        else if (peerHolds)
            peerCaughtUp = false; // Never asked in: it is detached and resynced again.
        else
            ForgetResync(); // The engine dials again by itself.
    }

    private void OnPeerCaughtUp(Guid syncBase)
    {
        // A base of an earlier session is forgotten with it: what is late from there says nothing about the copy of now.
        if (phase != Phase.Serving || sourceBase != syncBase || !sourceAllowed || !sessionUp)
            return;
        sourceBase = null;
        sourceAllowed = false;
        peerHolds = peerCaughtUp = true;
        caughtUpMs = nowMs;
        Save(State with { SyncBase = syncBase, PendingSyncBase = Guid.Empty });
    }

    private void OnLocalFault(string reason)
    {
        faultReason = reason;
        faultUntilMs = nowMs + Math.Max(FaultPauseMs, 2 * timings.DetectionMs);
        if (phase is not (Phase.Following or Phase.Unfollowing or Phase.Opening or Phase.Serving))
            return;
        // The peer holds every acknowledged write and this copy perhaps not: it is kept out of promotion. With a peer that is lost (it may
        // have lost power), or a request open that may leave this host as the only member, it counts as a copy that lost power (S2): what a
        // failed flush dropped is gone from it.
        var outdated = ServesOrOpens && Record.Contains(peer) && peerLost is null && open is null && !PeerReleased;
        Save(State with { LostPower = true, DataState = outdated ? DataState.Outdated : State.DataState });
        Leave(RoleCodes.LocalFault, reason);
    }

    /// <summary>Gives up serving or following. A workload is not waited for here: the guard and the driver end it at once, and its
    /// I/O ends with the volume.</summary>
    private bool Leave(RoleProblem problem, string why)
    {
        cause = why;
        leaveProblem = problem;
        if (ServesOrOpens || volumeHeld)
        {
            volumeHeld = false;
            if (work != Work.Off)
            {
                Emit(new RoleEffect.Freeze());
                Emit(new RoleEffect.ExtendLease(0));
                StopWorkload(graceMs: 0);
            }
            else
            {
                Emit(new RoleEffect.ExtendLease(0));
            }
        }

        if (problem != RoleCodes.SwapHandover)
            EndSwap(succeeded: Record.Primary == peer && Record.Contains(self), why);
        EndRestart(succeeded: false, why);
        EndFullResync(succeeded: false, why);
        // Whatever is still open is undecided, and both outcomes are right for a host that serves nothing (S11).
        open = null;
        ForgetTarget();
        released = false;
        phase = Phase.Releasing;
        Emit(new RoleEffect.Release());
        return true;
    }

    private bool TurnReleasing()
    {
        withholdAnswers = false;
        RetryStop();
        if (!released || work != Work.Off || !Durable)
            return false;
        ResetServing();
        peerHolds = false;
        EndSwap(succeeded: leaveProblem == RoleCodes.SwapHandover, cause);
        phase = Wanted && leaveProblem != RoleCodes.Leaving ? Phase.Waiting : Phase.Stopped;
        return true;
    }
}
