using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>A module's copy on this host, opened: its files, its durable marks, and what a resync's target keeps of it.</summary>
internal sealed record LocalCopy(ObjectStore Store, OlderCopy Older, MarkFiles MarkFiles, RecoveredMarks Marks, CacheTrust Trust) : IDisposable
{
    /// <param name="trust">Lives as long as the process works with the module.</param>
    /// <exception cref="StorageException">The copy or its marks cannot be used; the fault says why.</exception>
    public static LocalCopy Open(ReplicationOptions options, int logSlots, ResyncPart part, CacheTrust trust)
    {
        var (files, marks) = MarkFiles.Open(options.StateDirectory, logSlots, part);
        ObjectStore? store = null;
        try
        {
            store = options.OpenStore();
            if (trust.MustDrop && store.DropCache() is var error and not Errno.None)
                throw new StorageException("making the copy stable and dropping what the page cache holds of it", error);
            trust.Dropped();
            return new LocalCopy(store, OlderCopy.Open(store, options.Events.Noted), files, marks, trust);
        }
        catch
        {
            store?.Dispose();
            files.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        MarkFiles.Dispose();
        Older.Dispose();
        Store.Dispose();
    }
}
