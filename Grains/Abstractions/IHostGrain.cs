using System.Collections.Immutable;
using Orleans.Runtime;

namespace Pollux.Grains.Abstractions;

/// <summary>One host: how it joined, its session, what it shall do and what it says of itself. The key is <c>cluster/host</c>.</summary>
/// <remarks>
/// Level-triggered. What a host shall do is read from its cluster and modules on every look and numbered when it differs from the
/// look before; the observer is only a hint to look sooner. Calls go from hosts to modules by interleaving reads and from modules to
/// hosts by interleaving reads and hints, so no two grains wait for each other.
/// </remarks>
[GrainInterfaceType("pollux.host"), Alias("pollux.IHostGrain")]
public interface IHostGrain : IGrainWithStringKey
{
    /// <summary>Makes a new one-time token; an older one that was not used is void.</summary>
    [Alias("IssueToken")]
    Task<JoinTokenIssued> IssueTokenAsync();

    /// <summary>Uses the token up and binds the host to the key pair that asked. Repeating it with the same key is harmless;
    /// a host that joins anew with a new token replaces its former key.</summary>
    /// <param name="secret">As issued.</param>
    /// <param name="publicKeyHash">Lower-case hex SHA-256 of the key's SubjectPublicKeyInfo.</param>
    [Alias("Join")]
    Task<Outcome> JoinAsync(string secret, string publicKeyHash);

    /// <summary>Opens a session; the one before, if any, is superseded.</summary>
    [Alias("OpenSession")]
    Task<Outcome> OpenSessionAsync(HostSession session, IHostSessionObserver observer);

    [Alias("CloseSession")]
    Task CloseSessionAsync(Guid sessionId);

    /// <summary>Takes the host's newest report.</summary>
    [Alias("Report")]
    Task<SessionStanding> ReportAsync(Guid sessionId, HostReport report);

    /// <summary>Assembles what the host shall do now.</summary>
    [Alias("Desired")]
    Task<DesiredAnswer> DesiredAsync(Guid sessionId);

    /// <summary>Desired state may have changed: look soon. A hint; losing it costs one poll interval.</summary>
    [Alias("Hint"), OneWay, AlwaysInterleave]
    Task HintAsync();

    [Alias("Read"), AlwaysInterleave]
    Task<HostView> ReadAsync();

    /// <summary>The addresses the host gave when it last connected.</summary>
    [Alias("ReadAddresses"), AlwaysInterleave]
    Task<HostAddresses> ReadAddressesAsync();

    /// <summary>What the host last said about one module.</summary>
    /// <param name="recordIncarnation">Words about a former module of the same name do not count.</param>
    [Alias("ReadModule"), AlwaysInterleave]
    Task<HostWord> ReadModuleAsync(string module, Guid recordIncarnation);
}

/// <summary>A gateway's end of a host's session.</summary>
[GrainInterfaceType("pollux.host-session-observer"), Alias("pollux.IHostSessionObserver")]
public interface IHostSessionObserver : IGrainObserver
{
    [Alias("DesiredChanged"), OneWay]
    Task DesiredChangedAsync();
}

/// <param name="SessionId">Made by the gateway for each connection.</param>
/// <param name="Incarnation">The run of the host's process.</param>
/// <param name="PublicKeyHash">Of the certificate presented, as in <see cref="IHostGrain.JoinAsync"/>.</param>
/// <param name="PeerAddress">Where the peer reaches its beacons, <c>address:port</c>.</param>
/// <param name="ReplicationAddress">Where the peer reaches its replication listener, <c>address:port</c>.</param>
/// <param name="Hypervisor">Name and version, or null if none answers.</param>
[GenerateSerializer, Immutable, Alias("pollux.HostSession")]
public sealed record HostSession(
    [property: Id(0)] Guid SessionId,
    [property: Id(1)] Guid Incarnation,
    [property: Id(2)] string PublicKeyHash,
    [property: Id(3)] string SoftwareVersion,
    [property: Id(4)] string PeerAddress,
    [property: Id(5)] string ReplicationAddress,
    [property: Id(6)] int Processors,
    [property: Id(7)] long MemoryBytes,
    [property: Id(8)] string? Hypervisor)
{
    /// <summary>All networks in order of preference; null if there is only the one above.</summary>
    [Id(9)] public ImmutableArray<HostNetwork>? Networks { get; init; }

    /// <summary>Version of the desired state that the host has; 0 if none, or of an earlier release.</summary>
    [Id(10)] public long DesiredVersion { get; init; }
}

