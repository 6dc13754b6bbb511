namespace Pollux.DataPlane.Core.Roles;

/// <summary>STOP, WAIT and SECOND: following a primary, and deciding when to become one.</summary>
public sealed partial class RoleMachine
{
    /// <summary>Pause after a local fault before the copy is used again, milliseconds: long enough not to thrash a failing disk.</summary>
    public const long FaultPauseMs = 30_000;

    private RoleProblem waitProblem = RoleCodes.WaitArbiter;
    private string? waitsFor;
    private string takeoverReason = "";
    private long runChangedMs;
    private long faultUntilMs;
    private string faultReason = "";
    private bool followingStopped;

    /// <summary>Target of a resync: the base it works towards, from the engine's wish to the confirmed end.</summary>
    private Guid? targetBase;
    private bool targetHeardPrimary;
    private bool targetAllowed;
    private bool targetFlushed;
    private bool targetConfirming;

    private bool Faulted => nowMs < faultUntilMs;

    private bool TurnStopped()
    {
        withholdAnswers = false;
        if (TurnKept())
            return true;
        if (!Wanted || hostStops)
            return false;
        phase = Phase.Waiting;
        return true;
    }

    private bool TurnWaiting()
    {
        withholdAnswers = false;
        if (TurnKept())
            return true;
        if (!Wanted)
        {
            phase = Phase.Stopped;
            return true;
        }

        LookIfDue();
        if (!Durable)
            return false;
        if (PrimaryToFollow() is { } epoch)
        {
            cause = $"{peer} is the primary.";
            phase = Phase.Following;
            ForgetTarget();
            Emit(new RoleEffect.Follow(epoch));
            return true;
        }

        if (!MayTakeOver() || nowMs < askNotBeforeMs)
        {
            Due(askNotBeforeMs);
            return false;
        }

        phase = Phase.Claiming;
        withholdAnswers = true;
        cause = takeoverReason;
        Ask(RecordChange.Takeover);
        return true;
    }

    /// <summary>The epoch to follow, if the peer serves by a record that is ours (S5: who is source follows from the record).</summary>
    private long? PrimaryToFollow() =>
        !Faulted && nowMs - primaryAliveMs < timings.DetectionMs && PeerNow is { } beacon && IsPrimaryRole(beacon.Role) && beacon.Record.Incarnation == Record.Incarnation
        && beacon.Record.Epoch >= Record.Epoch && beacon.Record.Primary == peer && Record.Primary == peer ? Record.Epoch : null;

    private bool TurnFollowing()
    {
        if (!Wanted && MayStopFollowing())
            return Leave(RoleCodes.Stopping, "The operator wants the module stopped.");
        if (hostStops)
            return TurnLeaving();
        if (ForeignRecord)
            LookIfDue();
        if (TurnTarget())
            return true;
        if (!Durable)
            return false;

        if (HandedOver)
            return Unfollow();

        if (nowMs - primaryAliveMs >= timings.DegradeAfterMs)
            LookIfDue();
        else
            Due(primaryAliveMs + timings.DegradeAfterMs);
        withholdAnswers = false;
        return Wanted && MayTakeOver() && Unfollow();
    }

    /// <summary>A handover while this host followed without a break: its copy is what the record says, and the old primary, still a
    /// member, has stopped before it asked. A record that leaves out the peer is no handover but a takeover of an earlier process of this
    /// host, whose S8 times may not be over: it is asked anew.</summary>
    private bool HandedOver =>
        Wanted && Record.Primary == self && Record.Contains(self) && Record.Contains(peer) && State.DataState == DataState.UpToDate && !Promised;

    /// <summary>S8: once a takeover is asked nothing is accepted from the old primary; so the replica side is shut before.</summary>
    private bool Unfollow()
    {
        phase = Phase.Unfollowing;
        followingStopped = false;
        Emit(new RoleEffect.StopFollowing());
        return true;
    }

    private bool TurnUnfollowing()
    {
        if (!followingStopped || !Durable)
            return false;
        ForgetTarget();
        if (HandedOver)
        {
            phase = Phase.Opening;
            openingEmitted = false;
        }
        else
        {
            phase = Phase.Waiting;
        }

        return true;
    }

    private void OnFollowingStopped() => followingStopped |= phase == Phase.Unfollowing;

