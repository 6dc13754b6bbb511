using System.Collections.Immutable;

namespace Pollux.DataPlane.Core.Roles;

/// <summary>Decides, for one module on one host, who this host is and what it may do. The whole of failover, swap, resync's order and
/// degradation is here; the rules S1 to S12 of the design are named where they decide.</summary>
/// <remarks>
/// An input changes facts; then turns of the present phase run until nothing changes any more. Every decision is a function of the
/// facts and the time, so that a lost, repeated or late input costs time and never safety.
/// <code>
/// Stopped ──run──► Waiting ──peer serves──► Following ──silence──► Unfollowing ──► Waiting
///    ▲               │ ▲                        └──record names us──► Unfollowing ──► Opening
///    │               │ └─refused─┐
///    │               └─ask──► Claiming ──granted──► Opening ──► Serving
///    └──────────────── Releasing ◄──stop, swap, deposed, fault──┴────┘   (Releasing ──► Waiting, unless stopped)
/// </code>
/// Files: .Arbiter (record, requests), .Beacons (lease, what is known of the peer), .Standby (STOP, WAIT, SECOND), .Primary (ALONE, PRIM),
/// .Workload (the VM and its stop), .Commands (swap, restart), .Checks (what checkers ask for), .Leaving (a host that is shut down), .Kept (what an earlier process has left), .Describe (what operators see). Not thread-safe: one owner feeds it. Lists are bounded by
/// constants (S12).
/// </remarks>
public sealed partial class RoleMachine
{
    /// <summary>Turns of one step; each changes the phase or a sub-state, and no flow has more in a row. More is a defect: fail fast.</summary>
    private const int TurnsMax = 32;

    private enum Phase
    {
        Stopped,
        Waiting,
        Following,

        /// <summary>StopFollowing was emitted; only after its end may a takeover be asked or the volume be served.</summary>
        Unfollowing,

        /// <summary>A takeover is asked and undecided: no beacon is answered, nothing is replicated to us (S8).</summary>
        Claiming,

        /// <summary>Recorded as primary; the volume is being opened.</summary>
        Opening,
        Serving,

        /// <summary>Release was emitted; left when it has ended and the workload is certainly off.</summary>
        Releasing,
    }

    private readonly RoleConfiguration configuration;
    private readonly RoleTimings timings;
    private readonly string self;
    private readonly string peer;
    private readonly long startMs;

    private List<RoleEffect> effects = [];
    private Phase phase = Phase.Stopped;
    private long nowMs;
    private long dueMs;
    private long savesEmitted;
    private long savesDone;
    private bool startStateUnsaved;
    private AuthorityRecord durableRecord;
    private string cause = "The process started.";

    /// <summary>Made only after the runtime is certain that no VM of the module, left over from an earlier process, runs on this host; or with
    /// the one that the configuration says is kept.</summary>
    /// <param name="recovered">The newest stored state, or <see cref="LocalState.Fresh"/>.</param>
    /// <param name="nowMs">The monotonic clock that every <see cref="Step"/> is fed with.</param>
    public RoleMachine(RoleConfiguration configuration, LocalState recovered, long nowMs)
    {
        this.configuration = configuration;
        timings = configuration.Timings;
        self = configuration.Self;
        peer = configuration.Peer;
        this.nowMs = startMs = primaryAliveMs = nowMs;
        durableRecord = recovered.Record;
        // S2: stored, so that a second restart before this copy is in sync again does not forget the loss of power.
        State = configuration.LostPower ? recovered.AfterBoot() : recovered;
        startStateUnsaved = State != recovered;
        NextDeadlineMs = nowMs;
        volumeHeld = configuration.VolumeHeld;
        work = configuration.WorkloadKept ? Work.Running : Work.Off;
        RememberCrashes(recovered.CrashAgesMs);
        if (State.HeldAtBoot)
            cause = "The host has booted.";
        View = Describe() with { Code = RoleCodes.Stopped.Code }; // The first step tells what else it is.
    }

    public RoleView View { get; private set; }

    /// <summary>The state last handed out for storing.</summary>
    public LocalState State { get; private set; }

    /// <summary>Feed a <see cref="RoleInput.Tick"/> no later than this (the machine's clock).</summary>
    public long NextDeadlineMs { get; private set; }

    private AuthorityRecord Record => State.Record;

    /// <summary>Everything emitted for storing is stored: effects that depend on the state may follow (S1).</summary>
    private bool Durable => savesDone == savesEmitted;

