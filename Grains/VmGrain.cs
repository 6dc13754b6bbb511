using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

[GrainType("pollux.vm")]
public sealed class VmGrain : Grain, IVmGrain
{
    private readonly DurableState<VmState> _state;

    public VmGrain([PersistentState(GrainStateNames.Vm, GrainStateNames.Storage)] IPersistentState<VmState> storage) =>
        _state = new(storage, DeactivateOnIdle);

    public async Task SightedAsync(VmSighting sighting)
    {
        var known = _state.Value.View;
        var merged = VmKnowledge.Merge(GrainKey.NameOf(this.GetPrimaryKeyString()), known, sighting);
        if (merged != known) await _state.SaveAsync(_state.Value with { View = merged });
    }

    public Task<VmView?> ReadAsync() => Task.FromResult(_state.Value.View);
}
