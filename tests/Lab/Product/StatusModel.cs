using System.Text.Json;

namespace Pollux.Lab.Product;

/// <summary>What the lab reads of GET /api/v1/status. Unknown members are ignored; absent lists are empty.</summary>
public sealed record FleetStatus(IReadOnlyList<ClusterStatus>? Clusters)
{
    public static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
}

public sealed record ClusterStatus(string Name, long DetectionMs, IReadOnlyList<HostStatus>? Hosts, IReadOnlyList<ModuleStatus>? Modules,
    IReadOnlyList<ProblemStatus>? Problems = null);

public sealed record HostStatus(string Name, bool Connected);

public sealed record RecordStatus(long Epoch, string? Primary, IReadOnlyList<string>? InSync);

public sealed record ModuleStatus(
    string Name, string Directory, bool Run, RecordStatus? Record, IReadOnlyList<ModuleOnHost>? Hosts)
{
    /// <summary>The module on a host; host names may be given with or without their cluster.</summary>
    public ModuleOnHost? On(string host) => Hosts?.FirstOrDefault(one => ShortName(one.Host) == host);

    /// <summary>The host that runs the module, by its own word: PRIM or ALONE, ready.</summary>
    public string? ReadyPrimary =>
        Hosts?.Where(one => one is { Role: "PRIM" or "ALONE", Ready: true }).Select(one => ShortName(one.Host)).SingleOrDefault();

    /// <summary>One host is PRIM and ready, the other SECOND and ready: both hold every acknowledged write.</summary>
    public bool IsMirrored =>
        Hosts is { Count: 2 } && Hosts.Any(one => one is { Role: "PRIM", Ready: true }) && Hosts.Any(one => one is { Role: "SECOND", Ready: true });

    /// <summary>Each host was heard at or after this moment. Before that the control plane shows what a host said last, up to the time
    /// after which it calls it unreachable: a fault that has just been healed need not show at all.</summary>
    public bool IsHeardSince(DateTimeOffset moment) => Hosts is { } hosts && hosts.All(one => one.AsOfUnixMs >= moment.ToUnixTimeMilliseconds());

    /// <summary>The record names both hosts as holding every acknowledged write.</summary>
    public bool BothInSync => Record?.InSync is { Count: 2 };

    public bool IsStopped => Hosts is { Count: 2 } && Hosts.All(one => one is { Role: "STOP", Ready: true });

    /// <summary>One line for messages.</summary>
    public override string ToString() =>
        $"{Name}: record epoch {Record?.Epoch} primary {Record?.Primary} in sync {{{string.Join(", ", Record?.InSync ?? [])}}}; "
        + string.Join("; ", (Hosts ?? []).Select(one => one.ToString()));

    public static string ShortName(string host) => host[(host.LastIndexOf('/') + 1)..];
}

public sealed record ModuleOnHost(
    string Host, string Role, bool Ready, string DataState, string Code, string Cause, string? VmState,
    ReplicationStatus? Replication, IReadOnlyList<ProblemStatus>? Problems, IReadOnlyList<EventStatus>? Events, long AsOfUnixMs)
{
    public override string ToString() =>
        $"{ModuleStatus.ShortName(Host)} {Role}{(Ready ? "" : "…")} {DataState} vm={VmState} [{Code}] {Cause}"
        + (Replication is { Resyncing: true } r ? $" resync {r.ResyncDoneBytes}/{r.ResyncTotalBytes}" : "")
        + (Replication?.WaitingFor is { } waiting ? $" waits for {waiting}" : "");
}

public sealed record ReplicationStatus(
    bool SessionUp, bool Resyncing, bool FullResync, long DirtyBytes, long ResyncTotalBytes, long ResyncDoneBytes, int HeldOperations, string? WaitingFor);

public sealed record ProblemStatus(string Code, string? Title, string? Cause, string? Action);

public sealed record EventStatus(long UnixMs, string Kind, string Text, string? TraceId);

/// <summary>What the lab reads of <c>pollux-host status --json</c>: a host's own word, with or without a control plane.</summary>
public sealed record LocalStatus(LocalObserved Observed)
{
    /// <summary>The module on this host; names come with or without their cluster.</summary>
    public LocalModule? On(string module) => Observed.Modules.FirstOrDefault(one => ModuleStatus.ShortName(one.Module) == module);
}

public sealed record LocalObserved(IReadOnlyList<LocalModule> Modules, IReadOnlyList<LocalNetwork>? Networks);

public sealed record LocalNetwork(int Number, string PeerAddress, bool Up, string Status);

public sealed record LocalModule(string Module, string Role, bool Ready, string Code, string Cause, string? VmState, LocalReplication? Replication, IReadOnlyList<ProblemStatus>? Problems);

public sealed record LocalReplication(bool SessionUp, int? Network);
