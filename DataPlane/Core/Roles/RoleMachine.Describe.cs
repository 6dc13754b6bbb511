namespace Pollux.DataPlane.Core.Roles;

/// <summary>What operators see.</summary>
public sealed partial class RoleMachine
{
    private void ShowChange()
    {
        var view = Describe();
        var changed = view.Role != View.Role || view.Ready != View.Ready || view.Code != View.Code;
        View = changed ? view : view with { SinceMs = View.SinceMs };
        if (changed)
            Emit(new RoleEffect.RoleChanged(view.Role, view.Ready, view.Code, view.Cause));
    }

    private RoleView Describe()
    {
        var (role, ready, problem, waits) = phase switch
        {
            Phase.Stopped => (Role.Stop, true, hostStops && Wanted ? RoleCodes.Leaving : State is { HeldAtBoot: true, Run: true } ? RoleCodes.HeldAtBoot : RoleCodes.Stopped, null),
            Phase.Waiting => (Role.Wait, false, waitProblem, waitsFor),
            Phase.Claiming => (Role.Wait, false, RoleCodes.WaitTakeover, "the arbiter's decision"),
            Phase.Unfollowing => (Role.Second, false, RoleCodes.SecondSilence, "the end of replication to this host"),
            Phase.Following => DescribeFollowing(),
            Phase.Releasing => DescribeReleasing(),
            _ => DescribeServing(),
        };
        var leaseUntil = !ServesOrOpens ? 0 : LeaseNeeded ? leaseUntilMs : long.MaxValue;
        return new RoleView(
            role, ready, problem.Code, cause, nowMs, waits, Record, State.DataState, leaseUntil, peerSeenMs, WorkloadMayRun, open?.Change)
        {
            Policy = State.Policy,
        };
    }

    private (Role, bool, RoleProblem, string?) DescribeFollowing()
    {
        if (!Wanted)
            return (Role.Second, false, RoleCodes.Stopping, $"{peer} to stop first");
        if (hostStops)
            return (Role.Second, false, RoleCodes.Leaving, $"{peer} to go on without this host");
        if (nowMs - primaryAliveMs >= timings.DegradeAfterMs)
            return (Role.Second, false, waitProblem == RoleCodes.FailoverOff ? RoleCodes.FailoverOff : RoleCodes.SecondSilence, waitsFor);
        if (Record.Contains(self) && State.DataState == DataState.UpToDate)
            return (Role.Second, true, RoleCodes.Second, null);
        if (State.DataState == DataState.UpToDate)
            return (Role.Second, false, RoleCodes.SecondJoining, $"{peer} and the arbiter to record this host as in sync");
        return targetBase is null
            ? (Role.Second, false, RoleCodes.SecondConnecting, $"{peer} to connect")
            : (Role.Second, false, RoleCodes.SecondResync, "the end of the resync");
    }

    private (Role, bool, RoleProblem, string?) DescribeReleasing()
    {
        var waits = work != Work.Off ? "the end of the VM" : "the volume to be shut";
        var problem = stopFails ? RoleCodes.WorkloadStopFails : leaveProblem;
        var role = leaveProblem == RoleCodes.SwapHandover ? Role.Second : leaveProblem == RoleCodes.Stopping || leaveProblem == RoleCodes.Leaving ? Role.Stop : Role.Wait;
        return (role, false, problem, waits);
    }

    private (Role, bool, RoleProblem, string?) DescribeServing()
    {
        var role = PeerMayBeMember ? Role.Prim : Role.Alone;
        if (phase == Phase.Opening)
            return (Record.Contains(peer) ? Role.Prim : Role.Alone, false, RoleCodes.Opening, "the volume to be served");
        if (!Wanted)
            return (role, false, stopFails ? RoleCodes.WorkloadStopFails : RoleCodes.Stopping, work != Work.Off ? "the end of the VM" : "both copies to be flushed");
        if (frozen)
            return (role, false, RoleCodes.LeaseExpired, $"an answer of {peer}, or the arbiter");
        if (swap is not null)
            return DescribeSwap(role);
        if (restart is not null && !restartStopped)
            return (role, false, stopFails ? RoleCodes.WorkloadStopFails : checkCommand is null ? RoleCodes.Restarting : RoleCodes.Unwell, "the end of the VM");
        if (failed)
            return (role, false, RoleCodes.WorkloadFailed, workloadReason);
        if (shutDown)
            return (role, false, RoleCodes.WorkloadShutDown, null);
        if (PeerReleased && work == Work.Running)
            return (role, false, RoleCodes.PeerLeft, $"the arbiter to exclude {peer}");
        if (peerLost is not null && PeerMayBeMember)
            return (role, false, RoleCodes.PeerLost, $"the arbiter to exclude {peer}: {peerLost}");
        if (work == Work.Off && LeaseNeeded && !LeaseValid)
            return (role, false, RoleCodes.Leasing, $"an answer of {peer}");
        if (work != Work.Running)
            return (role, false, RoleCodes.WorkloadStarting, stopFails ? workloadReason : "the VM to start");
        if (role == Role.Alone)
            return (role, true, RoleCodes.Alone, null);
        if (!Record.Contains(peer) || !Durable)
            return (role, false, RoleCodes.Joining, "the arbiter's decision");
        return sessionUp ? (role, PrimReady, RoleCodes.Prim, null) : (role, false, RoleCodes.Connecting, $"{peer} to follow");
    }

    private (Role, bool, RoleProblem, string?) DescribeSwap(Role role) => work != Work.Off
        ? (role, false, RoleCodes.SwapStopping, "the end of the VM")
        : quiesce != Quiesce.Done ? (role, false, RoleCodes.SwapFlushing, "both copies to be flushed")
        : (role, false, RoleCodes.SwapHandover, "the arbiter's decision");
}
