using System.Text;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// Manifest: taking one, and making the tree equal to one.
//
// 1. Evacuate: a name that the manifest does not give is taken away. What the manifest wants elsewhere moves to the internal directory
//    "stage" (directories with all they hold, so a move costs one rename); what it does not want is destroyed, directories last.
// 2. Place: from the roots downwards, every missing name is made: from the stage, by a further link, or by a new object. Every
//    name is free by then, so cycles of moves need no special case.
// 3. Dress: owner, mode, extended attributes, size and, last, times.
//
// After a crash anywhere the next scan finds each object under its id, in the tree or in the stage, and the same steps go on. A new
// file carries a mark on disk until its content has arrived, so that a later manifest does not take it for complete.
public sealed unsafe partial class ObjectStore
{
    internal IReadOnlyList<ManifestEntry> SnapshotManifest()
    {
        lock (mutationGate)
        {
            var entries = new List<ManifestEntry>(nodes.Count);
            entries.AddRange(directories.Select(static directory => directory.Root).Select(Describe));
            var met = new HashSet<ulong>();
            var waiting = new Stack<ObjectNode>(directories.SelectMany(static directory => (ObjectNode[])[directory.Root, directory.Unlinked]));
            while (waiting.TryPop(out var directory))
            {
                foreach (var entry in directory.Children!.Entries)
                {
                    if (!met.Add(entry.Node.Id))
                        continue;
                    entries.Add(Describe(entry.Node));
                    if (entry.Node.IsDirectory)
                        waiting.Push(entry.Node);
                }
            }
            return entries;
        }
    }

    internal IReadOnlyList<ulong> ApplyManifest(IReadOnlyCollection<ManifestEntry> entries)
    {
        lock (mutationGate)
        {
            var tree = ManifestTree.Check(entries, static id => id >= FirstFreeId && (id & UnnamedBit) == 0, options.ObjectsMax, directories.Length);
            Evacuate(tree);
            foreach (var directory in tree.Directories)
                Settle(directory);
            foreach (var entry in entries)
            {
                if (!StMode.IsDirectory(entry.Mode))
                    Settle(entry);
            }
            foreach (var entry in entries)
                Dress(entry);
            ExpectTimes(entries);
            MustFlush();
            return [.. nodes.Values.Where(n => n.ContentPending).Select(n => n.Id)];
        }
    }

    internal void ForgetPending()
    {
        lock (mutationGate)
        {
            foreach (var node in nodes.Values.Where(n => n.ContentPending).ToList())
            {
                var error = ChangeXattrRaw(node.Id, PendingXattr, null, 0);
                Must(error == Errno.ENODATA ? Errno.None : error, $"unmarking {PathOf(node)}");
                node.ContentPending = false;
            }
            GiveArrivingTimes();
            MustFlush();
        }
    }

    private void MustFlush()
    {
        if (FlushAll() is var error and not Errno.None)
            throw new StorageException(StorageFault.FlushFailed, $"flushing the tree: {Errno.Describe(error)}");
    }

    private static void Must(int error, string operation)
    {
        if (error != 0)
            throw new StorageException(operation, error);
    }

    private ManifestEntry Describe(ObjectNode node)
    {
        if ((node.Id & UnnamedBit) != 0)
            throw new StorageException(StorageFault.InvalidManifest, $"{PathOf(node)} has no object id.");
        Must(AttributesOf(node, out var a), $"stat of {PathOf(node)}");
        return new(node.Id, a.Mode)
        {
            Directory = node.Home.Index, Uid = a.Uid, Gid = a.Gid, DeviceNumber = a.DeviceNumber, SizeBytes = node.IsRegular ? a.SizeBytes : 0,
            AccessTimeNs = a.AccessTimeNs, ModifyTimeNs = a.ModifyTimeNs,
            Links = [.. node.Links.Where(l => !l.Parent.IsInternal).Select(l => new ManifestLink(l.Parent.Id, l.Name))],
            SymlinkTarget = TargetOf(node),
            Xattrs = XattrsOf(node),
        };
    }

