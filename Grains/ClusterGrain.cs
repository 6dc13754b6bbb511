using Microsoft.Extensions.Logging;
using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

[GrainType("pollux.cluster")]
public sealed partial class ClusterGrain : Grain, IClusterGrain
{
    private readonly DurableState<ClusterState> _state;
    private readonly ControlGeneration _generation;
    private readonly ILogger<ClusterGrain> _log;

    public ClusterGrain(
        [PersistentState(GrainStateNames.Cluster, GrainStateNames.Storage)] IPersistentState<ClusterState> storage,
        ControlGeneration generation, ILogger<ClusterGrain> log)
    {
        _state = new(storage, DeactivateOnIdle);
        _generation = generation;
        _log = log;
    }

    private string Name => this.GetPrimaryKeyString();

    private ClusterView View => new(Name, _state.Value.Policy, _state.Value.Hosts, _state.Value.Modules)
    {
        Recovery = RecoveryView,
        Rebuilt = _state.Value.Rebuilt,
    };

    public async Task<Outcome> CreateAsync(ClusterPolicy policy)
    {
        if ((GrainKey.Check("cluster", Name) ?? ClusterMembership.Policy(policy)) is { } problem) return Outcome.Refused(problem);
        var existed = _state.Exists;
        // After a declared restore also this one waits until both hosts have said what they have: they may be older than the database.
        if (!existed) await _state.SaveAsync(new ClusterState { Policy = policy });
        // Also for one that exists: a crash may have come between the two writes.
        await GrainFactory.GetGrain<IFleetGrain>(IFleetGrain.Key).EnlistAsync(Name);
        return existed ? Outcome.Refused(Problems.ClusterExists(Name)) : Outcome.Done;
    }

    public async Task<JoinTokenIssued> AddHostAsync(string host)
    {
        if (GrainKey.Check("host", host) is { } badName) return new JoinTokenIssued(null, 0, badName);
        if (!_state.Exists) return new JoinTokenIssued(null, 0, Problems.ClusterUnknown(Name));
        if (ClusterMembership.Host(Name, _state.Value.Hosts, host) is { } problem) return new JoinTokenIssued(null, 0, problem);
        // Member first: a token for a host that is none could be used, a member without token asks for one again.
        await _state.SaveAsync(_state.Value with { Hosts = _state.Value.Hosts.Add(host) });
        return await GrainFactory.GetGrain<IHostGrain>(GrainKey.Of(Name, host)).IssueTokenAsync();
    }

    public async Task<ModuleAdmission> AdmitModuleAsync(ModuleEntry module, string initialHost)
    {
        if (!_state.Exists) return new ModuleAdmission([], Problems.ClusterUnknown(Name));
        if (Recovering) return new ModuleAdmission([], Problems.ClusterRecovering(Name));
        if (!_state.Value.Modules.Contains(module))
        {
            if (ClusterMembership.Module(View, module, initialHost) is { } problem) return new ModuleAdmission([], problem);
            await _state.SaveAsync(_state.Value with { Modules = _state.Value.Modules.Add(module) });
        }
        return new ModuleAdmission([.. _state.Value.Hosts.Select(host => GrainKey.Of(Name, host))], null);
    }

    public async Task ReleaseModuleAsync(string module)
    {
        var left = _state.Value.Modules.RemoveAll(entry => entry.Module == module);
        if (left.Length != _state.Value.Modules.Length) await _state.SaveAsync(_state.Value with { Modules = left });
    }

    public Task<ClusterView?> ReadAsync() => Task.FromResult(_state.Exists ? View : null);
}
