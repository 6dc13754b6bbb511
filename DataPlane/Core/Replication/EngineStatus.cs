namespace Pollux.DataPlane.Core.Replication;

/// <summary>A snapshot for operators and metrics.</summary>
/// <param name="DirtyBytes">Bytes that may differ from the peer and are not yet copied.</param>
/// <param name="UnflushedBytes">Bytes on both hosts that are not yet flushed on both.</param>
/// <param name="HeldOperations">Operations that wait: for the peer, the record, a range, room, or an unfreeze.</param>
/// <param name="ReceivedBytes">Replica: payload that has come in this session.</param>
/// <param name="WaitingFor">Why something waits, or null.</param>
public readonly record struct EngineStatus(
    bool SessionUp, long DirtyBytes, long UnflushedBytes, int HeldOperations, long ReplicatedBytes, long ReplicatedOperations, long ReceivedBytes,
    string? WaitingFor)
{
    /// <summary>Of the running or last resync.</summary>
    public ResyncStatus Resync { get; init; }

    /// <summary>Of the running or last verify.</summary>
    public VerifyStatus Verify { get; init; }
}

/// <param name="TotalBytes">To be dealt with when it began, and what became dirty since.</param>
/// <param name="DoneBytes">Of these, copied, passed over as holes, or found equal.</param>
/// <param name="SkippedBytes">Of these, found equal by their hashes and not sent.</param>
/// <param name="BytesPerSecond">Of <paramref name="DoneBytes"/>, over the last seconds.</param>
/// <param name="RemainingSeconds">At that rate; null while it is not known.</param>
public readonly record struct ResyncStatus(
    bool Running, bool Full, bool Resumed, string Step, long TotalBytes, long DoneBytes, long SkippedBytes, double BytesPerSecond, double? RemainingSeconds)
{
    public long LeftBytes => TotalBytes - DoneBytes;

    /// <summary>Kept up beside guests as far as disk and link allow.</summary>
    public long BytesPerSecondMin { get; init; }

    /// <summary>long.MaxValue: no limit.</summary>
    public long BytesPerSecondMax { get; init; }

    /// <summary>How long the rate has been below <see cref="BytesPerSecondMin"/> while ranges were copied; 0: it is not.</summary>
    public long BelowMinimumMs { get; init; }

    /// <summary>Data sent by all resyncs and repairs of this machine.</summary>
    public long SentBytes { get; init; }
}

/// <summary>Of the running or last verify of this machine.</summary>
public readonly record struct VerifyStatus
{
    /// <summary>Differences that are told one by one; the rest is only counted.</summary>
    public const int RangesMax = 1000;

    /// <summary>Values of <see cref="End"/>; any other one says why the verify could not finish.</summary>
    public const string Completed = "completed";
    public const string Stopped = "stopped";

    public bool Running { get; init; }
    public bool Repairs { get; init; }

    /// <summary>Of all files, when the verify began.</summary>
    public long TotalBytes { get; init; }

    /// <summary>Compared, or being compared.</summary>
    public long DoneBytes { get; init; }

    /// <summary>Not compared, because the file went meanwhile.</summary>
    public long SkippedBytes { get; init; }

    /// <summary>Length of all ranges that differ.</summary>
    public long DifferentBytes { get; init; }

    /// <summary>Of these, copied to the peer and stable on both hosts.</summary>
    public long RepairedBytes { get; init; }

    /// <summary>The first ranges that differ, in the order in which they were found, <see cref="RangesMax"/> at most.</summary>
    public IReadOnlyList<ObjectRange> Different { get; init; }
    public int TotalEntries { get; init; }
    public int DoneEntries { get; init; }

    /// <summary>Objects that differ in more than content.</summary>
    public int EntriesDifferent { get; init; }

    /// <summary>The first of them, <see cref="RangesMax"/> at most.</summary>
    public IReadOnlyList<EntryDifference> DifferentEntries { get; init; }

    /// <summary>The trees differ and were to be repaired: the session has ended for a resync.</summary>
    public bool ResyncFollows { get; init; }

    /// <summary>Null while it runs, or none ever did.</summary>
    public string? End { get; init; }
}
