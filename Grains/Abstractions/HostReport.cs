using System.Collections.Immutable;

namespace Pollux.Grains.Abstractions;

/// <summary>Everything a host says of itself, newest replaces older. Field by field as in the host protocol's <c>observed</c>.</summary>
[GenerateSerializer, Immutable, Alias("pollux.HostReport")]
public sealed record HostReport(
    [property: Id(0)] long DesiredVersion, [property: Id(1)] bool PeerReachable, [property: Id(2)] ImmutableArray<ModuleReport> Modules)
{
    /// <summary>The networks to the peer in order of preference; empty from a host of an earlier release.</summary>
    [Id(3)] public ImmutableArray<NetworkReport> Networks { get; init; } = [];
}

/// <summary>How a host hears its peer over one network.</summary>
/// <param name="Number">From 1, in order of preference.</param>
/// <param name="PeerAddress">What is dialled there, <c>address:port</c>.</param>
/// <param name="SilentMs">Since the last message that came back over it; null before the first.</param>
/// <param name="RoundTripMicroseconds">Of the last ping that was answered; null before the first.</param>
/// <param name="Status">For people: connected, or why not.</param>
[GenerateSerializer, Immutable, Alias("pollux.NetworkReport")]
public sealed record NetworkReport(
    [property: Id(0)] int Number,
    [property: Id(1)] string PeerAddress,
    [property: Id(2)] bool Up,
    [property: Id(3)] long? SilentMs,
    [property: Id(4)] long? RoundTripMicroseconds,
    [property: Id(5)] string Status);

/// <param name="Module">Grain key, <c>cluster/module</c>.</param>
/// <param name="Role">STOP, WAIT, ALONE, PRIM or SECOND.</param>
/// <param name="SinceUnixMs">When this role, readiness and code began.</param>
/// <param name="VmState"><c>running</c>, <c>paused</c>, <c>stopped</c>, <c>unknown</c>, or null without a VM.</param>
[GenerateSerializer, Immutable, Alias("pollux.ModuleReport")]
public sealed record ModuleReport(
    [property: Id(0)] string Module,
    [property: Id(1)] string Role,
    [property: Id(2)] bool Ready,
    [property: Id(3)] string DataState,
    [property: Id(4)] RecordView Record,
    [property: Id(5)] string Code,
    [property: Id(6)] string Cause,
    [property: Id(7)] long SinceUnixMs,
    [property: Id(8)] string? VmState,
    [property: Id(9)] ReplicationReport Replication,
    [property: Id(10)] PreparationReport? Preparation,
    [property: Id(11)] ImmutableArray<Problem> Problems,
    [property: Id(12)] ImmutableArray<EventReport> Events,
    [property: Id(13)] ImmutableArray<CommandReport> CommandResults,
    [property: Id(14)] VerifyReport? Verify = null)
{
    /// <summary>What the host says of the module's checkers; null from a host of an earlier release, which tests nothing.</summary>
    [Id(30)] public ImmutableArray<CheckerReport>? Checkers { get; init; }
}

/// <summary>The arbiter's record as seen by its reader.</summary>
/// <param name="Primary">Grain key of a host, or null before the first start.</param>
/// <param name="InSync">Grain keys of hosts.</param>
[GenerateSerializer, Immutable, Alias("pollux.RecordView")]
public sealed record RecordView(
    [property: Id(0)] Guid Incarnation, [property: Id(1)] long Epoch, [property: Id(2)] string? Primary,
    [property: Id(3)] ImmutableArray<string> InSync)
{
    /// <summary>The host whose copy an operator has declared to be the module in this epoch; null as a rule.</summary>
    [Id(4)] public string? Declared { get; init; }

    public bool Equals(RecordView? other) =>
        other is not null && Incarnation == other.Incarnation && Epoch == other.Epoch && Primary == other.Primary
        && InSync.AsSpan().SequenceEqual(other.InSync.AsSpan());

    public override int GetHashCode() => HashCode.Combine(Incarnation, Epoch, Primary, InSync.Length);
}

[GenerateSerializer, Immutable, Alias("pollux.ReplicationReport")]
public sealed record ReplicationReport(
    [property: Id(0)] bool SessionUp,
    [property: Id(1)] bool Resyncing,
    [property: Id(2)] bool FullResync,
    [property: Id(3)] long DirtyBytes,
    [property: Id(4)] long ResyncTotalBytes,
    [property: Id(5)] long ResyncDoneBytes,
    [property: Id(6)] double ResyncBytesPerSecond,
    [property: Id(7)] int HeldOperations,
    [property: Id(8)] string? WaitingFor,
    [property: Id(9)] long ResyncSkippedBytes = 0,
    [property: Id(10)] long ResyncLeftBytes = 0,
    [property: Id(11)] double? ResyncRemainingSeconds = null,
    [property: Id(12)] ResyncPolicy? ResyncLimits = null)
{
    /// <summary>Number of the network that the replication runs over, from the host that dialled; else null.</summary>
    [Id(13)] public int? Network { get; init; }
}

/// <summary>The newest verify of a host, field by field as in the host protocol's <c>ObservedVerify</c>.</summary>
/// <param name="State"><c>running</c>, <c>completed</c>, <c>stopped</c> or <c>failed</c>.</param>
/// <param name="Repaired">Everything that differed has been made equal and is stable on both hosts.</param>
/// <param name="Differences">The first ones.</param>
[GenerateSerializer, Immutable, Alias("pollux.VerifyReport")]
public sealed record VerifyReport(
    [property: Id(0)] Guid OperationId,
    [property: Id(1)] string State,
    [property: Id(2)] bool Repair,
    [property: Id(3)] long StartedUnixMs,
    [property: Id(4)] long? EndedUnixMs,
    [property: Id(5)] string? Reason,
    [property: Id(6)] long BytesPerSecondMax,
    [property: Id(7)] long TotalBytes,
    [property: Id(8)] long DoneBytes,
    [property: Id(9)] long SkippedBytes,
    [property: Id(10)] long DifferentBytes,
    [property: Id(11)] long RepairedBytes,
    [property: Id(12)] int TotalEntries,
    [property: Id(13)] int DoneEntries,
    [property: Id(14)] int DifferentEntries,
    [property: Id(15)] bool Repaired,
    [property: Id(16)] bool ResyncFollows,
    [property: Id(17)] ImmutableArray<DifferenceReport> Differences,
    [property: Id(18)] int MoreDifferences);

/// <param name="OffsetBytes">Of a range of content; null if something else differs.</param>
[GenerateSerializer, Immutable, Alias("pollux.DifferenceReport")]
public sealed record DifferenceReport(
    [property: Id(0)] string Path, [property: Id(1)] long? OffsetBytes, [property: Id(2)] long? LengthBytes, [property: Id(3)] string What);

/// <summary>A host's verdict on a module that is being created.</summary>
[GenerateSerializer, Immutable, Alias("pollux.PreparationReport")]
public sealed record PreparationReport([property: Id(0)] bool Accepted, [property: Id(1)] Problem? Problem);

/// <param name="TraceId">W3C trace id, or null.</param>
[GenerateSerializer, Immutable, Alias("pollux.EventReport")]
public sealed record EventReport(
    [property: Id(0)] long UnixMs, [property: Id(1)] string Kind, [property: Id(2)] string Text, [property: Id(3)] string? TraceId);

[GenerateSerializer, Immutable, Alias("pollux.CommandReport")]
public sealed record CommandReport(
    [property: Id(0)] Guid OperationId, [property: Id(1)] bool Succeeded, [property: Id(2)] string Reason);
