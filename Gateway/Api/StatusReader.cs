using System.Collections.Immutable;
using System.Globalization;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Api;

/// <summary>Puts together what cluster, host and module grains know.</summary>
internal sealed class StatusReader(IGrainFactory grains, TimeProvider time)
{
    private const string Unknown = "UNKNOWN";

    /// <param name="only">One cluster, or null for all.</param>
    /// <returns>Null if the one is unknown.</returns>
    public async Task<StatusDocument?> ReadAsync(string? only)
    {
        var names = only is null ? await grains.GetGrain<IFleetGrain>(IFleetGrain.Key).ListAsync() : [only];
        var clusters = await Task.WhenAll(names.Select(ReadClusterAsync));
        return only is not null && clusters[0] is null ? null : new StatusDocument([.. clusters.OfType<ClusterStatus>()]);
    }

    /// <returns>Null if there is no such module.</returns>
    public async Task<ModuleDocument?> ReadModuleAsync(string cluster, string module)
    {
        var view = await grains.GetGrain<IMirrorModuleGrain>(GrainKey.Of(cluster, module)).ReadAsync();
        if (view is not { Phase: not ModulePhase.None, Spec: { } spec }) return null;
        var hosts = await Task.WhenAll(view.Hosts.Select(host => grains.GetGrain<IHostGrain>(host).ReadAsync()));
        var vm = spec.Vm is null ? null : await grains.GetGrain<IVmGrain>(GrainKey.Of(cluster, spec.Vm.Domain)).ReadAsync();
        return new ModuleDocument(
            cluster, module, PhaseText(view.Phase), spec.Directory, spec.InitialHost, spec.Vm?.DefinitionFile, Module(view, hosts),
            view.Command is { } command ? new CommandDocument(command.OperationId, command.Kind) : null,
            [.. view.CommandEnds.Select(end => new CommandEndDocument(end.OperationId, end.Succeeded, end.Reason, end.UnixMs))],
            [.. view.History.Select(entry => new HistoryDocument(
                entry.UnixMs, entry.Epoch, Name(entry.Primary), Names(entry.InSync), entry.Change, GrainKey.NameOf(entry.By), entry.Cause))],
            vm is null ? null : new VmDocument(vm.Domain, vm.State, GrainKey.NameOf(vm.Host), vm.SinceUnixMs), spec.Directories,
            spec.Resync is { } resync ? new ResyncLimitsDocument(resync.BytesPerSecondMin, resync.BytesPerSecondMax) : null,
            Verify(view, hosts))
        {
            Policy = Policy(spec.PolicyInForce),
            Checkers = [.. spec.CheckersInForce.Select(CheckerEndpoints.ToDocument)],
            WantedPrimary = Name(view.Wanted?.Host),
            FailbackWaits = view.FailbackWaits,
        };
    }

    internal static PolicyDocument Policy(ModulePolicy policy) => new(
        !policy.FailoverOff, !policy.StaysDownAtBoot, policy.RestartsMax, policy.RestartWindowMs, policy.StartPriority, policy.Preferred, policy.FailbackHoldMs, !policy.ChecksOff);

    private static VerifyDocument? Verify(ModuleView view, HostView[] hosts)
    {
        var newest = hosts.SelectMany(host => host.Modules.Where(report => report.Module == view.Module && report.Verify is not null), (host, report) => (host.Host, report.Verify))
            .OrderByDescending(said => said.Verify!.StartedUnixMs).FirstOrDefault();
        var ordered = view.Verify is { Stop: false } order && !hosts.Any(host => host.Modules.Any(report => report.Verify?.OperationId == order.OperationId)) ? order.OperationId : (Guid?)null;
        return newest.Verify is null && ordered is null ? null : new VerifyDocument(Name(newest.Host), ordered, newest.Verify);
    }

    private async Task<ClusterStatus?> ReadClusterAsync(string name)
    {
        if (await grains.GetGrain<IClusterGrain>(name).ReadAsync() is not { } cluster) return null;
        var hosts = await Task.WhenAll(cluster.Hosts.Select(host => grains.GetGrain<IHostGrain>(GrainKey.Of(name, host)).ReadAsync()));
        var modules = await Task.WhenAll(cluster.Modules.Select(
            module => grains.GetGrain<IMirrorModuleGrain>(GrainKey.Of(name, module.Module)).ReadAsync()));
        return new ClusterStatus(
            name, cluster.Policy.DetectionMs, [.. hosts.Select(Host)],
            [.. modules.Where(module => module.Phase != ModulePhase.None).Select(module => Module(module, hosts))
                .OrderBy(module => module.Name, StringComparer.Ordinal)],
            LinkText.Of(cluster.Policy.Link))
        {
            Problems =
            [
                .. cluster.Recovery?.Problems ?? [],
                .. modules.Where(module => module.Forgotten).Select(module => Problems.RecordOlder(module.Module)),
                .. hosts.Where(host => host.Ahead).Select(host => Problems.OrdersOlder(host.Host)),
            ],
        };
    }

