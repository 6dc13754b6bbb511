using System.Globalization;
using System.Text;
using Pollux.Gateway.Api;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Commands;

/// <summary>Status for people: a line per host and per module, below it whatever is not as it should be, with its reason.</summary>
internal static class StatusText
{
    public static string Of(StatusDocument status, long nowUnixMs)
    {
        if (status.Clusters.IsEmpty) return "No clusters. Create one: pollux cluster create NAME\n";
        var text = new StringBuilder();
        foreach (var cluster in status.Clusters)
        {
            text.Append(CultureInfo.InvariantCulture, $"cluster {cluster.Name}   detection {Durations.Text(cluster.DetectionMs)}   link {cluster.Link}\n");
            foreach (var problem in cluster.Problems) text.Append(ProblemText.Of(problem, "  "));
            foreach (var host in cluster.Hosts) text.Append(Host(host, nowUnixMs));
            foreach (var module in cluster.Modules) text.Append(Module(module, nowUnixMs));
            if (cluster.Hosts.Length < 2) text.Append(CultureInfo.InvariantCulture, $"  ~ {2 - cluster.Hosts.Length} of two hosts missing: pollux host add {cluster.Name}/NAME\n");
        }
        return text.ToString();
    }

    /// <summary>One line: wish, epoch, role and data state of both hosts, VM, resync.</summary>
    public static string ModuleLine(ModuleStatus module)
    {
        var hosts = string.Join("   ", module.Hosts.Select(host => $"{host.Host} {host.Role}{(host.Ready ? "" : "…")} {host.DataState}"));
        return $"  module {module.Name}   {Wish(module)}   epoch {module.Record.Epoch}   {hosts}{Vm(module)}{Resync(module)}";
    }

    private static string Wish(ModuleStatus module) => module.Phase == "preparing" ? "preparing" : module.Run ? "run" : "stop";

    private static string Host(HostStatus host, long nowUnixMs)
    {
        var seen = host.LastSeenUnixMs == 0 ? "never seen" : $"last seen {Durations.Text(nowUnixMs - host.LastSeenUnixMs)} ago";
        var state = !host.Joined ? "not joined" : host.Connected ? "connected" : $"NOT CONNECTED, {seen}";
        var peer = host.PeerReachable switch { true => ", peer reachable", false => ", peer NOT reachable", null => "" };
        var hypervisor = host.Connected ? $"   {host.Hypervisor ?? "no hypervisor"}" : "";
        return $"  host {host.Name}   {state}{peer}{Networks(host)}{hypervisor}\n" + string.Concat(host.Problems.Select(problem => ProblemText.Of(problem, "    ", host.Name)));
    }

    /// <summary>How many there are, where there is a choice; which are down stands below as a problem.</summary>
    private static string Networks(HostStatus host) =>
        host.Networks.Length > 1 ? $", {host.Networks.Count(network => network.Up)} of {host.Networks.Length} networks up" : "";

    private static string Module(ModuleStatus module, long nowUnixMs)
    {
        var text = new StringBuilder(ModuleLine(module)).Append('\n');
        foreach (var host in module.Hosts)
        {
            var waiting = host.Replication?.WaitingFor is { } what ? $" Waits for: {what}." : "";
            var held = host.Replication is { HeldOperations: > 0 and var count } ? $" {count} operations held." : "";
            if (!host.Ready || waiting != "" || held != "")
                text.Append(CultureInfo.InvariantCulture, $"    ~ {host.Host}: {host.Code}{Since(host, nowUnixMs)}: {host.Cause}{waiting}{held}\n");
            if (host.Verify is { State: "running" } verify) text.Append(CultureInfo.InvariantCulture, $"    ~ {host.Host}: {VerifyText.Line(verify)}\n");
            foreach (var problem in host.Problems) text.Append(ProblemText.Of(problem, "    ", host.Host));
        }
        return text.ToString();
    }

    private static string Since(ModuleHostStatus host, long nowUnixMs) =>
        host.SinceUnixMs > 0 ? $" for {Durations.Text(nowUnixMs - host.SinceUnixMs)}" : "";

    private static string Vm(ModuleStatus module)
    {
        if (module.Vm is null) return "";
        var host = module.Hosts.FirstOrDefault(host => host.VmState is "running") ?? module.Hosts.FirstOrDefault(host => host.VmState is "paused");
        return host is null ? $"   VM {module.Vm} not running" : $"   VM {module.Vm} {host.VmState} on {host.Host}";
    }

    private static string Resync(ModuleStatus module)
    {
        foreach (var host in module.Hosts)
        {
            if (host.Replication is { Resyncing: true, ResyncTotalBytes: > 0 } replication) return "   " + Resync(replication);
            if (host.Replication is { Resyncing: false, DirtyBytes: > 0 } behind && host.Role is "ALONE" or "PRIM")
                return $"   {Bytes(host.Replication.DirtyBytes)} to resync";
        }
        return "";
    }

    private static string Resync(ReplicationReport resync)
    {
        var eta = resync.ResyncRemainingSeconds is { } seconds ? $", {Durations.Text((long)Math.Min(seconds * 1000, long.MaxValue / 2))} left" : "";
        var percent = (int)(100.0 * Math.Min(resync.ResyncDoneBytes, resync.ResyncTotalBytes) / resync.ResyncTotalBytes);
        return $"{(resync.FullResync ? "full resync" : "resync")} {percent} % of {Bytes(resync.ResyncTotalBytes)}, {Bytes(resync.ResyncLeftBytes)} to go, {Bytes((long)resync.ResyncBytesPerSecond)}/s{eta}";
    }

    internal static string Bytes(long bytes) => bytes switch
    {
        < 10_240 => $"{bytes} B",
        < 10_485_760 => $"{bytes / 1024} KiB",
        < 10_737_418_240 => $"{bytes / 1_048_576} MiB",
        _ => $"{bytes / 1_073_741_824} GiB",
    };
}
