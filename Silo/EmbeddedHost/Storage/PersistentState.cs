using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>A persistent state as the activation sees it.</summary>
internal interface IStateSlot
{
    Task ReadStateAsync();
}

/// <summary>A persistent state: holds value and ETag between the grain and its storage.</summary>
internal sealed class PersistentState<TState>(GrainId grainId, string stateName, IGrainStorage storage) : IPersistentState<TState>, IStateSlot
{
    private readonly GrainState<TState> _slot = new(Activator.CreateInstance<TState>());

    public TState State
    {
        get => _slot.State!;
        set => _slot.State = value;
    }

    public string? Etag => _slot.ETag;

    public bool RecordExists => _slot.RecordExists;

    public async Task ReadStateAsync()
    {
        await RunAsync("reading", storage.ReadStateAsync(stateName, grainId, _slot));
        _slot.State ??= Activator.CreateInstance<TState>();
    }

    public Task WriteStateAsync() => RunAsync("writing", storage.WriteStateAsync(stateName, grainId, _slot));

    public async Task ClearStateAsync()
    {
        await RunAsync("clearing", storage.ClearStateAsync(stateName, grainId, _slot));
        _slot.State = Activator.CreateInstance<TState>();
    }

    // As Orleans does: storage faults reach the grain as one kind of exception, a lost compare-and-set as its own.
    private async Task RunAsync(string what, Task operation)
    {
        try
        {
            await operation;
        }
        catch (Exception exception) when (exception is not OrleansException)
        {
            throw new OrleansException($"Error from storage while {what} state '{stateName}' of {grainId}: {exception.Message}", exception);
        }
    }
}
