using System.Collections.Immutable;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

/// <summary>Recovery of the cluster after a restore or a loss of the database (rule S10).</summary>
/// <remarks>
/// <code>
/// database older than the declaration ──hosts report──► reports stored ──each module decided──► recovered: orders go out again
/// </code>
/// Reports and confirmations are stored before they are used; everything else is looked at again on each wake-up, so a crash at any point costs
/// a second. Calls go from here to modules, and a module that is not recovered calls nobody.
/// </remarks>
public sealed partial class ClusterGrain
{
    /// <summary>A person may wait for it; each look is a call for each module.</summary>
    private static readonly TimeSpan FollowInterval = TimeSpan.FromSeconds(1);

    private IGrainTimer? _follow;

    /// <summary>What the modules said last, by name; lost with the activation and found anew by the next look.</summary>
    private ImmutableSortedDictionary<string, Problem> _open = ImmutableSortedDictionary<string, Problem>.Empty;
    private Problem? _foreignPeer;

    private bool Recovering => _state.Value.Generation != _generation.Number;

    private ClusterRecovery Progress => _state.Value.Recovery is { } progress && progress.Generation == _generation.Number
        ? progress
        : new ClusterRecovery { Generation = _generation.Number };

    private ClusterRecoveryView? RecoveryView => Recovering ? new ClusterRecoveryView(_generation.Number, [.. OpenProblems()]) : null;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        FollowIfRecovering();
        return Task.CompletedTask;
    }

    public async Task RecoveredAsync(string host, HostMemory memory)
    {
        if (!Recovering || memory.Generation != _generation.Number) return;
        var before = _state.Exists ? _state.Value : new ClusterState { Policy = memory.Policy ?? ClusterPolicy.Default, Rebuilt = true };
        var hosts = memory.Peer is { } peer && peer != host ? before.Hosts.Union([host, peer]).ToImmutableArray() : before.Hosts.Union([host]).ToImmutableArray();
        if (hosts.Length > ClusterMembership.HostsMax)
        {
            _foreignPeer = Problems.ClusterForeignPeer(Name, host, memory.Peer ?? "not known");
            return;
        }
        var others = Progress.Reports.RemoveAll(report => report.Host == host);
        await _state.SaveAsync(before with { Hosts = hosts, Recovery = Progress with { Reports = others.Add(new HostRecollection(host, memory)) } });
        // Each time: a crash may have come between the two writes.
        if (before.Rebuilt) await GrainFactory.GetGrain<IFleetGrain>(IFleetGrain.Key).EnlistAsync(Name);
        LogReported(Name, host, memory.Modules.Length);
        FollowIfRecovering();
        await FollowAsync();
    }

    public async Task<Outcome> ConfirmRecordAsync(string module, string? host, long epoch)
    {
        if (!_state.Exists) return Outcome.Refused(Problems.ClusterUnknown(Name));
        var key = GrainKey.Of(Name, module);
        if (!Recovering) return Outcome.Refused(Problems.ConfirmNotAsked(key));
        var word = new RecordConfirmation(key, host is null ? null : GrainKey.Of(Name, host), epoch) { By = OperatorContext.Current };
        if (!Progress.Confirmed.Any(known => known with { By = word.By } == word))
        {
            await FollowAsync();
            if (!Recovering || !_open.TryGetValue(module, out var problem) || !Answers(problem, module, word)) return Outcome.Refused(Problems.ConfirmNotAsked(key));
            LogConfirmed(Name, module, host ?? "nobody", epoch, word.By);
            var others = Progress.Confirmed.RemoveAll(confirmed => confirmed.Module == key);
            await _state.SaveAsync(_state.Value with { Recovery = Progress with { Confirmed = others.Add(word) } });
        }
        await FollowAsync();
        return Outcome.Done;
    }

    /// <summary>A word counts on what was shown, or on nothing: the epoch must be the one that the host has reported.</summary>
    private bool Answers(Problem problem, string module, RecordConfirmation word) => word.Host is null
        ? problem.Code == Problems.RecordForgottenCode
        : Testimonies(module).Any(one => one.Host == word.Host && one.HasRecord && one.Record!.Epoch == word.Epoch);

    private void FollowIfRecovering()
    {
        if (!Recovering || !_state.Exists || Progress.Reports.IsEmpty) return;
        _follow ??= this.RegisterGrainTimer(FollowAsync, new GrainTimerCreationOptions(TimeSpan.Zero, FollowInterval));
    }

    private async Task FollowAsync()
    {
        if (Recovering && _state.Exists && !Progress.Reports.IsEmpty) await RecoverModulesAsync();
        if (Recovering) return;
        _follow?.Dispose();
        _follow = null;
    }

    private async Task RecoverModulesAsync()
    {
        var generation = _generation.Number;
        var names = _state.Value.Modules.Select(entry => entry.Module)
            .Union(Progress.Reports.SelectMany(report => report.Memory.Modules, (_, memory) => memory.Module)).ToImmutableArray();
        var recovered = await Task.WhenAll(names.Select(async module => (Module: module, Result: await GrainFactory
            .GetGrain<IMirrorModuleGrain>(GrainKey.Of(Name, module)).RecoverAsync(new ModuleRecovery(generation, Testimonies(module), Confirmed(module))))));

        _open = recovered.Where(one => one.Result.Problem is not null).ToImmutableSortedDictionary(one => one.Module, one => one.Result.Problem!);
        if (!_open.IsEmpty || !IsComplete) return;
        await _state.SaveAsync(_state.Value with
        {
            Modules = [.. recovered.Select(one => one.Result.Entry).OfType<ModuleEntry>()],
            Generation = generation,
            Recovery = null,
        });
        _foreignPeer = null;
        LogRecovered(Name, recovered.Length);
        foreach (var host in _state.Value.Hosts) await GrainFactory.GetGrain<IHostGrain>(GrainKey.Of(Name, host)).HintAsync();
    }

    /// <summary>Whether no host that may yet report can have a module that nobody here knows: it would be told to release it. An operator who has
    /// confirmed a record without a host has judged that host to be gone; the other one has the modules of the pair.</summary>
    private bool IsComplete =>
        !Progress.Confirmed.IsEmpty || (Silent.IsEmpty && _state.Value.Hosts.Length == ClusterMembership.HostsMax);

    private ImmutableArray<string> Silent => _state.Value.Hosts.RemoveAll(host => Progress.Reports.Any(report => report.Host == host));

    private ImmutableArray<HostTestimony> Testimonies(string module) => [.. _state.Value.Hosts.Select(host =>
    {
        var report = Progress.Reports.FirstOrDefault(report => report.Host == host);
        return new HostTestimony(
            GrainKey.Of(Name, module), GrainKey.Of(Name, host), report is not null, report?.Memory.Modules.FirstOrDefault(memory => memory.Module == module));
    })];

    private RecordConfirmation? Confirmed(string module) => Progress.Confirmed.FirstOrDefault(word => word.Module == GrainKey.Of(Name, module));

    private IEnumerable<Problem> OpenProblems()
    {
        if (_foreignPeer is { } foreign) yield return foreign;
        if (_open.IsEmpty) yield return Problems.ClusterReportsMissing(Name, Progress.Reports.IsEmpty ? [] : Silent);
        foreach (var problem in _open.Values) yield return problem;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Host reported after a restore cluster={Cluster} host={Host} modules={Modules}")]
    private partial void LogReported(string cluster, string host, int modules);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Record confirmed by an operator cluster={Cluster} module={Module} host={Host} epoch={Epoch} operator={Operator}")]
    private partial void LogConfirmed(string cluster, string module, string host, long epoch, string @operator);

    [LoggerMessage(Level = LogLevel.Information, Message = "Cluster recovered after a restore cluster={Cluster} modules={Modules}")]
    private partial void LogRecovered(string cluster, int modules);
}
