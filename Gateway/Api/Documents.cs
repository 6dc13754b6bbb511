using System.Collections.Immutable;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Api;

/// <param name="DetectionMs">Silence after which a peer counts as lost, milliseconds; 30,000 if left out.</param>
/// <param name="ModulesMax">Most modules of the cluster; 32 if left out.</param>
/// <param name="Link"><c>tls</c>, also if left out, or <c>plaintext</c>: how replication data travels between the two hosts.</param>
public sealed record CreateClusterRequest(string Name, long? DetectionMs = null, int? ModulesMax = null, string? Link = null);

public sealed record ClusterDocument(
    string Name, long DetectionMs, int ModulesMax, ImmutableArray<string> Hosts, ImmutableArray<ClusterModuleDocument> Modules, string Link);

/// <param name="Directory">The first of <paramref name="Directories"/>.</param>
public sealed record ClusterModuleDocument(string Name, string Directory, string? Vm, ImmutableArray<string> Directories);

public sealed record ClusterListDocument(ImmutableArray<string> Clusters);

public sealed record AddHostRequest(string Name);

/// <param name="Host">As <c>cluster/host</c>.</param>
/// <param name="Token">For <c>pollux-host join</c>; shown this once.</param>
public sealed record HostTokenDocument(string Host, string Token, long ExpiresUnixMs);

/// <param name="Primary">The host whose directories hold the data.</param>
/// <param name="Directory">Absolute path, the same on both hosts: for a module with one directory.</param>
/// <param name="Directories">1 to 8 absolute paths, the same on both hosts, each perhaps on a file system of its own; either these or
/// <paramref name="Directory"/>. Their order is part of the module; it does not change.</param>
/// <param name="Vm">libvirt's domain name, or null for a directory without a VM.</param>
/// <param name="Definition">File name of the domain XML inside the first directory; the domain's name with <c>.xml</c> if left out.</param>
/// <param name="OperationId">Repeat it to repeat the request.</param>
public sealed record CreateModuleRequest(
    string Name, string Primary, string? Directory = null, string? Vm = null, string? Definition = null, Guid? OperationId = null,
    ImmutableArray<string>? Directories = null);

/// <param name="OperationId">Repeat it to repeat the request; made by the server if left out.</param>
public sealed record CommandRequest(Guid? OperationId = null);

public sealed record CommandAccepted(Guid OperationId);

/// <summary>An operator's word on the record of a module after a restore; see the problems of its cluster in the status.</summary>
/// <param name="Host">Whose report counts, by its name inside the cluster; left out with <paramref name="Forget"/>.</param>
/// <param name="Epoch">Of that report, as the status shows it.</param>
/// <param name="Forget">No host has the module, and it is to be forgotten.</param>
public sealed record ConfirmRecordRequest(string? Host = null, long Epoch = 0, bool Forget = false);

/// <param name="Repair">Make the secondary equal to the primary where it differs.</param>
/// <param name="BytesPerSecondMax">Compared at most; 0, also if left out: no limit.</param>
/// <param name="OperationId">Repeat it to repeat the request; made by the server if left out.</param>
public sealed record VerifyRequest(bool Repair = false, long BytesPerSecondMax = 0, Guid? OperationId = null);

/// <param name="BytesPerSecondMin">Kept up beside guests as far as disk and link allow.</param>
/// <param name="BytesPerSecondMax">0: no limit.</param>
public sealed record ResyncLimitsDocument(long BytesPerSecondMin, long BytesPerSecondMax);

/// <summary>In a request: what is left out stays as it is.</summary>
/// <param name="Failover">False: a secondary does not take over from a lost primary.</param>
/// <param name="StartAtBoot">False: a host that has booted does not run the module before the next start by command.</param>
/// <param name="Restarts">A crashing VM is started again so often within the window, on one host; 0 to 100.</param>
/// <param name="StartPriority">1 first, 9 last.</param>
/// <param name="Preferred">Host to which the module goes back by itself; empty in a request: none any more.</param>
/// <param name="FailbackHoldMs">So long the pair has to be whole before.</param>
/// <param name="Checkers">False: nothing is tested by the module's checkers, and nothing follows.</param>
public sealed record PolicyDocument(
    bool? Failover = null, bool? StartAtBoot = null, int? Restarts = null, long? RestartWindowMs = null, int? StartPriority = null,
    string? Preferred = null, long? FailbackHoldMs = null, bool? Checkers = null);

/// <summary>A test of what runs in a module; see docs/operations.md. In a request, what is left out has its default.</summary>
/// <param name="Kind"><c>tcp</c>, <c>ping</c>, <c>guest</c> or <c>script</c>.</param>
/// <param name="Target"><c>host:port</c>, an address, nothing, or the plain name of a script of the host's own.</param>
/// <param name="EveryMs">From the end of one test to the next; 10 s.</param>
/// <param name="TimeoutMs">A test that has not ended by then has failed; 3 s.</param>
/// <param name="Failures">So many in a row, and <paramref name="Then"/> follows; 3.</param>
/// <param name="GraceMs">After a start of the VM, in which failures do not count; 60 s.</param>
/// <param name="Then"><c>restart</c>, also if left out, or <c>move</c>.</param>
public sealed record CheckerDocument(
    string? Name = null, string? Kind = null, string? Target = null, long? EveryMs = null, long? TimeoutMs = null, int? Failures = null,
    long? GraceMs = null, string? Then = null);