    /// <summary>Whether to ask for a takeover now. Says what is waited for if not, and holds answers back as soon as only time is missing.</summary>
    private bool MayTakeOver()
    {
        withholdAnswers = false;
        if (Faulted)
        {
            Due(faultUntilMs);
            return Wait(RoleCodes.LocalFault, $"the next try; {faultReason}");
        }

        if (ForeignRecord && !LookFresh)
            return Wait(RoleCodes.WaitRecord, "a look at the record");
        if (Record.Epoch == 0)
            return Wait(RoleCodes.WaitArbiter, "a first look at the record");
        // S3: in the recorded set, and by its own durable state UpToDate.
        if (!Record.Contains(self) || State.DataState != DataState.UpToDate)
            return Wait(RoleCodes.WaitNotInSync, $"{peer} to become primary and to resync this copy ({State.DataState})");
        if (Promised)
            return Wait(RoleCodes.WaitLeft, $"{peer} to resync this copy: at epoch {State.PromisedEpoch} this host promised to leave");
        if (OperatorWants(peer) && Record.Contains(peer) && !(PeerNow is { } other && SaysItCannot(other)))
            return Wait(RoleCodes.WaitOtherWanted, $"{peer} to become primary, as the operator wants");
        if (!(Record.Primary == peer ? MayReplacePrimary() : MayBePrimaryAgain()))
            return false;
        // S9: a start waits for the arbiter; answers go on until it is known to be there.
        if (!LookFresh)
            return Wait(RoleCodes.WaitArbiter, "an answer of the arbiter");

        // S8. What is missing from here on is time: no beacon is answered any more, or the time would never pass.
        withholdAnswers = true;
        var notBeforeMs = Record.Primary == peer || Record.Declared is not null ? startMs + timings.LeaseMs + timings.MarginMs : nowMs;
        if (answeredMs is { } answered)
            notBeforeMs = Math.Max(notBeforeMs, answered + timings.LeaseMs + timings.MarginMs);
        if (nowMs >= notBeforeMs)
            return true;
        Due(notBeforeMs);
        return Wait(RoleCodes.WaitLease, "the end of the lease that this host may have given");
    }

    /// <summary>This host is the recorded primary, or the only member.</summary>
    private bool MayBePrimaryAgain()
    {
        takeoverReason = Record.Primary is null ? "The first start."
            : Record.Declared == self ? "The operator declared this copy to be the module." : "This host is the recorded primary.";
        // The operator's word was that the peer is off. It is told, and ends its VM.
        if (Record.Declared == self && PeerNow is { WorkloadRuns: true })
            return Wait(RoleCodes.WaitPeerFirst, $"{peer} to end its VM");
        if (!State.LostPower || !Record.Contains(peer))
            return true;
        // S2: unflushed writes may be missing here; a member that stayed up has them.
        if (PeerNow is { } beacon)
            return !StayedUpAndAble(beacon) || Wait(RoleCodes.WaitPeerFirst, $"{peer}, which stayed up, to take over");
        Due(startMs + timings.DetectionMs);
        return nowMs >= startMs + timings.DetectionMs || Wait(RoleCodes.WaitPeerFirst, $"a sign of {peer}, which may have stayed up");
    }

    /// <summary>The peer is the recorded primary.</summary>
    private bool MayReplacePrimary()
    {
        if (PeerNow is { } beacon)
        {
            if (State.LostPower && StayedUpAndAble(beacon))
                return Wait(RoleCodes.WaitPeerFirst, $"{peer}, the recorded primary, which did not lose power"); // S2
            if (beacon.StopRequested)
            {
                // The wish is the module's and will arrive here too; if it does not for a detection time, it was for that host only.
                Due(peerStoppedSinceMs + timings.DetectionMs ?? long.MaxValue);
                takeoverReason = $"{peer} was stopped by command, and this host was not.";
                return nowMs - peerStoppedSinceMs >= timings.DetectionMs
                    ? FailoverAllowed() : Wait(RoleCodes.WaitPeerStops, "the wish to stop to arrive here");
            }

            if (OperatorWants(self) && !IsPrimaryRole(beacon.Role) && !beacon.WorkloadRuns)
            {
                takeoverReason = "The operator wants this host to be the primary.";
                return true; // The peer lets it; S8's times still apply.
            }

            if (SaysItCannot(beacon) && !IsPrimaryRole(beacon.Role) && !beacon.WorkloadRuns)
            {
                // It says itself that it cannot; S8's times still apply.
                takeoverReason = $"{peer} cannot run: its copy is {beacon.DataState}{(beacon.LostPower ? ", and it lost power" : "")}{(beacon.PromisedEpoch != 0 ? ", and it has promised to leave" : "")}.";
                return true;
            }
        }

        var silentMs = nowMs - primaryAliveMs;
        takeoverReason = $"{peer} was silent as a primary for {silentMs} ms.";
        Due(primaryAliveMs + timings.DetectionMs);
        return silentMs >= timings.DetectionMs ? FailoverAllowed() : Wait(RoleCodes.WaitSilence, $"{peer}, or the detection time");
    }

