namespace Pollux.DataPlane.Storage;

/// <summary>The namespace of a module as one value: what a resync makes equal before it copies content.</summary>
public static class Manifest
{
    /// <summary>Every object of the store, in no order. No mutation runs meanwhile; writes may, so a size may already be outdated.</summary>
    /// <exception cref="StorageException">An object has no id yet (see <see cref="ObjectStore.AdoptUnnamed"/>), or the disk fails.</exception>
    public static IReadOnlyList<ManifestEntry> Snapshot(ObjectStore store) => store.SnapshotManifest();
}

/// <summary>Makes a store's tree equal to a manifest.</summary>
public static class ManifestApplier
{
    /// <summary>Creates, moves, removes and sets attributes until the tree is the manifest's. It can be repeated, after a crash in the
    /// middle too, and moves nothing by copying. Returns when the result is stable.</summary>
    /// <returns>The files whose whole content must come: new ones, and those of earlier calls for which <see cref="ContentArrived"/> was not
    /// called. They are remembered on disk.</returns>
    /// <exception cref="StorageException">The manifest describes no tree (nothing has changed then), or the disk fails or is full.</exception>
    public static IReadOnlyList<ulong> Apply(ObjectStore store, IReadOnlyCollection<ManifestEntry> entries) => store.ApplyManifest(entries);

    /// <summary>All content has arrived and is flushed: no file waits for its whole content any more. To be called before the copy
    /// is stored as UpToDate; returns when this is stable.</summary>
    /// <exception cref="StorageException">The disk fails.</exception>
    public static void ContentArrived(ObjectStore store) => store.ForgetPending();
}