    /// <summary>Takes one input and appends what has to be done, in order.</summary>
    /// <exception cref="InvalidOperationException">The machine does not settle: a defect.</exception>
    public void Step(long nowMs, RoleInput input, List<RoleEffect> effects)
    {
        this.effects = effects;
        this.nowMs = Math.Max(this.nowMs, nowMs);
        dueMs = long.MaxValue;
        if (startStateUnsaved)
            Save(State);

        Take(input);
        RepeatOpenRequest();
        for (var turns = 0; Turn(); turns++)
            if (turns == TurnsMax)
                throw new InvalidOperationException($"The role machine of {configuration.Module} does not settle in phase {phase}.");

        SayMayEnd();
        ShowChange();
        SendBeaconIfDue();
        NextDeadlineMs = Math.Min(dueMs, nextBeaconMs);
    }

    private void Take(RoleInput input)
    {
        switch (input)
        {
            case RoleInput.Tick: break;
            case RoleInput.Desired desired: OnDesired(desired); break;
            case RoleInput.Command command: OnCommand(command); break;
            case RoleInput.HostStops: OnHostStops(); break;
            case RoleInput.Unwell unwell: OnUnwell(unwell); break;
            case RoleInput.ArbiterAnswered answered: OnArbiterAnswered(answered.Answer); break;
            case RoleInput.BeaconReceived received: OnBeacon(received.Beacon); break;
            case RoleInput.BeaconAnswered answered: OnBeaconAnswered(answered.Answer); break;
            case RoleInput.StateSaved saved: OnStateSaved(saved.Version); break;
            case RoleInput.Serving serving: OnServing(serving.Epoch); break;
            case RoleInput.LocalFault fault: OnLocalFault(fault.Reason); break;
            case RoleInput.SessionUp up: OnSessionUp(up.PeerIncarnation); break;
            case RoleInput.SessionLost lost: OnSessionLost(lost.Reason); break;
            case RoleInput.ResyncStarting starting: OnResyncStarting(starting.SyncBase); break;
            case RoleInput.ReplicaFlushed flushed: OnReplicaFlushed(flushed.SyncBase); break;
            case RoleInput.PeerCaughtUp caughtUp: OnPeerCaughtUp(caughtUp.SyncBase); break;
            case RoleInput.Quiesced: OnQuiesced(); break;
            case RoleInput.FollowingStopped: OnFollowingStopped(); break;
            case RoleInput.WorkloadStarted: OnWorkloadStarted(); break;
            case RoleInput.WorkloadStopped stopped: OnWorkloadStopped(stopped); break;
            case RoleInput.WorkloadFailed failed: OnWorkloadFailed(failed.Reason); break;
            case RoleInput.Released: released |= phase == Phase.Releasing; break;
            default: throw new InvalidOperationException($"Unknown input {input.GetType().Name}.");
        }
    }

    /// <returns>True if something changed and another turn may have more to do.</returns>
    private bool Turn() => phase switch
    {
        Phase.Stopped => TurnStopped(),
        Phase.Waiting => TurnWaiting(),
        Phase.Following => TurnFollowing(),
        Phase.Unfollowing => TurnUnfollowing(),
        Phase.Claiming => false,
        Phase.Opening => TurnOpening(),
        Phase.Serving => TurnServing(),
        Phase.Releasing => TurnReleasing(),
        _ => throw new InvalidOperationException($"Unknown phase {phase}."),
    };

    /// <summary>Whom the operator wants as the primary of the epoch after this one; null: either host. Told again with each wish.</summary>
    private string? wantedPrimary;
    private long wantedEpoch;

    /// <summary>The operator wants the module to run, on this host too.</summary>
    private bool Wanted => State.Run && !State.HeldAtBoot;

    private void OnDesired(RoleInput.Desired desired)
    {
        var wanted = Wanted;
        (wantedPrimary, wantedEpoch) = (desired.WantedPrimary, desired.WantedEpoch);
        var next = State with
        {
            Run = desired.Run,
            Policy = desired.Policy?.Bounded() ?? State.Policy,
            Starts = Math.Max(desired.Starts, State.Starts),
            HeldAtBoot = State.HeldAtBoot && desired.Run && desired.Starts <= State.Starts,
        };
        if (next == State)
            return;
        State = next;
        if (Wanted != wanted)
        {
            cause = Wanted ? "The operator wants the module to run." : "The operator wants the module stopped.";
            runChangedMs = nowMs;
            crashes.Clear(); // A start by command has all its tries.
            shutDown = failed = false;
        }

        Save(State);
    }

    private void OnStateSaved(long version)
    {
        savesDone = Math.Max(savesDone, Math.Min(version, savesEmitted));
        if (Durable)
            durableRecord = Record;
    }

    private void Save(LocalState state)
    {
        State = state with { CrashAgesMs = [.. crashes.Select(atMs => nowMs - atMs)] };
        startStateUnsaved = false;
        Emit(new RoleEffect.SaveState(++savesEmitted, State));
    }

    private void Emit(RoleEffect effect) => effects.Add(effect);

    /// <summary>Something is to be looked at again at this time.</summary>
    private void Due(long atMs)
    {
        if (atMs > nowMs)
            dueMs = Math.Min(dueMs, atMs);
    }
}
