using System.Collections.Immutable;
using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.State;

namespace Pollux.Grains;

[GrainType("pollux.fleet")]
public sealed class FleetGrain : Grain, IFleetGrain
{
    private readonly DurableState<FleetState> _state;

    public FleetGrain([PersistentState(GrainStateNames.Fleet, GrainStateNames.Storage)] IPersistentState<FleetState> storage) =>
        _state = new(storage, DeactivateOnIdle);

    public async Task EnlistAsync(string cluster)
    {
        var clusters = _state.Value.Clusters;
        if (clusters.Contains(cluster)) return;
        await _state.SaveAsync(_state.Value with { Clusters = clusters.Add(cluster).Sort(StringComparer.Ordinal) });
    }

    public Task<ImmutableArray<string>> ListAsync() => Task.FromResult(_state.Value.Clusters);
}
