using System.Collections.Immutable;
using System.Text.Json.Serialization;
using Orleans.Runtime;

namespace Pollux.Grains.Abstractions;

/// <summary>One mirror module: its spec, the arbiter's record and its history. The key is <c>cluster/module</c>.</summary>
/// <remarks>The record changes by <see cref="ArbitrateAsync"/> only, and only on durable state: the answer leaves after the write.
/// A duplicate activation fails on the stored ETag; its caller sees an exception, which is an unknown outcome, and repeats.</remarks>
[GrainInterfaceType("pollux.module"), Alias("pollux.IMirrorModuleGrain")]
public interface IMirrorModuleGrain : IGrainWithStringKey
{
    /// <summary>Begins the creation: both hosts are asked for their verdict. Follow it with <see cref="ReadAsync"/>, by
    /// <see cref="ModuleView.Creation"/>. Repeating an operation id is harmless.</summary>
    [Alias("Create")]
    Task<Outcome> CreateAsync(ModuleSpec spec, Guid operationId);

    [Alias("SetRun")]
    Task<Outcome> SetRunAsync(bool run);

    /// <summary>Asks the primary to hand over to its peer. The end stands in <see cref="ModuleView.CommandEnds"/> under the same id.</summary>
    [Alias("Swap")]
    Task<Outcome> SwapAsync(Guid operationId);

    /// <summary>Asks the primary to end the VM and start it again where it is. The end stands in <see cref="ModuleView.CommandEnds"/>.</summary>
    [Alias("Restart")]
    Task<Outcome> RestartAsync(Guid operationId);

    /// <summary>Stops the module on both hosts and starts it again. The end, when both have stopped, stands in <see cref="ModuleView.CommandEnds"/>.</summary>
    [Alias("StopStart")]
    Task<Outcome> StopStartAsync(Guid operationId);

    /// <summary>Wants the primary on this host: a swap, or a start that is left to this host, as the state of the module needs it.</summary>
    /// <param name="host">Name inside the cluster.</param>
    [Alias("Place")]
    Task<Placement> PlaceAsync(Guid operationId, string host);

    /// <summary>Takes the secondary out of the set and has it resynced as a whole. The end, when that is certain to follow, stands in
    /// <see cref="ModuleView.CommandEnds"/>.</summary>
    [Alias("FullResync")]
    Task<Outcome> FullResyncAsync(Guid operationId);

    [Alias("SetPolicy")]
    Task<Outcome> SetPolicyAsync(PolicyChange change);

    /// <summary>Adds a checker, or changes the one of this name.</summary>
    [Alias("SetChecker")]
    Task<Outcome> SetCheckerAsync(Checker checker);

    [Alias("RemoveChecker")]
    Task<Outcome> RemoveCheckerAsync(string name);

    /// <summary>Orders the primary to compare both copies while the module runs; one verify at a time. Its progress and outcome are in the hosts'
    /// reports under the same id.</summary>
    /// <param name="repair">What differs on the secondary is made equal to the primary.</param>
    /// <param name="bytesPerSecondMax">0: no limit.</param>
    [Alias("Verify")]
    Task<Outcome> VerifyAsync(Guid operationId, bool repair, long bytesPerSecondMax);

    [Alias("StopVerify")]
    Task<Outcome> StopVerifyAsync();

    /// <summary>How fast resyncs of the module may be, from now on; also one that runs.</summary>
    [Alias("SetResyncLimits")]
    Task<Outcome> SetResyncLimitsAsync(ResyncPolicy limits);

    /// <summary>What force-promote of a host would give up; null if the module does not exist.</summary>
    /// <param name="host">Name inside the cluster.</param>
    [Alias("PreviewForce")]
    Task<ForcePreview?> PreviewForceAsync(string host);

    /// <summary>Declares the copy of a host to be the module, whatever it lacks. The caller vouches that the other host is off.</summary>
    /// <param name="epoch">Of the record that the operator has seen.</param>
    [Alias("Force")]
    Task<Outcome> ForceAsync(string host, long epoch);

    /// <summary>Forgets the module; the data stays on both hosts. Only a stopped module can be deleted.</summary>
    [Alias("Delete")]
    Task<Outcome> DeleteAsync();

    /// <summary>Reads or changes the record.</summary>
    [Alias("Arbitrate")]
    Task<ArbitrationResult> ArbitrateAsync(ArbitrationCall call);

    /// <summary>Decides on the record after a restore, if what is known suffices. Called by the cluster until it has; repeating it is harmless.</summary>
    [Alias("Recover")]
    Task<ModuleRecovered> RecoverAsync(ModuleRecovery recovery);