/// <summary>Where the peer reaches a host over one network, <c>address:port</c> each.</summary>
[GenerateSerializer, Immutable, Alias("pollux.HostNetwork")]
public sealed record HostNetwork([property: Id(0)] string PeerAddress, [property: Id(1)] string ReplicationAddress);

[GenerateSerializer, Alias("pollux.SessionStanding")]
public enum SessionStanding
{
    Current,

    /// <summary>A newer session of the host exists: end this one.</summary>
    Superseded,

    /// <summary>The grain was activated anew and knows of no session: open it again.</summary>
    Forgotten,
}

[GenerateSerializer, Immutable, Alias("pollux.HostAddresses")]
public sealed record HostAddresses([property: Id(0)] string? PeerAddress, [property: Id(1)] string? ReplicationAddress)
{
    /// <summary>All networks in order of preference; null if there is only the one above.</summary>
    [Id(2)] public ImmutableArray<HostNetwork>? Networks { get; init; }

    public bool Equals(HostAddresses? other) =>
        other is not null && PeerAddress == other.PeerAddress && ReplicationAddress == other.ReplicationAddress
        && (Networks ?? []).SequenceEqual(other.Networks ?? []);

    public override int GetHashCode() => HashCode.Combine(PeerAddress, ReplicationAddress, Networks?.Length);
}

/// <param name="Report">Null if the host is not connected or has not said anything about the module yet.</param>
[GenerateSerializer, Immutable, Alias("pollux.HostWord")]
public sealed record HostWord([property: Id(0)] bool Connected, [property: Id(1)] ModuleReport? Report);

/// <param name="Desired">Null unless the session is current.</param>
[GenerateSerializer, Immutable, Alias("pollux.DesiredAnswer")]
public sealed record DesiredAnswer([property: Id(0)] SessionStanding Standing, [property: Id(1)] DesiredHost? Desired)
{
    /// <summary>The host shall say what it knows, for this generation; null as a rule. Then there is no desired state.</summary>
    [Id(2)] public long? Recover { get; init; }
}

/// <param name="Version">Grows with each change.</param>
/// <param name="Peer">Grain key of the other host, or null while there is none.</param>
[GenerateSerializer, Immutable, Alias("pollux.DesiredHost")]
public sealed record DesiredHost(
    [property: Id(0)] long Version,
    [property: Id(1)] string? Peer,
    [property: Id(2)] HostAddresses PeerAddresses,
    [property: Id(3)] long DetectionMs,
    [property: Id(4)] ImmutableArray<ModuleOrder> Modules,
    [property: Id(5)] LinkSecurity Link)
{
    /// <summary>The cluster's whole policy, for the host to keep; null in a desired state of an earlier release.</summary>
    [Id(6)] public ClusterPolicy? Policy { get; init; }
}

/// <param name="Connected">A session is open and the host was heard within the heartbeat deadline.</param>
/// <param name="LastSeenUnixMs">0 if never.</param>
/// <param name="DesiredVersion">Newest version assembled.</param>
/// <param name="AnsweredVersion">Version that the newest report answers.</param>
/// <param name="Modules">The newest report, also of a host that is away: then as it was at <paramref name="LastSeenUnixMs"/>.</param>
[GenerateSerializer, Immutable, Alias("pollux.HostView")]
public sealed record HostView(
    [property: Id(0)] string Host,
    [property: Id(1)] bool Joined,
    [property: Id(2)] bool Connected,
    [property: Id(3)] HostSession? Session,
    [property: Id(4)] long LastSeenUnixMs,
    [property: Id(5)] bool PeerReachable,
    [property: Id(6)] long DesiredVersion,
    [property: Id(7)] long AnsweredVersion,
    [property: Id(8)] ImmutableArray<ModuleReport> Modules)
{
    /// <summary>As in <see cref="HostReport.Networks"/>; empty of a host that is away.</summary>
    [Id(9)] public ImmutableArray<NetworkReport> Networks { get; init; } = [];

    /// <summary>It knows more than the database, which so has been restored without a declaration: it gets no orders.</summary>
    [Id(10)] public bool Ahead { get; init; }
}
