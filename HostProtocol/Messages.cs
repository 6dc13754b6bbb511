using System.Collections.Immutable;
using System.Text.Json.Serialization;

namespace Pollux.HostProtocol;

/// <summary>The dialogue of a host with the gateway: one WebSocket over mutual TLS 1.3, dialled by the host; one JSON text message per value.</summary>
/// <remarks>
/// The first message up is <see cref="HostHello"/>, the first down <see cref="Welcome"/> or <see cref="Goodbye"/>. Everything after is
/// level-triggered: the newest <see cref="DesiredState"/> replaces the older one, the newest <see cref="ObservedState"/> likewise.
/// Arbitration is request and answer by operation id. A message that does not parse, is over the size limit or comes from
/// a host other than its certificate says ends the session with <see cref="Goodbye"/>.
/// </remarks>
public static class HostProtocolLimits
{
    /// <summary>Version of this dialogue. A gateway refuses another major version with <c>protocol.version</c>.</summary>
    public const int Version = 1;

    /// <summary>Largest message, bytes: 32 modules with history stay under 256 KiB; four times that leaves room.</summary>
    public const int MessageBytesMax = 1024 * 1024;

    /// <summary>The WebSocket's path at the gateway.</summary>
    public const string Path = "/hosts/v1/session";
}