    private HostStatus Host(HostView host) => new(
        GrainKey.NameOf(host.Host), host.Joined, host.Connected, host.Session?.Incarnation, host.LastSeenUnixMs,
        host.Connected ? host.PeerReachable : null, host.Session?.Hypervisor, host.Session?.SoftwareVersion, HostProblems(host))
    {
        Networks = host.Networks,
    };

    private ImmutableArray<Problem> HostProblems(HostView host) =>
        host.Connected ? [.. host.Networks.Where(network => !network.Up && host.PeerReachable).Select(network => Problems.NetworkDown(host.Host, network, host.Networks.Length))]
        : !host.Joined ? [Problems.HostNotJoined(host.Host)]
        : [Problems.HostUnreachable(host.Host, host.LastSeenUnixMs == 0 ? -1 : time.GetUtcNow().ToUnixTimeMilliseconds() - host.LastSeenUnixMs)];

    private static ModuleStatus Module(ModuleView module, HostView[] hosts) => new(
        GrainKey.NameOf(module.Module), module.Spec!.Directory, PhaseText(module.Phase), module.Run, Record(module.Record!), module.Spec.Vm?.Domain,
        [.. hosts.Where(host => module.Hosts.Contains(host.Host)).Select(host => ModuleHost(module, host))], module.Spec.Directories);

    private static ModuleHostStatus ModuleHost(ModuleView module, HostView host)
    {
        var name = GrainKey.NameOf(host.Host);
        var said = host.Modules.FirstOrDefault(report => report.Module == module.Module);
        if (host.Connected && said is not null && IsBehind(module, host.Host, said))
            return new ModuleHostStatus(
                name, Unknown, false, said.DataState, "host.behind",
                $"At {Clock(host.LastSeenUnixMs)} it said {said.Role} in epoch {said.Record.Epoch}; the record has moved on to epoch {module.Record!.Epoch} since.",
                said.SinceUnixMs, said.VmState, Record(said.Record), said.Replication, said.Problems, said.Events, host.LastSeenUnixMs, said.Verify);
        if (host.Connected && said is not null)
            return new ModuleHostStatus(
                name, said.Role, said.Ready, said.DataState, said.Code, said.Cause, said.SinceUnixMs, said.VmState, Record(said.Record),
                said.Replication, said.Problems, said.Events, host.LastSeenUnixMs, said.Verify)
            {
                Checkers = said.Checkers,
            };
        var cause = host.Connected ? "The host has not reported on this module yet."
            : said is null ? "The host is not connected to the control plane."
            : $"The host is not connected to the control plane. At {Clock(host.LastSeenUnixMs)} it said {said.Role}, {said.DataState}.";
        return new ModuleHostStatus(
            name, Unknown, false, "Unknown", host.Connected ? "host.no-report" : "host.unreachable", cause, host.LastSeenUnixMs, null, null, null,
            [], said?.Events ?? [], host.LastSeenUnixMs, said?.Verify);
    }

    /// <summary>Its word of being the primary is overtaken: it may be gone, and its silence not yet long enough to say so.</summary>
    private static bool IsBehind(ModuleView module, string host, ModuleReport said) =>
        said.Role is "PRIM" or "ALONE" && module.Record!.Primary != host && said.Record.Epoch < module.Record.Epoch;

    private static RecordStatus Record(RecordView record) => new(record.Epoch, Name(record.Primary), Names(record.InSync));

    private static string? Name(string? host) => host is null ? null : GrainKey.NameOf(host);

    private static ImmutableArray<string> Names(ImmutableArray<string> hosts) => [.. hosts.Select(GrainKey.NameOf)];

    private static string PhaseText(ModulePhase phase) => phase == ModulePhase.Active ? "active" : "preparing";

    private static string Clock(long unixMs) =>
        DateTimeOffset.FromUnixTimeMilliseconds(unixMs).ToString("HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}
