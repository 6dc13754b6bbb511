using System.Collections.Immutable;

namespace Pollux.Grains.Abstractions;

/// <summary>What a host knows durably, told after the control plane was declared restored.</summary>
/// <param name="Generation">Of the declaration that it answers.</param>
/// <param name="Peer">Name inside the cluster, or null.</param>
/// <param name="Policy">The cluster's, as it was last told; null if it was never told.</param>
[GenerateSerializer, Immutable, Alias("pollux.HostMemory")]
public sealed record HostMemory(
    [property: Id(0)] long Generation, [property: Id(1)] string? Peer, [property: Id(2)] ClusterPolicy? Policy,
    [property: Id(3)] ImmutableArray<ModuleMemory> Modules);

/// <param name="Module">Name inside the cluster.</param>
/// <param name="Record">Null if it has stored none.</param>
[GenerateSerializer, Immutable, Alias("pollux.ModuleMemory")]
public sealed record ModuleMemory(
    [property: Id(0)] string Module, [property: Id(1)] ModuleSpec Spec, [property: Id(2)] bool Run, [property: Id(3)] RecordView? Record,
    [property: Id(4)] string DataState);

/// <summary>What one host of the pair says of one module.</summary>
/// <param name="Host">Grain key.</param>
/// <param name="Answered">It has reported since the declaration, whatever it knows.</param>
/// <param name="Memory">Null if it does not have the module.</param>
[GenerateSerializer, Immutable, Alias("pollux.HostTestimony")]
public sealed record HostTestimony(
    [property: Id(0)] string Module, [property: Id(1)] string Host, [property: Id(2)] bool Answered, [property: Id(3)] ModuleMemory? Memory)
{
    public bool Knows => Memory is not null;

    public RecordView? Record => Memory?.Record;

    /// <summary>Epoch 0 is what a host says that has never heard of a record, or has lost it.</summary>
    public bool HasRecord => Record is { Epoch: > 0 };
}

/// <summary>An operator's word on a module whose hosts have not both reported.</summary>
/// <param name="Host">Grain key of the host whose report counts; null: the module is to be forgotten.</param>
/// <param name="Epoch">Of that report, as the operator saw it.</param>
[GenerateSerializer, Immutable, Alias("pollux.RecordConfirmation")]
public sealed record RecordConfirmation([property: Id(0)] string Module, [property: Id(1)] string? Host, [property: Id(2)] long Epoch)
{
    /// <summary>The operator who gave it.</summary>
    [Id(3)] public string By { get; init; } = OperatorContext.Default;
}

/// <summary>All there is to recover one module by.</summary>
[GenerateSerializer, Immutable, Alias("pollux.ModuleRecovery")]
public sealed record ModuleRecovery(
    [property: Id(0)] long Generation, [property: Id(1)] ImmutableArray<HostTestimony> Testimonies, [property: Id(2)] RecordConfirmation? Confirmed);

/// <param name="Entry">The module as it is from now on; null if it is not decided, or gone.</param>
/// <param name="Gone">It is forgotten: no host has it.</param>
/// <param name="Problem">What is missing for a decision, or null.</param>
[GenerateSerializer, Immutable, Alias("pollux.ModuleRecovered")]
public sealed record ModuleRecovered([property: Id(0)] ModuleEntry? Entry, [property: Id(1)] bool Gone, [property: Id(2)] Problem? Problem);

/// <summary>A cluster that waits for its hosts' reports after a restore.</summary>
/// <param name="Problems">What is missing, for people; never empty.</param>
[GenerateSerializer, Immutable, Alias("pollux.ClusterRecoveryView")]
public sealed record ClusterRecoveryView([property: Id(0)] long Generation, [property: Id(1)] ImmutableArray<Problem> Problems);
