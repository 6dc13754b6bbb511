namespace Pollux.Tests.Simulation.Exhaustive;

internal enum SessionPhase
{
    /// <summary>Both machines are asked for leave to resync.</summary>
    Starting,

    /// <summary>The marks are united; the copies may differ.</summary>
    Copying,

    /// <summary>Acknowledgements wait for the target; it has flushed and tells its machine.</summary>
    Final,

    /// <summary>The source knows that the target has stored UpToDate; or a session that began in sync.</summary>
    InSync,
}

/// <summary>The replication session, each end of which closes by itself: frames that are under way may arrive after the source has given it
/// up. One write at most is under way, because the guest has one at a time.</summary>
internal sealed record Session(int Source, SessionPhase Phase, Guid SyncBase, bool ByMarks)
{
    public bool SourceOpen { get; init; } = true;

    public bool TargetOpen { get; init; } = true;

    public bool TargetStarted { get; init; }

    public bool SourceAllowed { get; init; }

    public bool TargetAllowed { get; init; }

    public bool TargetConfirmed { get; init; }

    /// <summary>The write that is on its way to the target, or 0.</summary>
    public long Frame { get; init; }

    /// <summary>The write that the target has applied and made stable, and whose confirmation is on its way.</summary>
    public long Applied { get; init; }

    public void Write(CanonicalWriter to)
    {
        to.Number(Source);
        to.Number((int)Phase);
        to.Name(SyncBase);
        to.Flag(ByMarks);
        to.Flag(SourceOpen);
        to.Flag(TargetOpen);
        to.Flag(TargetStarted);
        to.Flag(SourceAllowed);
        to.Flag(TargetAllowed);
        to.Flag(TargetConfirmed);
        to.Version(Frame);
        to.Version(Applied);
    }
}
