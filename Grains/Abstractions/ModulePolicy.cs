namespace Pollux.Grains.Abstractions;

/// <summary>What the operator has set for a module. Hosts keep to their part of it also while the control plane is away.</summary>
[GenerateSerializer, Immutable, Alias("pollux.ModulePolicy")]
public sealed record ModulePolicy
{
    public static readonly ModulePolicy Default = new();

    /// <summary>Milliseconds in which a module with a preferred primary has to be in sync, without a change, before it goes back there.</summary>
    public const long FailbackHoldMsDefault = 600_000;

    /// <summary>Maintenance: a secondary does not take over from a lost primary.</summary>
    [Id(0)] public bool FailoverOff { get; init; }

    /// <summary>Maintenance: a host that has booted does not run the module before the next start by command.</summary>
    [Id(1)] public bool StaysDownAtBoot { get; init; }

    /// <summary>A crashing VM is started again so often within the window, on one host; then it stays down.</summary>
    [Id(2)] public int RestartsMax { get; init; } = 3;
    [Id(3)] public long RestartWindowMs { get; init; } = 24 * 3_600_000;

    /// <summary>1 first, 9 last: the order in which a host starts the VMs of its modules when many are due at once.</summary>
    [Id(4)] public int StartPriority { get; init; } = 5;

    /// <summary>Name of the host inside the cluster to which the module goes back by itself; null: no failback.</summary>
    [Id(5)] public string? Preferred { get; init; }
    [Id(6)] public long FailbackHoldMs { get; init; } = FailbackHoldMsDefault;

    /// <summary>Maintenance: nothing is tested by the module's checkers, and nothing follows.</summary>
    [Id(7)] public bool ChecksOff { get; init; }
}

/// <summary>What is to be set anew; null leaves what there is.</summary>
/// <param name="Preferred">Empty: none any more.</param>
[GenerateSerializer, Immutable, Alias("pollux.PolicyChange")]
public sealed record PolicyChange(
    [property: Id(0)] bool? FailoverOff = null, [property: Id(1)] bool? StaysDownAtBoot = null, [property: Id(2)] int? RestartsMax = null,
    [property: Id(3)] long? RestartWindowMs = null, [property: Id(4)] int? StartPriority = null, [property: Id(5)] string? Preferred = null,
    [property: Id(6)] long? FailbackHoldMs = null, [property: Id(7)] bool? ChecksOff = null);

/// <summary>The host that shall become primary by a start, while the record is at this epoch.</summary>
/// <param name="Host">Grain key.</param>
[GenerateSerializer, Immutable, Alias("pollux.WantedPrimary")]
public sealed record WantedPrimary([property: Id(0)] string Host, [property: Id(1)] long Epoch);

/// <param name="Begun">What follows: <c>swap</c> (its end stands in the module under the operation id), <c>start</c>, or <c>nothing</c>.</param>
/// <param name="Problem">Why it was refused; null if it was not.</param>
[GenerateSerializer, Immutable, Alias("pollux.Placement")]
public sealed record Placement([property: Id(0)] string Begun, [property: Id(1)] Problem? Problem);
