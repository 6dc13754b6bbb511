namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>What may happen next. The order is that of the calm schedule, which takes the first that is possible.</summary>
internal enum What
{
    // Under way: time does not pass before it, unless a delay is spent.
    Stored,
    BeaconArrives,
    AnswerArrives,
    ArbiterDecides,
    ReplyArrives,
    VolumeServed,
    FollowingEnds,
    VolumeReleased,
    Quiesced,
    VmBegins,
    VmEnds,
    ProcessEnds,
    FrameApplied,
    WriteEnds,

    // At leisure: the calm schedule does it, the search also leaves it for later.
    TargetStarts,
    MarksUnited,
    Copied,
    TargetFlushed,
    CaughtUp,
    SourceEndCloses,
    TargetEndCloses,
    SessionBegins,
    LinkHeals,
    ArbiterHeals,
    ProcessThaws,
    ProcessStarts,

    TimePasses,

    // Never done by the calm schedule.
    GuestWrites,
    StrayDecided,
    ProcessCrashes,
    PowerLost,
    LinkCut,
    ArbiterCut,
    ProcessFreezes,
    BeaconLost,
    AnswerLost,
    RequestLost,
    ReplyLost,
    RequestStrays,
    RequestDoubled,
    StaleDecision,
    TimePassesTooSoon,
    SwapAsked,
    HostStops,
}

/// <param name="Host">0 or 1; what it belongs to.</param>
/// <param name="Choice">Which of several (the message in the queue, how much of what was handed out is stored, …).</param>
internal readonly record struct PairEvent(What What, int Host = 0, int Choice = 0)
{
    public bool UnderWay => What <= What.WriteEnds;

    public bool Calm => What <= What.TimePasses;

    public override string ToString() => What is What.TimePasses or What.TimePassesTooSoon
        ? What.ToString()
        : $"{(Host == 0 ? "a" : "b")}: {What}{(Choice == 0 ? "" : $" ({Choice})")}";
}
