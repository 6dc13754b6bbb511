using Pollux.Grains.Core;

namespace Pollux.Grains.Abstractions;

/// <summary>What force-promote of a host would give up: everything that was acknowledged after it had left the in-sync set. Times are the control
/// plane's, UTC, milliseconds.</summary>
/// <param name="Host">Grain key of the host whose copy would be the module.</param>
/// <param name="Other">Grain key of the other one, which must be off for certain.</param>
/// <param name="Epoch">Of the record that was looked at; force-promote names it.</param>
/// <param name="DataState">Of its copy, as the host says; null if it says nothing.</param>
/// <param name="LeftUnixMs">When the record left it out; null: earlier than the history reaches, or the record still names it.</param>
/// <param name="LeftEpoch">The epoch of that change, or null.</param>
/// <param name="OtherSeenUnixMs">When the other host was last heard here: it may have gone on for longer.</param>
/// <param name="OtherMarkedBytes">What the other host's last words said is missing on this one, at most; null: not known.</param>
/// <param name="WhyNot">Why it cannot be done now; null: it can, with the operator's word.</param>
[GenerateSerializer, Immutable, Alias("pollux.ForcePreview")]
public sealed record ForcePreview(
    [property: Id(0)] string Host,
    [property: Id(1)] string Other,
    [property: Id(2)] long Epoch,
    [property: Id(3)] string? DataState,
    [property: Id(4)] long? LeftUnixMs,
    [property: Id(5)] long? LeftEpoch,
    [property: Id(6)] long OtherSeenUnixMs,
    [property: Id(7)] long? OtherMarkedBytes,
    [property: Id(8)] Problem? WhyNot);