    /// <summary>Maintenance. A primary that is there and says itself that it cannot run is replaced all the same: it waits for nothing else.</summary>
    private bool FailoverAllowed() =>
        !State.Policy.FailoverOff || Wait(RoleCodes.FailoverOff, $"{peer}, or failover to be switched on: {takeoverReason}");

    private bool SaysItCannot(Beacon beacon) =>
        beacon.DataState != DataState.UpToDate || (beacon.LostPower && !State.LostPower) || beacon.PromisedEpoch != 0;

    private bool OperatorWants(string host) => wantedPrimary == host && wantedEpoch == Record.Epoch;

    private static bool StayedUpAndAble(Beacon beacon) =>
        beacon is { LostPower: false, DataState: DataState.UpToDate, StopRequested: false, PromisedEpoch: 0 };

    private bool Wait(RoleProblem problem, string reason)
    {
        waitProblem = problem;
        waitsFor = reason;
        return false;
    }

    /// <summary>A stop: the primary first, so that it need not ask for this host's exclusion; but never for ever.</summary>
    private bool MayStopFollowing()
    {
        var latestMs = runChangedMs + timings.GracefulStopMs + timings.DetectionMs;
        Due(latestMs);
        if (peerSeenMs is { } seenMs)
            Due(seenMs + timings.DetectionMs);
        return PeerNow is not { } beacon || (!IsPrimaryRole(beacon.Role) && !beacon.WorkloadRuns) || nowMs >= latestMs;
    }

    private void OnResyncStarting(Guid syncBase)
    {
        if (phase == Phase.Following)
        {
            ForgetTarget();
            targetBase = syncBase;
            // The primary's beacon, which is waited for, follows this one.
            nextBeaconMs = nowMs;
        }
        else if (phase == Phase.Serving && attached && !peerHolds)
        {
            // The base is stored before the first byte is sent: a crash in between must find both bases comparable.
            sourceBase = syncBase;
            sourceAllowed = false;
            Save(State with { PendingSyncBase = syncBase });
        }
    }

    private void OnReplicaFlushed(Guid syncBase) =>
        targetFlushed |= phase == Phase.Following && targetAllowed && targetBase == syncBase;

    private void ForgetTarget()
    {
        targetBase = null;
        targetHeardPrimary = targetAllowed = targetFlushed = targetConfirming = false;
    }

    /// <summary>The target's part of a resync.</summary>
    private bool TurnTarget()
    {
        if (targetBase is not { } syncBase)
            return false;
        if (!targetAllowed)
        {
            // S7: a target leaves the record, by its own durable knowledge, before its first byte is overwritten. A beacon that came after
            // the session began shows the record under which it began: learned later, that record would seem to leave this copy behind.
            if (Record.Contains(self) || !targetHeardPrimary)
            {
                LookIfDue();
                return false;
            }

            if (State.DataState != DataState.Inconsistent)
            {
                Save(State with { DataState = DataState.Inconsistent });
                return true;
            }

            if (!Durable)
                return false;
            targetAllowed = true;
            Emit(new RoleEffect.AllowResync(syncBase));
            return true;
        }

        if (!targetFlushed)
            return false;
        if (!targetConfirming)
        {
            targetConfirming = true;
            Save(State with { DataState = DataState.UpToDate, SyncBase = syncBase, PendingSyncBase = Guid.Empty, LostPower = false, PromisedEpoch = 0 });
            return true;
        }

        if (!Durable)
            return false;
        // A newer record has left this host out meanwhile: what was proven equal belongs to the past. A new session starts anew.
        if (State.DataState != DataState.UpToDate)
            return Unfollow();
        ForgetTarget();
        Emit(new RoleEffect.ConfirmResynced(syncBase));
        return true;
    }
}
