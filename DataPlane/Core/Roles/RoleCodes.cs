using System.Collections.Frozen;

namespace Pollux.DataPlane.Core.Roles;

/// <summary>Every code that <see cref="RoleView.Code"/> and <see cref="RoleEffect.RoleChanged"/> can carry.</summary>
public static class RoleCodes
{
    private const string Nothing = "None.";
    private const string NoneIfItClears = "None if it clears by itself within the detection time.";

    public static readonly RoleProblem Stopped = new("role.stopped", "Stopped", RoleImpact.ByCommand, "The operator wants the module stopped.", "To run it: pollux module start.");
    public static readonly RoleProblem HeldAtBoot = new("role.held-at-boot", "Not started at boot", RoleImpact.NotRunning, "The host has booted, and the operator has switched the start at boot off.", "To run it: pollux module start. To start it at boot again: pollux module policy --start-at-boot on.");
    public static readonly RoleProblem Stopping = new("role.stopping", "Stopping", RoleImpact.ByCommand, "The operator asked for a stop; the VM is given time to shut down.", Nothing);
    public static readonly RoleProblem Deposed = new("role.deposed", "No longer the primary", RoleImpact.NotRunning, "The record names the peer: it took over while this host was out of its reach.", "None: this copy is resynced. Find out why the peer did not hear this host.");
    public static readonly RoleProblem Alone = new("role.alone", "Runs without a second copy", RoleImpact.NotProtected, "The peer is not in sync: down, unreachable, or being resynced.", "Bring the peer back; the resync starts by itself.");
    public static readonly RoleProblem Prim = new("role.prim", "Runs, mirrored", RoleImpact.None, "", Nothing);
    public static readonly RoleProblem Second = new("role.second", "In sync, ready to take over", RoleImpact.None, "", Nothing);

    public static readonly RoleProblem WaitArbiter = new("wait.arbiter", "Waits for the control plane", RoleImpact.NotRunning, "A start needs the record, and no gateway or silo answers.", "Check that pollux server runs and that this host reaches it.");
    public static readonly RoleProblem WaitRecord = new("wait.record", "The peer knows another record", RoleImpact.NotRunning, "The record was rebuilt or restored; this host waits to see it for itself.", "Check that this host reaches the control plane.");
    public static readonly RoleProblem WaitNotInSync = new("wait.not-in-sync", "This copy may not be started", RoleImpact.NotRunning, "Acknowledged writes are missing here: the copy is outdated, unknown, or its resync was not finished.", "Start the other host of the cluster: it holds the newest copy. If it is lost for good: pollux module force-promote says what this copy lacks.");
    public static readonly RoleProblem WaitPeerFirst = new("wait.peer-first", "Lets the peer start first", RoleImpact.NotRunning, "The peer is more entitled: it is the recorded primary, or it stayed up while this host lost power.", NoneIfItClears + " Otherwise look at what the peer waits for.");
    public static readonly RoleProblem WaitSilence = new("wait.silence", "The primary is silent", RoleImpact.NotRunning, "No beacon from the recorded primary; the detection time is not over.", NoneIfItClears);
    public static readonly RoleProblem WaitLease = new("wait.lease", "Waits until the peer's lease has certainly ended", RoleImpact.NotRunning, "The peer was last answered, or this host started, less than lease and margin ago.", NoneIfItClears);
    public static readonly RoleProblem WaitTakeover = new("wait.takeover", "Takeover asked", RoleImpact.NotRunning, "The arbiter has not decided yet.", NoneIfItClears + " Otherwise check the control plane.");
    public static readonly RoleProblem WaitLeft = new("wait.left", "This copy left and may have missed writes", RoleImpact.NotRunning, "This host was shut down while the control plane was away, and promised not to become primary: the peer went on without it.", "Start the other host of the cluster: it holds the newest copy. If it is lost for good: pollux module force-promote says what this copy lacks.");
    public static readonly RoleProblem WaitPeerStops = new("wait.peer-stopped", "The primary was stopped by command", RoleImpact.NotRunning, "The wish to stop has reached the primary and not this host.", NoneIfItClears);

    public static readonly RoleProblem WaitOtherWanted = new("wait.other-wanted", "The other host is wanted as primary", RoleImpact.NotRunning, "The operator started the module on the other host.", "See what the other host waits for. To let either host run it: pollux module start.");
    public static readonly RoleProblem FailoverOff = new("maintenance.failover-off", "Failover is switched off", RoleImpact.NotRunning, "The primary is lost, and the operator has switched failover off.", "Bring the primary back, or let this host take over: pollux module policy --failover on.");

