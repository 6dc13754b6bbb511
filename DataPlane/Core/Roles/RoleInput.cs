namespace Pollux.DataPlane.Core.Roles;

/// <summary>Everything that can happen to a module on a host. The runtime feeds them to <see cref="RoleMachine"/> one at a time,
/// each with the time of a monotonic clock that counts suspend (CLOCK_BOOTTIME, milliseconds).</summary>
public abstract record RoleInput
{
    private RoleInput() { }

    /// <summary>Time passed. Fed at least whenever <see cref="RoleMachine.NextDeadlineMs"/> is reached.</summary>
    public sealed record Tick : RoleInput;

    /// <summary>The operator's wish, level-triggered: repeated freely.</summary>
    public sealed record Desired(bool Run) : RoleInput
    {
        /// <summary>Null: the one that is known holds on.</summary>
        public ModulePolicy? Policy { get; init; }

        /// <summary>Grows with each start by command.</summary>
        public long Starts { get; init; }

        /// <summary>At a start: the host that the operator wants to be the primary, while the record is at <see cref="WantedEpoch"/>. Null: either.</summary>
        public string? WantedPrimary { get; init; }

        public long WantedEpoch { get; init; }
    }

    /// <summary>A one-shot command; its end is reported once by <see cref="RoleEffect.CommandDone"/>. Repeating an id is harmless.</summary>
    public sealed record Command(Guid OperationId, RoleCommand Kind) : RoleInput;

    /// <summary>The answer to <see cref="RoleEffect.AskArbiter"/> with the same operation id.</summary>
    public sealed record ArbiterAnswered(ArbiterAnswer Answer) : RoleInput;

    /// <summary>The process is told to end: the module leaves this host in order, as far as it can; then <see cref="RoleEffect.MayEnd"/>.
    /// The wish of the operator stays.</summary>
    public sealed record HostStops : RoleInput;

    /// <summary>A checker of this host has failed so often in a row that something is to be done; answered once by <see cref="RoleEffect.CheckAnswered"/>,
    /// and once more at the end of what it begins.</summary>
    /// <param name="Reason">The newest failure, in words.</param>
    public sealed record Unwell(string Checker, CheckAction Action, string Reason) : RoleInput;

    public sealed record BeaconReceived(Beacon Beacon) : RoleInput;

    public sealed record BeaconAnswered(BeaconAnswer Answer) : RoleInput;

    /// <summary>The durable store holds the state with this version (and, the store being serial, all before it).</summary>
    public sealed record StateSaved(long Version) : RoleInput;

    /// <summary>The engine serves the volume in the given epoch and the directory is mounted.</summary>
    public sealed record Serving(long Epoch) : RoleInput;

    /// <summary>Serving could not start, or this host's disk or metadata failed. Ends this host's primacy.</summary>
    public sealed record LocalFault(string Reason) : RoleInput;

    /// <summary>Primary side: the replication session with the peer is up; a resync follows unless the peer continues in sync.</summary>
    public sealed record SessionUp(Guid PeerIncarnation) : RoleInput;

    /// <summary>The replication session ended or was never reached: acknowledgements that need the peer are held by the engine.</summary>
    public sealed record SessionLost(string Reason) : RoleInput;

    /// <summary>Either side: a resync towards <paramref name="SyncBase"/> is about to start. The source stores the pending base, the
    /// target stores Inconsistent; the engine goes on after <see cref="RoleEffect.AllowResync"/>.</summary>
    public sealed record ResyncStarting(Guid SyncBase) : RoleInput;

    /// <summary>Target side: both copies are equal and this copy is flushed. The machine stores UpToDate with the base and then
    /// emits <see cref="RoleEffect.ConfirmResynced"/>.</summary>
    public sealed record ReplicaFlushed(Guid SyncBase) : RoleInput;

    /// <summary>Source side: the target has durably stored UpToDate with this base and from now on every acknowledgement waits for it.</summary>
    public sealed record PeerCaughtUp(Guid SyncBase) : RoleInput;

    /// <summary>All accepted operations are finished and flushed on both hosts, new ones are held.</summary>
    public sealed record Quiesced : RoleInput;

    /// <summary>Replica side: the session is closed, everything received is applied, nothing more is accepted.</summary>
    public sealed record FollowingStopped : RoleInput;

    /// <summary>The VM (or application) runs.</summary>
    public sealed record WorkloadStarted : RoleInput;

