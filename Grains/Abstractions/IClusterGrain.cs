using System.Collections.Immutable;
using System.Text.Json.Serialization;
using Orleans.Runtime;

namespace Pollux.Grains.Abstractions;

/// <summary>One host pair: its members, its policy, the names and directories of its modules. The key is the cluster's name.</summary>
[GrainInterfaceType("pollux.cluster"), Alias("pollux.IClusterGrain")]
public interface IClusterGrain : IGrainWithStringKey
{
    [Alias("Create")]
    Task<Outcome> CreateAsync(ClusterPolicy policy);

    /// <summary>Makes a host a member and returns its first join token.</summary>
    /// <param name="host">Name inside the cluster, not the grain key.</param>
    [Alias("AddHost")]
    Task<JoinTokenIssued> AddHostAsync(string host);

    /// <summary>Reserves name, directory and domain for a new module. Repeating it for the same module is harmless.</summary>
    [Alias("AdmitModule")]
    Task<ModuleAdmission> AdmitModuleAsync(ModuleEntry module, string initialHost);

    /// <summary>Gives the reservation back. Repeating it is harmless.</summary>
    [Alias("ReleaseModule")]
    Task ReleaseModuleAsync(string module);

    /// <summary>Takes what a host knows, while the cluster is recovered; otherwise it is of no use. Repeating it is harmless.</summary>
    /// <param name="host">Name inside the cluster.</param>
    [Alias("Recovered")]
    Task RecoveredAsync(string host, HostMemory memory);

    /// <summary>An operator's word on a module that is not decided after a restore. Repeating it is harmless.</summary>
    /// <param name="module">Name inside the cluster.</param>
    /// <param name="host">Name of the host whose report counts; null: neither host has the module, and it is to be forgotten.</param>
    /// <param name="epoch">Of that report.</param>
    [Alias("ConfirmRecord")]
    Task<Outcome> ConfirmRecordAsync(string module, string? host, long epoch);

    /// <summary>Null if there is no such cluster.</summary>
    [Alias("Read"), AlwaysInterleave]
    Task<ClusterView?> ReadAsync();
}

/// <param name="DetectionMs">Silence after which a peer counts as lost, milliseconds.</param>
/// <param name="ModulesMax">Most modules that the pair takes.</param>
/// <param name="Link">How replication data travels between the two hosts.</param>
[GenerateSerializer, Immutable, Alias("pollux.ClusterPolicy")]
public sealed record ClusterPolicy(
    [property: Id(0)] long DetectionMs, [property: Id(1)] int ModulesMax, [property: Id(2)] LinkSecurity Link = LinkSecurity.Tls)
{
    public const long DetectionMsDefault = 30_000;

    /// <summary>Below this a garbage collection or a busy disk looks like a lost host.</summary>
    public const long DetectionMsMin = 2_000;

    /// <summary>Above this nobody waits for a failover; a larger figure is a slip in the unit.</summary>
    public const long DetectionMsMax = 600_000;

    public const int ModulesMaxDefault = 32;

    public static readonly ClusterPolicy Default = new(DetectionMsDefault, ModulesMaxDefault);
}

/// <param name="Hosts">Names inside the cluster, at most two, in the order of joining the pair.</param>
[GenerateSerializer, Immutable, Alias("pollux.ClusterView")]
public sealed record ClusterView(
    [property: Id(0)] string Name,
    [property: Id(1)] ClusterPolicy Policy,
    [property: Id(2)] ImmutableArray<string> Hosts,
    [property: Id(3)] ImmutableArray<ModuleEntry> Modules)
{
    /// <summary>Null unless the cluster is being recovered after a restore: then nothing is granted and nothing changed.</summary>
    [Id(4)] public ClusterRecoveryView? Recovery { get; init; }

    /// <summary>It was made from its hosts' reports: its hosts may have a certificate without having joined by this database.</summary>
    [Id(5)] public bool Rebuilt { get; init; }
}

/// <param name="Module">Name inside the cluster.</param>
/// <param name="Directory">The first directory: an absolute path, the same on both hosts.</param>
/// <param name="Domain">The VM's domain name, or null.</param>
[GenerateSerializer, Immutable, Alias("pollux.ModuleEntry")]
public sealed record ModuleEntry(
    [property: Id(0)] string Module, [property: Id(1)] string Directory, [property: Id(2)] string? Domain)
{
    /// <summary>The second directory and those after it.</summary>
    [Id(3)] public ImmutableArray<string> FurtherDirectories { get; init; } = [];

    /// <summary>All directories in their order.</summary>
    [JsonIgnore] public ImmutableArray<string> Directories => FurtherDirectories.IsDefaultOrEmpty ? [Directory] : [Directory, .. FurtherDirectories];
}

/// <param name="Hosts">Grain keys of both hosts if admitted.</param>
[GenerateSerializer, Immutable, Alias("pollux.ModuleAdmission")]
public sealed record ModuleAdmission([property: Id(0)] ImmutableArray<string> Hosts, [property: Id(1)] Problem? Problem);

/// <param name="Secret">Base64url; shown once, only its hash is kept. Null if refused.</param>
/// <param name="ExpiresUnixMs">After this time the token is worthless.</param>
[GenerateSerializer, Immutable, Alias("pollux.JoinTokenIssued")]
public sealed record JoinTokenIssued(
    [property: Id(0)] string? Secret, [property: Id(1)] long ExpiresUnixMs, [property: Id(2)] Problem? Problem);
