using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>A manifest that has been proven to describe a tree: it comes from the network and decides what is deleted.</summary>
internal sealed class ManifestTree
{
    private ManifestTree(Dictionary<ulong, ManifestEntry> byId, List<ManifestEntry> directories) => (ById, Directories) = (byId, directories);

    public IReadOnlyDictionary<ulong, ManifestEntry> ById { get; }

    /// <summary>All directories except the root, each after its parent.</summary>
    public IReadOnlyList<ManifestEntry> Directories { get; }

    public bool Names(ulong obj, ulong parent, byte[] name)
    {
        if (!ById.TryGetValue(obj, out var entry))
            return false;
        foreach (var link in entry.Links)
        {
            if (link.Parent == parent && link.Name.AsSpan().SequenceEqual(name))
                return true;
        }
        return false;
    }

    /// <exception cref="StorageException">It is no tree.</exception>
    public static ManifestTree Check(IReadOnlyCollection<ManifestEntry> entries, Func<ulong, bool> isValidId, int objectsMax)
    {
        if (entries.Count > objectsMax)
            throw Invalid($"more than {objectsMax} objects");
        var byId = new Dictionary<ulong, ManifestEntry>(entries.Count);
        foreach (var entry in entries)
        {
            if (!byId.TryAdd(entry.Object, entry))
                throw Invalid($"object {entry.Object:x} is listed twice");
        }
        if (!byId.TryGetValue(ObjectStore.RootObject, out var root) || !StMode.IsDirectory(root.Mode) || root.Links.Count != 0)
            throw Invalid("there is no root");
        var used = new Dictionary<ulong, HashSet<byte[]>>();
        var children = new Dictionary<ulong, List<ManifestEntry>>();
        foreach (var entry in entries)
        {
            if (entry != root)
                CheckEntry(entry, isValidId);
            foreach (var link in entry.Links)
            {
                if (!byId.TryGetValue(link.Parent, out var parent) || !StMode.IsDirectory(parent.Mode))
                    throw Invalid($"object {entry.Object:x} lies in {link.Parent:x}, which is no directory");
                if (EntryName.Check(link.Name) != 0 || EntryName.IsReserved(link.Parent, link.Name))
                    throw Invalid($"object {entry.Object:x} has an impossible name");
                if (!(used.TryGetValue(link.Parent, out var names) ? names : used[link.Parent] = new(NameComparer.Instance)).Add(link.Name))
                    throw Invalid($"a name in directory {link.Parent:x} is used twice");
                if (StMode.IsDirectory(entry.Mode))
                    (children.TryGetValue(link.Parent, out var list) ? list : children[link.Parent] = []).Add(entry);
            }
        }
        var directories = new List<ManifestEntry>();
        var waiting = new Queue<ulong>([ObjectStore.RootObject]);
        while (waiting.TryDequeue(out var at))
        {
            foreach (var child in children.GetValueOrDefault(at) ?? [])
            {
                directories.Add(child);
                waiting.Enqueue(child.Object);
            }
        }
        // Every directory but the root has one link, so those that were not reached form a cycle.
        return directories.Count == entries.Count(e => StMode.IsDirectory(e.Mode)) - 1 ? new(byId, directories) : throw Invalid("directories form a cycle");
    }

    private static void CheckEntry(ManifestEntry entry, Func<ulong, bool> isValidId)
    {
        if (!isValidId(entry.Object))
            throw Invalid($"{entry.Object:x} is no object id");
        if ((entry.Mode & StMode.TypeMask) is not (StMode.Regular or StMode.Directory or StMode.SymbolicLink or StMode.Pipe or StMode.Socket
            or StMode.BlockDevice or StMode.CharacterDevice))
            throw Invalid($"object {entry.Object:x} has no type");
        if (StMode.IsDirectory(entry.Mode) && entry.Links.Count != 1)
            throw Invalid($"directory {entry.Object:x} has {entry.Links.Count} names");
        if (entry.SizeBytes < 0)
            throw Invalid($"object {entry.Object:x} has a negative size");
    }

    private static StorageException Invalid(string how) => new(StorageFault.InvalidManifest, $"The manifest is invalid: {how}.");
}