    public static readonly RoleProblem Opening = new("start.opening", "Opens the volume", RoleImpact.NotRunning, "The local copy is scanned and mounted.", Nothing);
    public static readonly RoleProblem Leasing = new("start.lease", "Waits for the lease", RoleImpact.NotRunning, "The peer is in the in-sync set, and none of this host's beacons has been answered yet.", NoneIfItClears);
    public static readonly RoleProblem WorkloadStarting = new("workload.starting", "The VM starts", RoleImpact.NotRunning, "", Nothing);
    public static readonly RoleProblem WorkloadFailed = new("workload.failed", "The VM does not stay up", RoleImpact.NotRunning, "It was started again as often as the module's limit of restarts allows, and crashed, could not be started, or was not well again.", "Read the VM's log, mend it, then: pollux module restart.");
    public static readonly RoleProblem WorkloadShutDown = new("workload.shut-down", "The guest shut itself down", RoleImpact.ByCommand, "A shutdown inside the VM.", "To run it again: pollux module restart.");
    public static readonly RoleProblem Restarting = new("workload.restarting", "Restart: the VM is stopped", RoleImpact.ByCommand, "The operator asked for a restart of the VM; it is given time to shut down.", Nothing);
    public static readonly RoleProblem Unwell = new("workload.unwell", "A checker failed: the VM is stopped", RoleImpact.NotRunning, "The VM runs and does not do its work; it is given time to shut down.", "Nothing if it is started again. Read the checker's reason in the module's status.");
    public static readonly RoleProblem WorkloadStopFails = new("workload.stop-fails", "The VM cannot be stopped", RoleImpact.NotRunning, "The hypervisor does not confirm the end of the VM; it is tried again.", "Check the hypervisor on this host; kill the VM's process if need be.");

    public static readonly RoleProblem PeerLost = new("prim.peer-lost", "Peer lost; acknowledgements wait", RoleImpact.WritesHeld, "The peer is silent, does not replicate, or has restarted; the arbiter has not yet confirmed that it is out.", NoneIfItClears + " Otherwise check the control plane and the link between the hosts.");
    public static readonly RoleProblem PeerLeft = new("prim.peer-left", "Runs without a second copy; the peer was shut down", RoleImpact.NotProtected, "The peer was shut down while the control plane was away, and has promised not to become primary.", "Bring the control plane and the peer back; the resync starts by itself.");
    public static readonly RoleProblem LeaseExpired = new("prim.lease-expired", "Paused without a lease", RoleImpact.Paused, "Neither the peer nor the arbiter can be reached; the peer may take over.", "Mend the link to the peer or to the control plane.");
    public static readonly RoleProblem Joining = new("prim.joining", "The peer is equal and is being recorded as in sync", RoleImpact.NotProtected, "The arbiter has not decided yet.", NoneIfItClears + " Otherwise check the control plane.");
    public static readonly RoleProblem Connecting = new("prim.connecting", "Waits for the peer's replication session", RoleImpact.WritesHeld, "After a swap the former primary has yet to follow.", NoneIfItClears);
    public static readonly RoleProblem SwapStopping = new("swap.stopping", "Swap: the VM is stopped", RoleImpact.ByCommand, "The operator asked for a swap.", Nothing);
    public static readonly RoleProblem SwapFlushing = new("swap.flushing", "Swap: both copies are flushed", RoleImpact.ByCommand, "The operator asked for a swap.", Nothing);
    public static readonly RoleProblem SwapHandover = new("swap.handover", "Swap: handover asked", RoleImpact.ByCommand, "The arbiter has not decided yet.", NoneIfItClears + " Otherwise check the control plane.");

    public static readonly RoleProblem SecondConnecting = new("second.connecting", "Waits to be resynced", RoleImpact.NotProtected, "The primary has yet to connect.", NoneIfItClears + " Otherwise check the link between the hosts.");
    public static readonly RoleProblem SecondResync = new("second.resync", "Is resynced", RoleImpact.NotProtected, "This copy has missed writes.", Nothing);
    public static readonly RoleProblem SecondJoining = new("second.joining", "Equal, waits to be recorded", RoleImpact.NotProtected, "The arbiter has yet to record this host as in sync.", NoneIfItClears + " Otherwise check the control plane.");
    public static readonly RoleProblem SecondSilence = new("second.primary-silent", "The primary is silent", RoleImpact.NotProtected, "No beacon from the primary; the detection time is not over, or the arbiter is away.", NoneIfItClears);

    public static readonly RoleProblem Leaving = new("second.leaving", "This host is shut down", RoleImpact.ByCommand, "The data plane of this host was told to end; the primary is told to go on without it.", Nothing);

    public static readonly RoleProblem LocalFault = new("local.fault", "This host's copy cannot be used", RoleImpact.NotRunning, "The local file system or the mount failed; it is tried again after a while.", "Read the cause, mend the disk.");

    private static readonly FrozenDictionary<string, RoleProblem> ByCode = new[]
    {
        Stopped, HeldAtBoot, Stopping, Deposed, Alone, Prim, Second,
        WaitArbiter, WaitRecord, WaitNotInSync, WaitPeerFirst, WaitSilence, WaitLease, WaitTakeover, WaitLeft, WaitPeerStops, WaitOtherWanted, FailoverOff,
        Opening, Leasing, WorkloadStarting, WorkloadFailed, WorkloadShutDown, Restarting, Unwell, WorkloadStopFails,
        PeerLost, PeerLeft, LeaseExpired, Joining, Connecting, SwapStopping, SwapFlushing, SwapHandover,
        SecondConnecting, SecondResync, SecondJoining, SecondSilence, Leaving, LocalFault,
    }.ToFrozenDictionary(problem => problem.Code);

    public static IReadOnlyCollection<RoleProblem> All => ByCode.Values;

    /// <returns>Null for a code that this version does not know: a peer may be newer.</returns>
    public static RoleProblem? Find(string code) => ByCode.GetValueOrDefault(code);
}
