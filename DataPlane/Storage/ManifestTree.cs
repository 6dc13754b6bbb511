using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>A manifest that has been proven to describe a tree: it comes from the network and decides what is deleted.</summary>
internal sealed class ManifestTree
{
    private ManifestTree(Dictionary<ulong, ManifestEntry> byId, List<ManifestEntry> directories) => (ById, Directories) = (byId, directories);

    public IReadOnlyDictionary<ulong, ManifestEntry> ById { get; }

    /// <summary>All directories except the roots, each after its parent.</summary>
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
    public static ManifestTree Check(IReadOnlyCollection<ManifestEntry> entries, Func<ulong, bool> isValidId, int objectsMax, int directories)
    {
        if (entries.Count > objectsMax)
            throw Invalid($"more than {objectsMax} objects");
        var byId = new Dictionary<ulong, ManifestEntry>(entries.Count);
        foreach (var entry in entries)
        {
            if (!byId.TryAdd(entry.Object, entry))
                throw Invalid($"object {entry.Object:x} is listed twice");
        }
        for (var i = 0; i < directories; i++)
        {
            if (!byId.TryGetValue(ModuleRoots.Of(i), out var root) || !StMode.IsDirectory(root.Mode) || root.Links.Count != 0 || root.Directory != i)
                throw Invalid($"there is no root of directory {i + 1}");
        }
        if (byId.ContainsKey(ModuleRoots.Of(directories)))
            throw Invalid($"it has more directories than the {directories} of the module here");
        var used = new Dictionary<ulong, HashSet<byte[]>>();
        var children = new Dictionary<ulong, List<ManifestEntry>>();
        foreach (var entry in entries)
        {
            if (!IsRoot(entry.Object))
                CheckEntry(entry, isValidId, directories);
            foreach (var link in entry.Links)
            {
                if (!byId.TryGetValue(link.Parent, out var parent) || !StMode.IsDirectory(parent.Mode))
                    throw Invalid($"object {entry.Object:x} lies in {link.Parent:x}, which is no directory");
                if (parent.Directory != entry.Directory)
                    throw Invalid($"object {entry.Object:x} of directory {entry.Directory + 1} has a name in directory {parent.Directory + 1}");
                if (EntryName.Check(link.Name) != 0 || EntryName.IsReserved(link.Parent, link.Name))
                    throw Invalid($"object {entry.Object:x} has an impossible name");
                if (!(used.TryGetValue(link.Parent, out var names) ? names : used[link.Parent] = new(NameComparer.Instance)).Add(link.Name))
                    throw Invalid($"a name in directory {link.Parent:x} is used twice");
                if (StMode.IsDirectory(entry.Mode))
                    (children.TryGetValue(link.Parent, out var list) ? list : children[link.Parent] = []).Add(entry);
            }
        }
        var below = new List<ManifestEntry>();
        var waiting = new Queue<ulong>(Enumerable.Range(0, directories).Select(ModuleRoots.Of));
        while (waiting.TryDequeue(out var at))
        {
            foreach (var child in children.GetValueOrDefault(at) ?? [])
            {
                below.Add(child);
                waiting.Enqueue(child.Object);
            }
        }
        // Every directory but the roots has one link, so those that were not reached form a cycle.
        return below.Count == entries.Count(e => StMode.IsDirectory(e.Mode)) - directories ? new(byId, below) : throw Invalid("directories form a cycle");

        bool IsRoot(ulong obj) => ModuleRoots.Contains(obj) && ModuleRoots.IndexOf(obj) < directories;
    }

    private static void CheckEntry(ManifestEntry entry, Func<ulong, bool> isValidId, int directories)
    {
        if (!isValidId(entry.Object))
            throw Invalid($"{entry.Object:x} is no object id");
        if ((entry.Mode & StMode.TypeMask) is not (StMode.Regular or StMode.Directory or StMode.SymbolicLink or StMode.Pipe or StMode.Socket
            or StMode.BlockDevice or StMode.CharacterDevice))
            throw Invalid($"object {entry.Object:x} has no type");
        if (StMode.IsDirectory(entry.Mode) && entry.Links.Count != 1)
            throw Invalid($"directory {entry.Object:x} has {entry.Links.Count} names");
        if (entry.Directory < 0 || entry.Directory >= directories)
            throw Invalid($"object {entry.Object:x} lies in no directory");
        if (entry.SizeBytes < 0)
            throw Invalid($"object {entry.Object:x} has a negative size");
    }

    private static StorageException Invalid(string how) => new(StorageFault.InvalidManifest, $"The manifest is invalid: {how}.");
}
