using Orleans.Runtime;

namespace Pollux.Grains;

/// <summary>A grain's state of which readers see only what is stored.</summary>
/// <remarks>Interleaving reads run while a write is under way: they get the value before it, never one that may yet fail. A failed
/// write has an unknown outcome: the grain is deactivated, and the next activation reads what holds. Until then this value stays, and
/// a further write fails on the ETag.</remarks>
internal sealed class DurableState<T>(IPersistentState<T> storage, Action deactivate)
    where T : class, new()
{
    private T? _before;

    public T Value => _before ?? storage.State;

    public bool Exists => storage.RecordExists;

    /// <summary>Takes what is stored now, for a turn that no write can be under way in.</summary>
    public Task ReadAgainAsync() => storage.ReadStateAsync();

    public Task SaveAsync(T next) => StoreAsync(next, storage.WriteStateAsync);

    public Task ClearAsync() => StoreAsync(new T(), storage.ClearStateAsync);

    private async Task StoreAsync(T next, Func<Task> store)
    {
        var before = _before = storage.State;
        storage.State = next;
        try
        {
            await store();
        }
        catch
        {
            storage.State = before;
            deactivate();
            throw;
        }
        finally
        {
            _before = null;
        }
    }
}