    /// <summary>What a host shall do for this module; null if the module does not exist.</summary>
    [Alias("ReadOrder"), AlwaysInterleave]
    Task<ModuleOrder?> ReadOrderAsync();

    /// <summary>A host has this record stored. One that is later than the module's own shows that the database was restored and nobody has said so: then
    /// nothing is decided any more.</summary>
    [Alias("Heard"), AlwaysInterleave]
    Task HeardAsync(RecordView record);

    [Alias("Read"), AlwaysInterleave]
    Task<ModuleView> ReadAsync();
}

/// <param name="Directory">The first directory: an absolute path, the same on both hosts.</param>
/// <param name="InitialHost">Name inside the cluster of the host whose directories hold the data.</param>
/// <param name="Resync">Null: the hosts' own defaults.</param>
[GenerateSerializer, Immutable, Alias("pollux.ModuleSpec")]
public sealed record ModuleSpec(
    [property: Id(0)] string Directory, [property: Id(1)] string InitialHost, [property: Id(2)] VmDefinition? Vm,
    [property: Id(3)] ResyncPolicy? Resync = null)
{
    public const int DirectoriesMax = 8;

    /// <summary>The second directory and those after it. The order is the directories' identity on both hosts.</summary>
    [Id(4)] public ImmutableArray<string> FurtherDirectories { get; init; } = [];

    /// <summary>Null in specs of earlier versions: see <see cref="PolicyInForce"/>.</summary>
    [Id(5)] public ModulePolicy? Policy { get; init; }

    /// <summary>Null in specs of earlier versions: see <see cref="CheckersInForce"/>.</summary>
    [Id(30)] public ImmutableArray<Checker>? Checkers { get; init; }

    [JsonIgnore] public ImmutableArray<Checker> CheckersInForce => Checkers is { IsDefault: false } checkers ? checkers : [];

    [JsonIgnore] public ModulePolicy PolicyInForce => Policy ?? ModulePolicy.Default;

    /// <summary>All directories in their order. Specs of earlier versions have one.</summary>
    [JsonIgnore] public ImmutableArray<string> Directories => FurtherDirectories.IsDefaultOrEmpty ? [Directory] : [Directory, .. FurtherDirectories];
}

/// <param name="BytesPerSecondMin">Kept up beside guests as far as disk and link allow.</param>
/// <param name="BytesPerSecondMax">0: no limit.</param>
[GenerateSerializer, Immutable, Alias("pollux.ResyncPolicy")]
public sealed record ResyncPolicy([property: Id(0)] long BytesPerSecondMin, [property: Id(1)] long BytesPerSecondMax)
{
    /// <summary>1 TB/s: more is a mistake.</summary>
    public const long BytesPerSecondLimit = 1_000_000_000_000;
}

/// <param name="Domain">libvirt's domain name.</param>
/// <param name="DefinitionFile">File name of the domain XML inside the module's first directory.</param>
[GenerateSerializer, Immutable, Alias("pollux.VmDefinition")]
public sealed record VmDefinition([property: Id(0)] string Domain, [property: Id(1)] string DefinitionFile);

/// <summary><code>None ──create──► Preparing ──both accept──► Active ──delete──► None;  Preparing ──refused or late──► None</code></summary>
[GenerateSerializer, Alias("pollux.ModulePhase")]
public enum ModulePhase
{
    None,

    /// <summary>Both hosts are asked whether the module can live there; nothing lasting has been changed on them.</summary>
    Preparing,

    Active,
}

/// <summary>What both hosts of the pair shall do for one module.</summary>
[GenerateSerializer, Immutable, Alias("pollux.ModuleOrder")]
public sealed record ModuleOrder(
    [property: Id(0)] string Module,
    [property: Id(1)] ModulePhase Phase,
    [property: Id(2)] ModuleSpec Spec,
    [property: Id(3)] bool Run,
    [property: Id(4)] RecordView Record,
    [property: Id(5)] CommandOrder? Command,
    [property: Id(6)] VerifyWish? Verify = null)
{
    /// <summary>Grows with each start by command.</summary>
    [Id(20)] public long Starts { get; init; }

    [Id(21)] public WantedPrimary? Wanted { get; init; }
}

/// <param name="Host">Grain key of the primary when it was ordered: only this host begins it.</param>
/// <param name="BytesPerSecondMax">0: no limit.</param>
/// <param name="Stop">It shall end.</param>
[GenerateSerializer, Immutable, Alias("pollux.VerifyWish")]
public sealed record VerifyWish(
    [property: Id(0)] Guid OperationId, [property: Id(1)] string Host, [property: Id(2)] bool Repair, [property: Id(3)] long BytesPerSecondMax,
    [property: Id(4)] bool Stop);