    /// <summary>It is certain that the VM does not run on this host.</summary>
    /// <param name="Commanded">True if it ended because of a <see cref="RoleEffect.StopWorkload"/>.</param>
    /// <param name="Clean">The guest shut itself down; false for a crash or a kill.</param>
    public sealed record WorkloadStopped(bool Commanded, string Reason, bool Clean = false) : RoleInput;

    /// <summary>A start or stop was tried and failed; whether the VM runs is unknown.</summary>
    public sealed record WorkloadFailed(string Reason) : RoleInput;

    /// <summary>Engine, mount and replica side are all shut; nothing of this module is in use on this host.</summary>
    public sealed record Released : RoleInput;
}

public enum RoleCommand
{
    /// <summary>Moves the primary to the peer: stop the VM, flush, hand over by compare-and-set, start there.</summary>
    Swap,

    /// <summary>Ends the VM in order and starts it again on the same host; role, record and volume stay. Also starts one that stays down after crashes
    /// or after its own shutdown.</summary>
    Restart,

    /// <summary>The peer leaves the set and is compared and resynced as a whole, whatever the marks say; the VM runs on.</summary>
    FullResync,
}

public enum CheckAction
{
    /// <summary>The VM is ended in order and started again on the same host.</summary>
    Restart,

    /// <summary>The module is swapped to the peer, if that is a ready member.</summary>
    Move,
}

/// <summary>Sent by each host for each module every beacon interval, whatever its role. Authenticated by the link's mutual TLS.</summary>
/// <param name="Incarnation">Names this run of the sender's process.</param>
/// <param name="Sequence">Grows by one with each beacon of this incarnation.</param>
/// <param name="Record">The sender's durable record: the receiver obeys it if its epoch is higher than its own.</param>
/// <param name="WithoutLease">The sender's lease has run out: the receiver counts this beacon as silence of the primary.</param>
/// <param name="LostPower">The sender has started after a loss of power and has not been primary or in sync since.</param>
/// <param name="StopRequested">The sender is stopping, or stopped, by the operator's wish: its silence as a primary is no failure.</param>
/// <param name="WorkloadRuns">The VM may be executing on the sender.</param>
public sealed record Beacon(
    Guid Incarnation, long Sequence, Role Role, bool Ready, DataState DataState, AuthorityRecord Record,
    bool WithoutLease, bool LostPower, bool StopRequested, bool WorkloadRuns)
{
    /// <summary>The sender's host is shut down: as SECOND it waits, for a short time, to be left out.</summary>
    public bool Leaves { get; init; }

    /// <summary>The epoch in which the sender has durably promised not to become primary before it was left out and asked in again (S9), or 0.</summary>
    public long PromisedEpoch { get; init; }

    /// <summary>The sender has heard that promise of the receiver, for the epoch of its record, and goes on without it.</summary>
    public bool PeerReleased { get; init; }
}

/// <summary>Names the beacon it answers and both incarnations (rule S8).</summary>
public sealed record BeaconAnswer(Guid BeaconIncarnation, long BeaconSequence, Guid AnswererIncarnation);

public enum RecordChange
{
    /// <summary>Changes nothing; returns the record.</summary>
    Look,

    /// <summary>The asker, a member of the in-sync set, becomes primary; the set becomes itself.</summary>
    Takeover,

    /// <summary>The asker, the primary, takes the peer out of the in-sync set.</summary>
    Exclude,

    /// <summary>The asker, the primary, takes the resynced peer into the in-sync set.</summary>
    Join,

    /// <summary>The asker, the primary, makes the peer, a member, the primary; the set keeps both.</summary>
    Handover,
}

/// <summary>A request to change the record by compare-and-set. Repeating it with the same operation id is harmless and returns the first result.</summary>
public sealed record ArbiterRequest(
    Guid OperationId, Guid RecordIncarnation, long ExpectedEpoch, RecordChange Change, string By, string Peer);

public enum ArbiterOutcome
{
    Granted,

    /// <summary>Decided: not done. <see cref="ArbiterAnswer.Record"/> is obeyed before anything else (rule S11).</summary>
    Refused,

    /// <summary>No answer within the deadline, or no connection: it may have been, or may yet be, decided either way.</summary>
    Unknown,
}

public sealed record ArbiterAnswer(Guid OperationId, ArbiterOutcome Outcome, AuthorityRecord? Record, string Reason);
