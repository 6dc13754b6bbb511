using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>A module's copy on this host, opened: its files, its durable marks, and what a resync's target keeps of it.</summary>
internal sealed record LocalCopy(ObjectStore Store, OlderCopy Older, MarkFiles MarkFiles, RecoveredMarks Marks) : IDisposable
{
    /// <exception cref="StorageException">The copy or its marks cannot be used; the fault says why.</exception>
    public static LocalCopy Open(ReplicationOptions options, int logSlots, ResyncPart part)
    {
        var (files, marks) = MarkFiles.Open(options.StateDirectory, logSlots, part);
        ObjectStore? store = null;
        try
        {
            store = options.OpenStore();
            return new LocalCopy(store, OlderCopy.Open(store, options.Events.Noted), files, marks);
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
