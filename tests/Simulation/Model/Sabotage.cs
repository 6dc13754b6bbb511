namespace Pollux.Tests.Simulation.Model;

/// <summary>Deliberate breaks, each of which the simulation must catch: a check that cannot fail is worth nothing. They act around the
/// production code, by what it is told and by what becomes of what it asks for. docs/breaks.md lists them.</summary>
internal enum Sabotage
{
    None,

    // Roles and arbiter.

    /// <summary>One host believes in a detection time so short that it does not wait for the other's lease and margin (breaks S8).</summary>
    TakeOverWithoutWaiting,

    /// <summary>The arbiter does not compare the epoch (breaks S1, S11).</summary>
    OlderEpochAccepted,

    /// <summary>A copy that missed writes is promoted: the stored data state says UpToDate and the arbiter does not look at the set (breaks S3).</summary>
    PromoteOutdated,

    /// <summary>Stored states are confirmed before they are stored, and lost in a crash (breaks S1).</summary>
    ConfirmUnstoredState,

    /// <summary>Beacons are answered although this host is about to take over (breaks S8).</summary>
    AnswerWhileClaiming,

    /// <summary>A promise to leave is forgotten with the process (breaks S9).</summary>
    PromiseForgotten,

    /// <summary>The VM is not paused and the guard does not kill when the lease ends (breaks S8).</summary>
    NoPause,

    // Replication.

    /// <summary>A frame counts as applied by the peer when it is sent (breaks S2).</summary>
    AcknowledgeBeforePeer,

    /// <summary>Held acknowledgements are released when the session ends, without asking the arbiter (breaks S4).</summary>
    ExcludeNotAsked,

    /// <summary>A flush is confirmed although the replica has flushed nothing (breaks S2, S6).</summary>
    ReplicaFlushNotDone,

    /// <summary>A flush is confirmed although the primary has flushed nothing (breaks S2, S6).</summary>
    SourceFlushNotDone,

    /// <summary>A flush that failed on this host counts as done (breaks S2, S6).</summary>
    FailedFlushForgotten,

    /// <summary>What the page cache shows is believed after a crash and after a fault, although the disk may hold something else (breaks S2).</summary>
    CacheTrusted,

    /// <summary>A VM that outlives its process is served again although write-back has failed under it (breaks S2).</summary>
    HeirTrusted,

    /// <summary>What a flush has confirmed counts as proven at once (breaks S2, S6).</summary>
    FlushesBelieved,

    /// <summary>The activity log is not written (breaks S6).</summary>
    SkipActivityLog,

    /// <summary>The checkpoint holds no marks: they count as cleared when the data was sent (breaks S6).</summary>
    ClearMarksWithoutFlush,

    /// <summary>The marks of the target are not united with those of the source (breaks S6).</summary>
    MarksNotUnited,

    /// <summary>Damaged marks are taken for marks of nothing (breaks S6).</summary>
    DamagedMarksTakenForClean,

    /// <summary>A target is overwritten without waiting until it is stored as Inconsistent (breaks S7).</summary>
    OverwrittenBeforeStored,

    /// <summary>What a guest writes during a resync does not reach the target, and counts as applied there (breaks S6).</summary>
    ResyncMissesGuestWrites,

    /// <summary>Holes are not made on the target (breaks S6).</summary>
    HolesNotCopied,

    /// <summary>Overlapping writes are done in any order (breaks S6).</summary>
    WritesOutOfOrder,

    /// <summary>Frames are taken whatever their checksum says (breaks S1, S6).</summary>
    ChecksumIgnored,

    /// <summary>A replica says that it has applied one frame more of the stream than it has (breaks S2).</summary>
    ResumedSkipsAFrame,
}
