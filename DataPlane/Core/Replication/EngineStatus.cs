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
}

/// <param name="SkippedBytes">Could not be compared: written again and again, or gone.</param>
/// <param name="DifferentBytes">Length of all ranges that differ.</param>
/// <param name="Different">The first ranges that differ, <see cref="RangesMax"/> at most.</param>
public readonly record struct VerifyStatus(
    bool Running, bool Repairs, long TotalBytes, long DoneBytes, long SkippedBytes, long DifferentBytes, IReadOnlyList<ObjectRange> Different, string? End)
{
    public const int RangesMax = 1000;
}