/// <param name="Kind"><c>swap</c>, <c>restart</c>, <c>stopstart</c> or <c>full-resync</c>.</param>
[GenerateSerializer, Immutable, Alias("pollux.CommandOrder")]
public sealed record CommandOrder([property: Id(0)] Guid OperationId, [property: Id(1)] string Kind);

/// <param name="Change"><c>look</c>, <c>takeover</c>, <c>exclude</c>, <c>join</c> or <c>handover</c>.</param>
/// <param name="By">Grain key of the asking host; the gateway has checked it against the certificate.</param>
/// <param name="TraceParent">W3C trace context of the host's span, or null.</param>
[GenerateSerializer, Immutable, Alias("pollux.ArbitrationCall")]
public sealed record ArbitrationCall(
    [property: Id(0)] Guid OperationId,
    [property: Id(1)] Guid RecordIncarnation,
    [property: Id(2)] long ExpectedEpoch,
    [property: Id(3)] string Change,
    [property: Id(4)] string By,
    [property: Id(5)] string Peer,
    [property: Id(6)] string? TraceParent);

/// <param name="Granted">False: decided, not done; the record says what holds.</param>
/// <param name="Record">Null if there is no such module.</param>
[GenerateSerializer, Immutable, Alias("pollux.ArbitrationResult")]
public sealed record ArbitrationResult(
    [property: Id(0)] bool Granted, [property: Id(1)] RecordView? Record, [property: Id(2)] string Reason)
{
    /// <summary>Not decided, and there is no telling when: the control plane was restored and the record is not recovered yet.</summary>
    [Id(3)] public bool Undecided { get; init; }
}

/// <param name="Creation">The newest creation that this activation has seen, or null.</param>
/// <param name="History">Changes of the record, oldest first, at most <see cref="HistoryMax"/>.</param>
/// <param name="Verify">The newest order to compare the copies, or null.</param>
[GenerateSerializer, Immutable, Alias("pollux.ModuleView")]
public sealed record ModuleView(
    [property: Id(0)] string Module,
    [property: Id(1)] ModulePhase Phase,
    [property: Id(2)] ModuleSpec? Spec,
    [property: Id(3)] ImmutableArray<string> Hosts,
    [property: Id(4)] bool Run,
    [property: Id(5)] RecordView? Record,
    [property: Id(6)] CreationView? Creation,
    [property: Id(7)] CommandOrder? Command,
    [property: Id(8)] ImmutableArray<CommandEnd> CommandEnds,
    [property: Id(9)] ImmutableArray<RecordHistoryEntry> History,
    [property: Id(10)] VerifyWish? Verify = null)
{
    /// <summary>Null once the record has moved on.</summary>
    [Id(20)] public WantedPrimary? Wanted { get; init; }

    /// <summary>Why a module with a preferred primary is not there; null if it is, or has none.</summary>
    [Id(21)] public string? FailbackWaits { get; init; }

    /// <summary>The database has forgotten changes of the record; nothing is decided until the restore is declared.</summary>
    [Id(40)] public bool Forgotten { get; init; }

    public const int HistoryMax = 128;
    public const int CommandEndsMax = 8;
}

/// <param name="Ended">False while hosts are asked.</param>
/// <param name="Problem">Why it was refused and rolled back; null if it goes on or was accepted.</param>
[GenerateSerializer, Immutable, Alias("pollux.CreationView")]
public sealed record CreationView([property: Id(0)] Guid OperationId, [property: Id(1)] bool Ended, [property: Id(2)] Problem? Problem);

[GenerateSerializer, Immutable, Alias("pollux.CommandEnd")]
public sealed record CommandEnd(
    [property: Id(0)] Guid OperationId, [property: Id(1)] bool Succeeded, [property: Id(2)] string Reason, [property: Id(3)] long UnixMs);

/// <param name="Change">As in <see cref="ArbitrationCall.Change"/>, or <c>created</c>.</param>
/// <param name="By">Grain key of the host that asked, or name of the operator's token, or <c>failback</c>.</param>
[GenerateSerializer, Immutable, Alias("pollux.RecordHistoryEntry")]
public sealed record RecordHistoryEntry(
    [property: Id(0)] long UnixMs,
    [property: Id(1)] long Epoch,
    [property: Id(2)] string? Primary,
    [property: Id(3)] ImmutableArray<string> InSync,
    [property: Id(4)] string Change,
    [property: Id(5)] string By,
    [property: Id(6)] string Cause);