    private byte[] TargetOf(ObjectNode node)
    {
        if (!StMode.IsSymbolicLink(node.TypeBits))
            return [];
        const int PathMax = 4096;
        var target = new byte[PathMax];
        Must(ReadLink(node.Id, target, out var length), $"reading the link {PathOf(node)}");
        return target[..length];
    }

    private ManifestXattr[] XattrsOf(ObjectNode node)
    {
        Must(ListXattr(node.Id, [], out var length), $"listing the attributes of {PathOf(node)}");
        if (length == 0)
            return [];
        var names = new byte[length];
        Must(ListXattr(node.Id, names, out length), $"listing the attributes of {PathOf(node)}");
        var xattrs = new List<ManifestXattr>();
        for (var rest = names.AsSpan(0, length); !rest.IsEmpty; rest = rest[(rest.IndexOf((byte)0) + 1)..])
        {
            var name = rest[..rest.IndexOf((byte)0)].ToArray();
            Must(GetXattr(node.Id, name, [], out var valueLength), $"reading {Encoding.UTF8.GetString(name)} of {PathOf(node)}");
            var value = new byte[valueLength];
            if (valueLength > 0)
                Must(GetXattr(node.Id, name, value, out valueLength), $"reading {Encoding.UTF8.GetString(name)} of {PathOf(node)}");
            xattrs.Add(new(name, value[..valueLength]));
        }
        return [.. xattrs];
    }

    private void Evacuate(ManifestTree tree)
    {
        var wanted = nodes.Values.Where(n => IsWanted(n, tree)).ToHashSet();
        // Depths are taken before anything moves: a directory lies deeper than the one that holds it.
        var doomed = nodes.Values.Where(n => n.IsDirectory && n.Removed is null && !IsRoot(n) && !wanted.Contains(n))
            .Select(n => (Directory: n, Depth: DepthOf(n))).OrderByDescending(d => d.Depth).ToList();
        foreach (var node in nodes.Values.ToList())
        {
            if (node.Removed is not null)
                nodes.TryRemove(node.Id, out _);
            else if (wanted.Contains(node))
                Detach(node, tree);
            else if (!node.IsDirectory)
                Discard(node);
        }
        foreach (var (directory, _) in doomed)
            Must(Destroy(directory), $"removing {PathOf(directory)}");
    }

    private static int DepthOf(ObjectNode node)
    {
        var depth = 0;
        for (var at = node; at.Links is [var link, ..]; at = link.Parent)
            depth++;
        return depth;
    }

    /// <summary>The manifest has the same object: same id, directory, type and, where there is one, target or device.</summary>
    private bool IsWanted(ObjectNode node, ManifestTree tree)
    {
        if (!tree.ById.TryGetValue(node.Id, out var entry) || (entry.Mode & StMode.TypeMask) != node.TypeBits || entry.Directory != node.Home.Index || node.Removed is not null)
            return false;
        if (StMode.IsSymbolicLink(node.TypeBits))
            return TargetOf(node).AsSpan().SequenceEqual(entry.SymlinkTarget);
        if (node.TypeBits is not (StMode.BlockDevice or StMode.CharacterDevice))
            return true;
        Must(AttributesOf(node, out var attributes), $"stat of {PathOf(node)}");
        return attributes.DeviceNumber == entry.DeviceNumber;
    }

    /// <summary>Destroys a file with all its names.</summary>
    private void Discard(ObjectNode node)
    {
        while (node.Links.Count > 1)
            Must(DropLink(node.Links[^1]), $"removing {PathOf(node)}");
        Must(Destroy(node), $"removing {PathOf(node)}");
    }

    /// <summary>Takes away the names that the manifest does not give; the last one only by moving the object out of the way.</summary>
    private void Detach(ObjectNode node, ManifestTree tree)
    {
        var inUseWithoutName = tree.ById[node.Id].Links.Count == 0;
        foreach (var link in node.Links.ToList())
        {
            if (link.Parent == node.Home.Unlinked || (link.Parent == node.Home.Stage && !inUseWithoutName) || tree.Names(node.Id, link.Parent.Id, link.Name))
                continue;
            Must(node.Links.Count > 1 ? DropLink(link) : MoveEntry(link, inUseWithoutName ? node.Home.Unlinked : node.Home.Stage, EntryName.ForId(node.Id), 0), $"moving {PathOf(node)}");
        }
    }

