namespace Pollux.DataPlane.Core.Roles;

/// <summary>What the runtime has to do, in the order given. Each is started without waiting for its end; ends come back as <see cref="RoleInput"/>s.
/// Effects that follow a <see cref="SaveState"/> in time but depend on it are emitted only after <see cref="RoleInput.StateSaved"/>.</summary>
public abstract record RoleEffect
{
    private RoleEffect() { }

    public sealed record SaveState(long Version, LocalState State) : RoleEffect;

    public sealed record SendBeacon(Beacon Beacon) : RoleEffect;

    public sealed record AnswerBeacon(BeaconAnswer Answer) : RoleEffect;

    /// <summary>Sends the request; the runtime answers with <see cref="RoleInput.ArbiterAnswered"/> within <paramref name="DeadlineMs"/>.</summary>
    public sealed record AskArbiter(ArbiterRequest Request, long DeadlineMs) : RoleEffect;

    /// <summary>Start the primary engine and mount the directory. With <paramref name="PeerIsMember"/> acknowledgements wait for the peer
    /// from the first operation on.</summary>
    public sealed record Serve(long Epoch, bool PeerIsMember) : RoleEffect;

    /// <summary>Dial the peer's replica side. <paramref name="InSync"/>: it is in the record and both copies are equal (after a handover);
    /// otherwise a resync runs. The engine dials again by itself until <see cref="DetachPeer"/> or <see cref="Release"/>, with one exception:
    /// when a session ends that was in sync or had caught up, acknowledgements stay held and nothing is dialled until
    /// <see cref="DetachPeer"/> and the next <see cref="AttachPeer"/>, because the peer may be a member (S2, S4).</summary>
    public sealed record AttachPeer(long Epoch, bool InSync) : RoleEffect;

    /// <summary>The peer is out of the record (confirmed) or never was in: mark what it may lack, release held acknowledgements.</summary>
    public sealed record DetachPeer(long Epoch) : RoleEffect;

    /// <summary>Frames carry this epoch from now on (after a granted join).</summary>
    public sealed record SetEpoch(long Epoch) : RoleEffect;

    public sealed record AllowResync(Guid SyncBase) : RoleEffect;

    public sealed record ConfirmResynced(Guid SyncBase) : RoleEffect;

    /// <summary>Hold all I/O and all completions.</summary>
    public sealed record Freeze : RoleEffect;

    /// <summary>Ends <see cref="Freeze"/> and <see cref="Quiesce"/>.</summary>
    public sealed record Unfreeze : RoleEffect;

    /// <summary>Hold new operations, finish and flush the accepted ones on both hosts, then report <see cref="RoleInput.Quiesced"/>.
    /// Ended by <see cref="Unfreeze"/> (the swap was given up) or <see cref="Release"/>.</summary>
    public sealed record Quiesce : RoleEffect;

    /// <summary>Accept a replication session from the primary of this epoch or a newer one.</summary>
    public sealed record Follow(long Epoch) : RoleEffect;

    /// <summary>Close the replica side, finish applying, then report <see cref="RoleInput.FollowingStopped"/>.</summary>
    public sealed record StopFollowing : RoleEffect;

    /// <summary>A workload that runs already counts as started. If the lease (<see cref="ExtendLease"/>) has ended when it would begin to
    /// execute, it does not, and <see cref="RoleInput.WorkloadFailed"/> is reported: the process may have been stopped in between (S8).</summary>
    public sealed record StartWorkload(long Epoch) : RoleEffect;

    /// <summary>Graceful first, hard after <paramref name="GraceMs"/> (0: hard at once); ends with <see cref="RoleInput.WorkloadStopped"/>.</summary>
    public sealed record StopWorkload(long GraceMs) : RoleEffect;

    /// <summary>Stop executing at once and keep the memory. The guard spares a workload that is certainly paused and halts one that is
    /// not when the lease is over by half the margin.</summary>
    public sealed record PauseWorkload : RoleEffect;

    /// <summary>Not done if the lease has ended when it would be done.</summary>
    public sealed record ResumeWorkload : RoleEffect;

    /// <summary>The right to execute lasts until this time (CLOCK_BOOTTIME ms; long.MaxValue: no lease needed; 0: none). Passed to the guard
    /// process, which lets the VM execute only until then, and kills it if the data plane dies or gives it up (0).</summary>
    public sealed record ExtendLease(long UntilMs) : RoleEffect;

    /// <summary>Shut engine, mount and replica side; nothing that is under way is acknowledged any more (a front end may fail it, so that a
    /// VM blocked in I/O can end); cover the directory; then report <see cref="RoleInput.Released"/>.</summary>
    public sealed record Release : RoleEffect;

    /// <summary>After <see cref="RoleInput.HostStops"/>: the peer needs no further word of this host. The process may end.</summary>
    public sealed record MayEnd : RoleEffect;

    public sealed record CommandDone(Guid OperationId, bool Succeeded, string Reason) : RoleEffect;

    /// <summary>To <see cref="RoleInput.Unwell"/>.</summary>
    public sealed record CheckAnswered(string Checker, CheckAction Action, CheckAnswer Answer, string Text) : RoleEffect;

    /// <summary>What operators see changed. <paramref name="Cause"/> says who asked or which event.</summary>
    public sealed record RoleChanged(Role Role, bool Ready, string Code, string Cause) : RoleEffect;
}

public enum CheckAnswer
{
    /// <summary>Nothing is done, and the text says why.</summary>
    Noted,

    /// <summary>The restart or the move has begun; its end follows.</summary>
    Begun,
    Done,
    GivenUp,
}