/// <param name="Host">The host that shall be the primary, or for <c>second</c> the secondary.</param>
/// <param name="OperationId">Repeat it to repeat the request; made by the server if left out.</param>
public sealed record PlaceRequest(string? Host = null, Guid? OperationId = null);

/// <param name="Begun"><c>swap</c>: its end stands in the module under the operation id; <c>start</c>: status shows how far it is; or <c>nothing</c>: it is so.</param>
public sealed record PlaceAccepted(Guid OperationId, string Begun);

/// <summary>The newest verify that a host of the pair has run, and how far it is.</summary>
/// <param name="Host">That ran it.</param>
/// <param name="Ordered">An order with another id that the host has not begun or refused yet, or null.</param>
/// <param name="Report">Null if no host has run one yet.</param>
public sealed record VerifyDocument(string? Host, Guid? Ordered, VerifyReport? Report);

/// <summary>A module in full: what was ordered, the arbiter's record with its history, what both hosts say.</summary>
/// <param name="Phase"><c>preparing</c> or <c>active</c>.</param>
/// <param name="Directory">The first of <paramref name="Directories"/>.</param>
public sealed record ModuleDocument(
    string Cluster, string Name, string Phase, string Directory, string Primary, string? Definition, ModuleStatus Status,
    CommandDocument? Command, ImmutableArray<CommandEndDocument> CommandEnds, ImmutableArray<HistoryDocument> History, VmDocument? VmSeen,
    ImmutableArray<string> Directories, ResyncLimitsDocument? ResyncLimits = null, VerifyDocument? Verify = null)
{
    public PolicyDocument Policy { get; init; } = new();

    public ImmutableArray<CheckerDocument> Checkers { get; init; } = [];

    /// <summary>By the last start: the host that shall become the primary; null: either, or it has become so.</summary>
    public string? WantedPrimary { get; init; }

    /// <summary>Why a module with a preferred primary has not gone back there; null if it is there, or has none.</summary>
    public string? FailbackWaits { get; init; }
}

public sealed record CommandDocument(Guid OperationId, string Kind);

public sealed record CommandEndDocument(Guid OperationId, bool Succeeded, string Reason, long UnixMs);

public sealed record HistoryDocument(
    long UnixMs, long Epoch, string? Primary, ImmutableArray<string> InSync, string Change, string By, string Cause);

public sealed record VmDocument(string Domain, string State, string Host, long SinceUnixMs);

public sealed record HealthDocument(string Status);

/// <summary>Everything an operator sees at a glance. Hosts and modules are named inside their cluster; roles in capitals.</summary>
public sealed record StatusDocument(ImmutableArray<ClusterStatus> Clusters);

/// <param name="Link"><c>tls</c> or <c>plaintext</c>.</param>
public sealed record ClusterStatus(
    string Name, long DetectionMs, ImmutableArray<HostStatus> Hosts, ImmutableArray<ModuleStatus> Modules, string Link)
{
    /// <summary>Of the cluster as a whole: what is missing after a restore of the control plane.</summary>
    public ImmutableArray<Problem> Problems { get; init; } = [];
}

/// <param name="Connected">To the control plane.</param>
/// <param name="LastSeenUnixMs">0 if never.</param>
/// <param name="PeerReachable">As this host says; null if it is not connected.</param>
public sealed record HostStatus(
    string Name, bool Joined, bool Connected, Guid? Incarnation, long LastSeenUnixMs, bool? PeerReachable, string? Hypervisor,
    string? SoftwareVersion, ImmutableArray<Problem> Problems)
{
    /// <summary>The networks to the peer in order of preference, as this host hears them; empty if it is not connected.</summary>
    public ImmutableArray<NetworkReport> Networks { get; init; } = [];
}

/// <param name="Run">Whether the operator wants it to run.</param>
/// <param name="Vm">Domain name, or null.</param>
/// <param name="Directory">The first of <paramref name="Directories"/>.</param>
public sealed record ModuleStatus(
    string Name, string Directory, string Phase, bool Run, RecordStatus Record, string? Vm, ImmutableArray<ModuleHostStatus> Hosts,
    ImmutableArray<string> Directories);

public sealed record RecordStatus(long Epoch, string? Primary, ImmutableArray<string> InSync);

/// <param name="Role">STOP, WAIT, ALONE, PRIM, SECOND; UNKNOWN while the host is not connected or has not reported.</param>
/// <param name="AsOfUnixMs">When the host said so; 0 if never.</param>
/// <param name="Verify">The newest verify that this host has run, as it last said; null if none.</param>
public sealed record ModuleHostStatus(
    string Host, string Role, bool Ready, string DataState, string Code, string Cause, long SinceUnixMs, string? VmState,
    RecordStatus? Record, ReplicationReport? Replication, ImmutableArray<Problem> Problems, ImmutableArray<EventReport> Events, long AsOfUnixMs,
    VerifyReport? Verify = null)
{
    /// <summary>What the host says of the module's checkers; null from a host that has said nothing of them, and tests nothing.</summary>
    public ImmutableArray<CheckerReport>? Checkers { get; init; }
}
