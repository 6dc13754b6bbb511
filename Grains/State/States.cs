using System.Collections.Immutable;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Grains.State;

[GenerateSerializer, Immutable, Alias("pollux.FleetState")]
public sealed record FleetState
{
    [Id(0)] public ImmutableArray<string> Clusters { get; init; } = [];
}

/// <summary>One row for the installation.</summary>
[GenerateSerializer, Immutable, Alias("pollux.ControlState")]
public sealed record ControlState
{
    /// <summary>As in <see cref="ControlGeneration"/>.</summary>
    [Id(0)] public long Generation { get; init; }
}

[GenerateSerializer, Immutable, Alias("pollux.ClusterState")]
public sealed record ClusterState
{
    [Id(0)] public ClusterPolicy Policy { get; init; } = ClusterPolicy.Default;
    [Id(1)] public ImmutableArray<string> Hosts { get; init; } = [];
    [Id(2)] public ImmutableArray<ModuleEntry> Modules { get; init; } = [];

    /// <summary>The newest generation that the cluster was recovered for; 0 if there was none.</summary>
    [Id(3)] public long Generation { get; init; }

    /// <summary>What is known so far of the newest recovery; null when it is done.</summary>
    [Id(4)] public ClusterRecovery? Recovery { get; init; }

    /// <summary>As in <see cref="ClusterView.Rebuilt"/>.</summary>
    [Id(5)] public bool Rebuilt { get; init; }
}

[GenerateSerializer, Immutable, Alias("pollux.ClusterRecovery")]
public sealed record ClusterRecovery
{
    [Id(0)] public long Generation { get; init; }

    /// <summary>By host, the newest of each.</summary>
    [Id(1)] public ImmutableArray<HostRecollection> Reports { get; init; } = [];

    /// <summary>By module, the newest of each.</summary>
    [Id(2)] public ImmutableArray<RecordConfirmation> Confirmed { get; init; } = [];
}

/// <param name="Host">Name inside the cluster.</param>
[GenerateSerializer, Immutable, Alias("pollux.HostRecollection")]
public sealed record HostRecollection([property: Id(0)] string Host, [property: Id(1)] HostMemory Memory);

[GenerateSerializer, Immutable, Alias("pollux.HostState")]
public sealed record HostState
{
    /// <summary>Lower-case hex SHA-256 of the secret; null if none is out.</summary>
    [Id(0)] public string? TokenHash { get; init; }
    [Id(1)] public long TokenExpiresUnixMs { get; init; }

    /// <summary>The key that used the token, so that a repeated request gets the same answer.</summary>
    [Id(2)] public string? TokenUsedBy { get; init; }

    /// <summary>The key that the host is bound to; null before it has joined.</summary>
    [Id(3)] public string? PublicKeyHash { get; init; }
    [Id(4)] public HostAddresses Addresses { get; init; } = new(null, null);
    [Id(5)] public long LastSeenUnixMs { get; init; }
    [Id(6)] public long DesiredVersion { get; init; }

    /// <summary>Of the desired state with that version; another one gets the next version.</summary>
    [Id(7)] public string DesiredFingerprint { get; init; } = "";

    /// <summary>The newest generation in which <see cref="DesiredVersion"/> was compared with what the host has.</summary>
    [Id(8)] public long Generation { get; init; }

    /// <summary>A host that has just joined may have orders of another installation.</summary>
    public const long NotCompared = -1;
}

[GenerateSerializer, Immutable, Alias("pollux.MirrorModuleState")]
public sealed record MirrorModuleState
{
    [Id(0)] public ModulePhase Phase { get; init; }
    [Id(1)] public ModuleSpec? Spec { get; init; }

    /// <summary>Grain keys of both hosts.</summary>
    [Id(2)] public ImmutableArray<string> Hosts { get; init; } = [];
    [Id(3)] public bool Run { get; init; }
    [Id(4)] public ArbiterRecord? Record { get; init; }
    [Id(5)] public Guid CreationId { get; init; }
    [Id(6)] public long CreationUnixMs { get; init; }
    [Id(7)] public OpenCommand? Command { get; init; }
    [Id(8)] public ImmutableArray<CommandEnd> CommandEnds { get; init; } = [];
    [Id(9)] public ImmutableArray<RecordHistoryEntry> History { get; init; } = [];

    /// <summary>The newest one, ended or not: the host that is named knows.</summary>
    [Id(10)] public VerifyWish? Verify { get; init; }

    /// <summary>The newest generation that the module was made in or recovered for.</summary>
    [Id(40)] public long Generation { get; init; }

    /// <summary>Grows with each start by command.</summary>
    [Id(20)] public long Starts { get; init; }
    [Id(21)] public WantedPrimary? Wanted { get; init; }

    /// <summary>When a failback was last begun; 0: never.</summary>
    [Id(22)] public long FailbackUnixMs { get; init; }

    /// <summary>A failback that was not done: in which epoch, and why.</summary>
    [Id(24)] public FailedFailback? FailbackFailed { get; init; }

    /// <summary>The primary is where it is by an operator's word: no failback before the next failover.</summary>
    [Id(23)] public bool PlacedByOperator { get; init; }
}

[GenerateSerializer, Immutable, Alias("pollux.FailedFailback")]
public sealed record FailedFailback([property: Id(0)] long Epoch, [property: Id(1)] string Reason);

/// <param name="From">The primary when the command was given.</param>
[GenerateSerializer, Immutable, Alias("pollux.OpenCommand")]
public sealed record OpenCommand(
    [property: Id(0)] Guid OperationId, [property: Id(1)] string Kind, [property: Id(2)] string From, [property: Id(3)] long UnixMs)
{
    /// <summary>Begun by the control plane itself.</summary>
    [Id(4)] public bool IsFailback { get; init; }
}

[GenerateSerializer, Immutable, Alias("pollux.VmState")]
public sealed record VmState
{
    [Id(0)] public VmView? View { get; init; }
}
