using System.Collections.Immutable;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>Who and what a cluster takes in. Each answers null if it may, else why not.</summary>
public static class ClusterMembership
{
    /// <summary>A pair.</summary>
    public const int HostsMax = 2;

    /// <summary>Status and desired state of a pair with so many stay within the message limit of the host protocol.</summary>
    public const int ModulesMaxMax = 256;

    public static Problem? Policy(ClusterPolicy policy) =>
        policy.DetectionMs is < ClusterPolicy.DetectionMsMin or > ClusterPolicy.DetectionMsMax ? Problems.BadDetection(policy.DetectionMs)
        : policy.ModulesMax is < 1 or > ModulesMaxMax ? Problems.BadModulesMax(policy.ModulesMax)
        : null;

    public static Problem? Host(string cluster, ImmutableArray<string> hosts, string host) =>
        GrainKey.Check("host", host)
        ?? (hosts.Contains(host) ? Problems.HostExists(cluster, host) : null)
        ?? (hosts.Length >= HostsMax ? Problems.ClusterFull(cluster, hosts[0], hosts[1]) : null);

    public static Problem? Module(ClusterView cluster, ModuleEntry module, string initialHost)
    {
        if (cluster.Hosts.Length < HostsMax) return Problems.ClusterIncomplete(cluster.Name, cluster.Hosts.Length);
        if (!cluster.Hosts.Contains(initialHost)) return Problems.InitialHostForeign(cluster.Name, initialHost);
        foreach (var other in cluster.Modules)
        {
            if (other.Module == module.Module) return Problems.ModuleExists(GrainKey.Of(cluster.Name, module.Module));
            foreach (var taken in other.Directories)
                foreach (var wanted in module.Directories)
                    if (Overlap(taken, wanted)) return Problems.DirectoryTaken(wanted, other.Module, taken);
            if (module.Domain is { } domain && other.Domain == domain) return Problems.DomainTaken(domain, other.Module);
        }
        return cluster.Modules.Length >= cluster.Policy.ModulesMax ? Problems.ModuleLimit(cluster.Name, cluster.Policy.ModulesMax) : null;
    }

    /// <summary>Equal, or one inside the other.</summary>
    public static bool Overlap(string a, string b) =>
        a == b || a.StartsWith(b + "/", StringComparison.Ordinal) || b.StartsWith(a + "/", StringComparison.Ordinal);
}