    private void Settle(ManifestEntry entry)
    {
        if (Find(entry.Object) is not { } node)
        {
            Must(MakeUnlinked(CreationOf(entry), entry.Mode & StMode.TypeMask, directories[entry.Directory], out var made), $"creating {entry.Object:x}");
            node = made!;
            if (node.IsRegular && entry.SizeBytes > 0)
            {
                Must(ChangeXattrRaw(node.Id, PendingXattr, [], 0), $"marking {entry.Object:x}");
                node.ContentPending = true;
            }
        }
        foreach (var wanted in entry.Links)
        {
            var parent = Find(wanted.Parent)!;
            if (parent.Children!.Find(wanted.Name) is not null)
                continue;
            var error = node.Links.Find(l => l.Parent.IsInternal) is { } source
                ? MoveEntry(source, parent, wanted.Name, Libc.RenameNoReplace)
                : AddLink(node, node.Links[0], parent, wanted.Name);
            Must(error, $"placing {PathOf(parent).TrimEnd('/')}/{Encoding.UTF8.GetString(wanted.Name)}");
        }
    }

    private static Mutation CreationOf(ManifestEntry entry) => new(MutationKind.CreateFile)
    {
        Object = entry.Object, Mode = entry.Mode, Uid = entry.Uid, Gid = entry.Gid, DeviceNumber = entry.DeviceNumber, Data = entry.SymlinkTarget,
    };

    private void Dress(ManifestEntry entry)
    {
        var node = Find(entry.Object)!;
        Must(AttributesOf(node, out var now), $"stat of {PathOf(node)}");
        var mask = AttributeMask.None;
        if (now.Uid != entry.Uid || now.Gid != entry.Gid)
            mask |= AttributeMask.Uid | AttributeMask.Gid | AttributeMask.Mode;
        if (now.Mode != entry.Mode)
            mask |= AttributeMask.Mode;
        if (node.IsRegular && now.SizeBytes != entry.SizeBytes)
            mask |= AttributeMask.Size;
        if (StMode.IsSymbolicLink(node.TypeBits))
            mask &= ~AttributeMask.Mode;
        Set(mask);
        DressXattrs(node, entry);
        Set(AttributeMask.AccessTime | AttributeMask.ModifyTime);

        void Set(AttributeMask which)
        {
            if (which == AttributeMask.None)
                return;
            Must(SetAttributes(new(MutationKind.SetAttributes)
            {
                Object = entry.Object, Mask = which, Mode = entry.Mode, Uid = entry.Uid, Gid = entry.Gid, SizeBytes = entry.SizeBytes,
                AccessTimeNs = entry.AccessTimeNs, ModifyTimeNs = entry.ModifyTimeNs,
            }, out _), $"setting the attributes of {PathOf(node)}");
        }
    }

    private void DressXattrs(ObjectNode node, ManifestEntry entry)
    {
        var now = XattrsOf(node).ToDictionary(x => x.Name, x => x.Value, NameComparer.Instance);
        foreach (var wanted in entry.Xattrs)
        {
            if (wanted.Name.AsSpan().StartsWith(EntryName.PrivateXattrPrefix))
                continue;
            if (now.Remove(wanted.Name, out var value) && value.AsSpan().SequenceEqual(wanted.Value))
                continue;
            var error = EntryName.CheckXattr(wanted.Name);
            Must(error != 0 ? error : ChangeXattrRaw(node.Id, wanted.Name, wanted.Value, 0), $"setting {Encoding.UTF8.GetString(wanted.Name)} of {PathOf(node)}");
        }
        foreach (var name in now.Keys)
            Must(ChangeXattrRaw(node.Id, name, null, 0), $"removing {Encoding.UTF8.GetString(name)} of {PathOf(node)}");
    }
}
