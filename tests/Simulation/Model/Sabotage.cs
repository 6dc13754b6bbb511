namespace Pollux.Tests.Simulation.Model;

/// <summary>Deliberate defects, each of which the simulation must catch: a check that cannot fail is worth nothing.</summary>
internal enum Sabotage
{
    None,

    /// <summary>A write is acknowledged when it is applied locally (breaks S2).</summary>
    AcknowledgeBeforePeer,

    /// <summary>One host believes in a detection time so short that it does not wait for the other's lease and margin (breaks S8).</summary>
    TakeOverWithoutWaiting,

    /// <summary>Held acknowledgements are released when the session ends, without asking the arbiter (breaks S4).</summary>
    ExcludeNotAsked,

    /// <summary>The arbiter does not compare the epoch (breaks S1, S11).</summary>
    OlderEpochAccepted,

    /// <summary>A copy that missed writes is promoted: the stored data state says UpToDate and the arbiter does not look at the set (breaks S3).</summary>
    PromoteOutdated,

    /// <summary>Stored states are confirmed before they are stored, and lost in a crash (breaks S1).</summary>
    ConfirmUnstoredState,

    /// <summary>A mark is cleared when the peer has the data, not when both have flushed it (breaks S6).</summary>
    ClearMarksWithoutFlush,

    /// <summary>Beacons are answered although this host is about to take over (breaks S8).</summary>
    AnswerWhileClaiming,

    /// <summary>The VM is not paused and the guard does not kill when the lease ends (breaks S8).</summary>
    NoPause,
}