[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
[JsonDerivedType(typeof(HostHello), "hello")]
[JsonDerivedType(typeof(ObservedState), "observed")]
[JsonDerivedType(typeof(ArbitrationRequest), "arbitrate")]
[JsonDerivedType(typeof(Ping), "ping")]
[JsonDerivedType(typeof(Recovered), "recovered")]
public abstract record HostMessage;

[JsonPolymorphic(TypeDiscriminatorPropertyName = "type")]
[JsonDerivedType(typeof(Welcome), "welcome")]
[JsonDerivedType(typeof(Goodbye), "goodbye")]
[JsonDerivedType(typeof(DesiredState), "desired")]
[JsonDerivedType(typeof(ArbitrationAnswer), "arbitrated")]
[JsonDerivedType(typeof(Pong), "pong")]
[JsonDerivedType(typeof(Recover), "recover")]
public abstract record GatewayMessage;

/// <param name="Host">Grain key of the host, <c>cluster/host</c>; must equal the certificate's.</param>
/// <param name="Incarnation">This run of the host's process.</param>
/// <param name="PeerAddress">Where the peer reaches this host's beacons, <c>address:port</c>.</param>
/// <param name="ReplicationAddress">Where the peer reaches this host's replication listener, <c>address:port</c>.</param>
public sealed record HostHello(
    int ProtocolVersion, string Host, Guid Incarnation, string SoftwareVersion, string PeerAddress, string ReplicationAddress,
    HostCapacity Capacity) : HostMessage
{
    /// <summary>All networks in order of preference, the first one included; null if there is only that. At most <see cref="HostNetwork.CountMax"/>.</summary>
    public ImmutableArray<HostNetwork>? Networks { get; init; }

    /// <summary>This host answers <see cref="Recover"/>. Hosts of earlier releases do not.</summary>
    public bool Recovers { get; init; }

    /// <summary>Version of the desired state that the host has; 0 if none.</summary>
    public long DesiredVersion { get; init; }
}

/// <summary>Where the peer reaches a host over one network, <c>address:port</c> each.</summary>
public sealed record HostNetwork(string PeerAddress, string ReplicationAddress)
{
    public const int CountMax = 4;
}

/// <param name="Hypervisor">Name and version, for example <c>QEMU 7.2.0 / libvirt 9.0.0</c>, or null if none answers.</param>
public sealed record HostCapacity(int Processors, long MemoryBytes, string? Hypervisor);

public sealed record Welcome(int ProtocolVersion, string Host, string Cluster) : GatewayMessage;

/// <summary>The gateway ends the session; the host shows the reason and retries with back-off.</summary>
public sealed record Goodbye(string Code, string Reason) : GatewayMessage;

/// <summary>Keeps the session's liveness visible to both; sent by the host every 5 s, answered at once.</summary>
public sealed record Ping(long Sequence) : HostMessage;

public sealed record Pong(long Sequence) : GatewayMessage;

/// <summary>All that this host shall do. Modules that are absent are to be released and forgotten.</summary>
/// <param name="Version">Grows with each change; echoed in <see cref="ObservedState.DesiredVersion"/>.</param>
/// <param name="Peer">The other host of the cluster, or null while it has none.</param>
public sealed record DesiredState(long Version, PeerHost? Peer, ImmutableArray<DesiredModule> Modules) : GatewayMessage
{
    /// <summary>The cluster's policy in the control plane's own form. A host only keeps it, for a control plane that has lost its database.</summary>
    public string? ClusterText { get; init; }
}

/// <param name="Host">Grain key of the peer, <c>cluster/host</c>.</param>
/// <param name="PeerAddress">As it said in its hello; null until it has connected once. Hosts keep the last known one durably.</param>
public sealed record PeerHost(string Host, string? PeerAddress, string? ReplicationAddress)
{
    /// <summary>As in <see cref="HostHello.Networks"/>.</summary>
    public ImmutableArray<HostNetwork>? Networks { get; init; }
}

public enum ModulePhase
{
    /// <summary>Check that the module can live here (directory, room, definition) and report <see cref="ObservedModule.Preparation"/>; change nothing lasting.</summary>
    Preparing,

    /// <summary>Accepted on both hosts.</summary>
    Active,
}

/// <param name="Module">Key <c>cluster/module</c>.</param>
/// <param name="Directory">The first directory: an absolute path, the same on both hosts. It holds the VM's definition.</param>
/// <param name="Vm">Null for a module without a VM: the directory is replicated and served, nothing is started.</param>
/// <param name="InitialHost">The host whose directory holds the data when the module is created.</param>
/// <param name="Record">The arbiter's record as of now, so that a host that has none can begin.</param>
/// <param name="Command">A one-shot command that is not yet done, or null.</param>
/// <param name="Link"><c>tls</c> or <c>plaintext</c>: how the module's data travels to the peer. Anything else, and nothing, means <c>tls</c>.</param>
/// <param name="ResyncLimits">Null: the host's own defaults.</param>
/// <param name="Verify">The newest order to compare the copies, or null.</param>
public sealed record DesiredModule(
    string Module, ModulePhase Phase, string Directory, VmSpec? Vm, string InitialHost, long DetectionMs, bool Run,
    RecordMessage Record, ModuleCommand? Command, string? Link = null, ResyncLimitsMessage? ResyncLimits = null, VerifyOrder? Verify = null)
{
    public const string TlsLink = "tls";
    public const string PlaintextLink = "plaintext";

    /// <summary>Directories of one module.</summary>
    public const int DirectoriesMax = 8;

    /// <summary>The second directory and those after it; the order is the same on both hosts. Absent: the module has one.</summary>
    public ImmutableArray<string> FurtherDirectories
    {
        get;
        init => field = value.IsDefault ? [] : value;
    } = [];

    /// <summary>All directories in their order.</summary>
    [JsonIgnore]
    public ImmutableArray<string> Directories => [Directory, .. FurtherDirectories];

    /// <summary>The module's spec, without its directories, in the control plane's own form. A host only keeps it, for a control plane that has lost
    /// its database.</summary>
    public string? SpecText { get; init; }

    /// <summary>Absent: what the host knows holds on.</summary>
    public ModulePolicyMessage? Policy { get; init; }

    /// <summary>Grows with each start by command.</summary>
    public long Starts { get; init; }

    /// <summary>At a start: the host that shall become primary, <c>cluster/host</c>, while the record is at <see cref="WantedEpoch"/>; null: either.</summary>
    public string? WantedPrimary { get; init; }

    public long WantedEpoch { get; init; }

    /// <summary>What the host that serves the module tests while its VM runs; absent: nothing. Hosts of earlier releases test nothing.</summary>
    public ImmutableArray<CheckerMessage> Checkers
    {
        get;
        init => field = value.IsDefault ? [] : value;
    } = [];
}

/// <summary>A test of what runs in a module. A host that does not know the kind, or what is to follow, says so and does not test.</summary>
/// <param name="Kind"><c>tcp</c>, <c>ping</c>, <c>guest</c> or <c>script</c>.</param>
/// <param name="Target"><c>host:port</c>, an address, nothing, or the plain name of a script of the host's own.</param>
/// <param name="EveryMs">From the end of one test to the next.</param>
/// <param name="TimeoutMs">A test that has not ended by then has failed.</param>
/// <param name="Failures">So many in a row, and <paramref name="Then"/> follows: <c>restart</c> or <c>move</c>.</param>
/// <param name="GraceMs">After a start of the VM; failures do not count before.</param>
public sealed record CheckerMessage(
    string Name, string Kind, string? Target, long EveryMs, long TimeoutMs, int Failures, long GraceMs, string Then);

/// <summary>What hosts keep to also while the control plane is away.</summary>
/// <param name="FailoverOff">A secondary does not take over from a lost primary.</param>
/// <param name="StaysDownAtBoot">A host that has booted does not run the module before the next start by command.</param>
/// <param name="RestartsMax">A crashing VM is started again so often within the window.</param>
/// <param name="StartPriority">1 first, 9 last.</param>
public sealed record ModulePolicyMessage(bool FailoverOff, bool StaysDownAtBoot, int RestartsMax, long RestartWindowMs, int StartPriority)
{
    /// <summary>Nothing is tested, and nothing follows.</summary>
    public bool ChecksOff { get; init; }
}

/// <param name="Domain">libvirt's domain name.</param>
/// <param name="DefinitionFile">File name of the domain XML inside the module's directory: it is replicated with the data.</param>
public sealed record VmSpec(string Domain, string DefinitionFile);

/// <param name="Kind"><see cref="Swap"/>, <see cref="Restart"/> or <see cref="FullResync"/>.</param>
public sealed record ModuleCommand(Guid OperationId, string Kind)
{
    public const string Swap = "swap";
    public const string Restart = "restart";
    public const string FullResync = "full-resync";
}

/// <param name="BytesPerSecondMin">Kept up beside guests as far as disk and link allow.</param>
/// <param name="BytesPerSecondMax">0: no limit.</param>
public sealed record ResyncLimitsMessage(long BytesPerSecondMin, long BytesPerSecondMax);

/// <summary>Compare both copies online, once for each operation id.</summary>
/// <param name="Host">The primary when it was ordered: only this host begins it.</param>
/// <param name="Repair">What differs on the secondary is made equal to the primary.</param>
/// <param name="BytesPerSecondMax">0: no limit.</param>
/// <param name="Stop">It shall end.</param>
public sealed record VerifyOrder(Guid OperationId, string Host, bool Repair, long BytesPerSecondMax, bool Stop);

public sealed record RecordMessage(Guid Incarnation, long Epoch, string? Primary, ImmutableArray<string> InSync)
{
    /// <summary>The host whose copy an operator has declared to be the module in this epoch; null as a rule, and from earlier versions.</summary>
    public string? Declared { get; init; }
}

/// <summary>Everything operators can see of this host.</summary>
public sealed record ObservedState(long DesiredVersion, bool PeerReachable, ImmutableArray<ObservedModule> Modules) : HostMessage
{
    /// <summary>The networks to the peer in order of preference; null from a host that knows only one.</summary>
    public ImmutableArray<ObservedNetwork>? Networks { get; init; }
}

/// <summary>How a host hears its peer over one network.</summary>
/// <param name="Number">From 1, in order of preference.</param>
/// <param name="PeerAddress">What is dialled there, <c>address:port</c>.</param>
/// <param name="Up">A connection stands and is not silent.</param>
/// <param name="SilentMs">Since the last message that came back over it; null before the first.</param>
/// <param name="RoundTripMicroseconds">Of the last ping that was answered; null before the first.</param>
/// <param name="Status">For people: connected, or why not.</param>
public sealed record ObservedNetwork(int Number, string PeerAddress, bool Up, long? SilentMs, long? RoundTripMicroseconds, string Status);

/// <param name="Role">STOP, WAIT, ALONE, PRIM or SECOND.</param>
/// <param name="Code">Stable code of why it is so, for example <c>wait.arbiter</c>.</param>
/// <param name="Cause">One sentence for people.</param>
/// <param name="SinceUnixMs">When this role, readiness and code began.</param>
/// <param name="VmState"><c>running</c>, <c>paused</c>, <c>stopped</c>, <c>unknown</c>, or null without a VM.</param>
/// <param name="Preparation">The verdict on <see cref="ModulePhase.Preparing"/>, or null if there is none yet.</param>
/// <param name="Problems">What is wrong now, most important first; empty if all is well.</param>
/// <param name="Events">The newest entries of the module's history on this host, at most <see cref="EventsMax"/>, oldest first.</param>
/// <param name="CommandResults">Ends of recent commands, at most 8.</param>
/// <param name="Verify">Null if this host never ran one.</param>
public sealed record ObservedModule(
    string Module, string Role, bool Ready, string DataState, RecordMessage Record, string Code, string Cause, long SinceUnixMs,
    string? VmState, ObservedReplication Replication, PreparationVerdict? Preparation,
    ImmutableArray<ObservedProblem> Problems, ImmutableArray<ModuleEvent> Events, ImmutableArray<CommandResult> CommandResults, ObservedVerify? Verify = null)
{
    public const int EventsMax = 64;

    /// <summary>What this host says of the module's checkers; null from a host of an earlier release, which tests nothing.</summary>
    public ImmutableArray<ObservedChecker>? Checkers { get; init; }
}

/// <param name="State"><c>well</c>; <c>failing</c>: not often enough in a row yet; <c>unwell</c>: so often that something is to be done; <c>grace</c>: the VM
/// has just started; <c>resting</c>: the VM does not run on this host, or waits for something that is not its fault; <c>off</c>: by the operator;
/// <c>unable</c>: it cannot be tested, which counts as neither.</param>
/// <param name="SinceUnixMs">When that began; failing and unwell count from the first failure.</param>
/// <param name="Reason">Of the last test that was not well, or why it is not tested; empty if there is none.</param>
/// <param name="Next">What follows, or what was done, in words.</param>
public sealed record ObservedChecker(string Name, string State, long SinceUnixMs, int FailuresInRow, string Reason, string Next);

/// <param name="ResyncSkippedBytes">Of what is done, found equal and not sent.</param>
/// <param name="ResyncRemainingSeconds">At the present rate; null while there is none.</param>
/// <param name="ResyncLimits">In force on this host; null where it does not serve.</param>
public sealed record ObservedReplication(
    bool SessionUp, bool Resyncing, bool FullResync, long DirtyBytes, long ResyncTotalBytes, long ResyncDoneBytes,
    double ResyncBytesPerSecond, int HeldOperations, string? WaitingFor, long ResyncSkippedBytes = 0, long ResyncLeftBytes = 0,
    double? ResyncRemainingSeconds = null, ResyncLimitsMessage? ResyncLimits = null)
{
    /// <summary>Number of the network that the replication runs over, as the host sees it that dialled; null if none does, or from the other host.</summary>
    public int? Network { get; init; }
}

/// <summary>The newest verify that this host has run; it outlives a restart of the host.</summary>
/// <param name="State"><c>running</c>, <c>completed</c>, <c>stopped</c>, or <c>failed</c>: it could not begin or not finish.</param>
/// <param name="Reason">Why it failed, or null.</param>
/// <param name="BytesPerSecondMax">0: no limit.</param>
/// <param name="DoneBytes">Of <paramref name="TotalBytes"/>, the content of all files when it began.</param>
/// <param name="SkippedBytes">Not compared, because the file went meanwhile.</param>
/// <param name="DoneEntries">Of <paramref name="TotalEntries"/>: files, directories and links whose names, owners, modes and attributes are compared.</param>
/// <param name="Repaired">Everything that differed has been made equal and is stable on both hosts.</param>
/// <param name="ResyncFollows">The trees differ, and a resync makes them equal.</param>
/// <param name="Differences">The first ones, at most <see cref="DifferencesMax"/>.</param>
/// <param name="MoreDifferences">How many of the list there are beyond.</param>
public sealed record ObservedVerify(
    Guid OperationId, string State, bool Repair, long StartedUnixMs, long? EndedUnixMs, string? Reason, long BytesPerSecondMax, long TotalBytes,
    long DoneBytes, long SkippedBytes, long DifferentBytes, long RepairedBytes, int TotalEntries, int DoneEntries, int DifferentEntries, bool Repaired,
    bool ResyncFollows, ImmutableArray<VerifyDifference> Differences, int MoreDifferences)
{
    public const int DifferencesMax = 20;
    public const string Running = "running";
    public const string Completed = "completed";
    public const string Stopped = "stopped";
    public const string Failed = "failed";
}

/// <param name="Path">In the module's directory.</param>
/// <param name="OffsetBytes">Of the range that differs; null if something else does.</param>
/// <param name="What"><c>content</c>, or what else in words: <c>mode, owner</c>.</param>
public sealed record VerifyDifference(string Path, long? OffsetBytes, long? LengthBytes, string What);

public sealed record PreparationVerdict(bool Accepted, ObservedProblem? Problem);

/// <param name="Code">Stable, for example <c>module.directory-missing</c>.</param>
public sealed record ObservedProblem(string Code, string Title, string Impact, string Cause, string Action);

/// <param name="Kind">Stable dotted name, for example <c>takeover.asked</c>, <c>vm.started</c>, <c>guest.first-write</c>, <c>resync.ended</c>.</param>
/// <param name="TraceId">W3C trace id when the event belongs to a trace, else null.</param>
public sealed record ModuleEvent(long UnixMs, string Kind, string Text, string? TraceId);

public sealed record CommandResult(Guid OperationId, bool Succeeded, string Reason);

/// <summary>A request to the arbiter. Repeated by the host with the same id until an answer comes.</summary>
/// <param name="Change"><c>look</c>, <c>takeover</c>, <c>exclude</c>, <c>join</c> or <c>handover</c>.</param>
/// <param name="By">The asking host, <c>cluster/host</c>; must equal the session's.</param>
public sealed record ArbitrationRequest(
    Guid OperationId, string Module, Guid RecordIncarnation, long ExpectedEpoch, string Change, string By, string Peer,
    string? TraceParent) : HostMessage;

/// <param name="Outcome"><c>granted</c>, <c>refused</c>, or <c>unknown</c> when the control plane itself could not learn it.</param>
public sealed record ArbitrationAnswer(Guid OperationId, string Module, string Outcome, RecordMessage? Record, string Reason) : GatewayMessage;
