using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>Ids for objects that have none when serving begins.</summary>
/// <remarks>Epoch first: no two primacies give the same id. The highest id of the tree guards against one that was restored from elsewhere. One
/// epoch may be served more than once, and its highest objects may be gone by then: what was reserved is never given again.</remarks>
internal sealed class ObjectIds(ObjectStore store, long epoch)
{
    /// <summary>Object ids that one durable write reserves.</summary>
    private const uint IdsReserved = 4096;

    private ulong _last = Math.Max(Math.Max((ulong)epoch << 32, store.HighestId), store.ReservedId());

    /// <summary>The highest id that was ever given or reserved.</summary>
    public ulong Reserved { get; private set; } = Math.Max(Math.Max((ulong)epoch << 32, store.HighestId), store.ReservedId());

    /// <exception cref="StorageException">The reservation could not be stored.</exception>
    public ulong Next()
    {
        if (_last == Reserved)
        {
            var error = store.ReserveIds(Reserved + IdsReserved);
            if (error != 0)
                throw new StorageException("reserving object ids", error);
            Reserved += IdsReserved;
        }
        return ++_last;
    }
}
