using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// Mutations. A new object is made in the internal directory of objects without names, gets its owner, mode and id there, and becomes
// visible complete, by one rename. An object that loses its last name moves back there until it is released, so it stays usable and
// its descriptor may be closed and opened again.
public sealed unsafe partial class ObjectStore
{
    /// <summary>Applies a mutation; lookups see the tree before or after it, never in between.</summary>
    /// <param name="attributes">On success the attributes of the object concerned; links are 0 if it has lost its last name.</param>
    /// <param name="orphan">The object that lost its last name by this mutation, or 0. It stays until <see cref="MutationKind.Release"/>.</param>
    public int Apply(Mutation mutation, out ObjectAttributes attributes, out ulong orphan)
    {
        attributes = default;
        orphan = 0;
        lock (mutationGate)
        {
            var error = mutation.Kind switch
            {
                MutationKind.CreateFile or MutationKind.MakeDirectory or MutationKind.MakeNode or MutationKind.Symlink => Create(mutation, out attributes),
                MutationKind.Link => Link(mutation, out attributes),
                MutationKind.Unlink or MutationKind.RemoveDirectory => Remove(mutation, out attributes, out orphan),
                MutationKind.Rename => Rename(mutation, out attributes, out orphan),
                MutationKind.SetAttributes => SetAttributes(mutation, out attributes),
                MutationKind.SetXattr or MutationKind.RemoveXattr => ChangeXattr(mutation, out attributes),
                MutationKind.Allocate => Allocate(mutation, out attributes),
                MutationKind.Release => Release(mutation.Object),
                MutationKind.SettleTime => SettleTime(mutation, out attributes),
                _ => Errno.EINVAL,
            };
            if (error == 0)
                NoteTime(mutation);
            return error;
        }
    }

    private int FindEntry(ulong parent, byte[] name, out ObjectNode directory, out DirectoryEntry? entry)
    {
        (directory, entry) = (directories[0].Root, null);
        var error = EntryName.Check(name);
        if (error != 0)
            return error;
        if (Find(parent) is not { } found)
            return Errno.ESTALE;
        directory = found;
        if (found.Children is null)
            return Errno.ENOTDIR;
        if (EntryName.IsReserved(found.Id, name))
            return Errno.EPERM;
        entry = found.Children.Find(name);
        return Errno.None;
    }

    private int Create(Mutation m, out ObjectAttributes attributes)
    {
        attributes = default;
        var typeBits = m.Kind switch
        {
            MutationKind.CreateFile => StMode.Regular,
            MutationKind.MakeDirectory => StMode.Directory,
            MutationKind.Symlink => StMode.SymbolicLink,
            _ => m.Mode & StMode.TypeMask,
        };
        var error = FindEntry(m.Parent, m.Name, out var directory, out var entry);
        if (error != 0)
            return error;
        if (entry is not null)
            return Errno.EEXIST;
        if (directory.Removed is not null)
            return Errno.ENOENT;
        if (m.Object < FirstFreeId || (m.Object & UnnamedBit) != 0 || nodes.ContainsKey(m.Object))
            return Errno.EINVAL;
        error = MakeUnlinked(m, typeBits, directory.Home, out var node);
        if (error != 0)
            return error;
        error = MoveEntry(node!.Links[0], directory, m.Name, Libc.RenameNoReplace);
        if (error != 0)
        {
            _ = Destroy(node);
            return error;
        }
        error = StampDirectory(directory, m.ModifyTimeNs);
        return error != 0 ? error : GetAttributes(m.Object, out attributes);
    }

    /// <summary>Makes a complete object without a visible name, on the file system of the directory in which it will get one.</summary>
    private int MakeUnlinked(Mutation m, uint typeBits, StoreDirectory home, out ObjectNode? node)
    {
        node = null;
        if (nodes.Count >= options.ObjectsMax)
            return Errno.ENOSPC;
        var entryName = EntryName.ForId(m.Object);
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        var holder = home.Unlinked.Descriptor!.Fd;
        var error = MakeRaw(holder, name, m, typeBits);
        if (error == 0)
            error = Dress(holder, name, entryName, m, typeBits);
        if (error != 0)
        {
            _ = Libc.UnlinkAt(holder, name, typeBits == StMode.Directory ? Libc.AtRemoveDirectory : 0);
            return error;
        }
        node = new(m.Object, typeBits, home);
        treeLock.EnterWriteLock();
        home.Unlinked.Children!.Add(home.Unlinked, entryName, node);
        nodes[node.Id] = node;
        highestId = Math.Max(highestId, node.Id);
        treeLock.ExitWriteLock();
        return Errno.None;
    }

    private static int MakeRaw(int holder, byte* name, Mutation m, uint typeBits)
    {
        const uint OwnerOnly = 0x180; // 0600 until the owner is set.
        switch (typeBits)
        {
            case StMode.Regular:
                var fd = Libc.OpenAt(holder, name, OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.WriteOnly | OpenFlags.NoFollow | OpenFlags.CloseOnExec, OwnerOnly);
                if (fd < 0)
                    return Libc.LastErrno;
                _ = Libc.Close(fd);
                return Errno.None;
            case StMode.Directory:
                return Libc.MkDirAt(holder, name, PrivateDirectoryMode) == 0 ? Errno.None : Libc.LastErrno;
            case StMode.SymbolicLink:
                // PATH_MAX, zero included: a longer target cannot be made by the kernel either.
                if (m.Data.Length is 0 or >= 4096 || m.Data.AsSpan().Contains((byte)0))
                    return m.Data.Length >= 4096 ? Errno.ENAMETOOLONG : Errno.ENOENT;
                fixed (byte* target = (byte[])[.. m.Data, 0])
                    return Libc.SymlinkAt(target, holder, name) == 0 ? Errno.None : Libc.LastErrno;
            case StMode.Pipe or StMode.Socket or StMode.BlockDevice or StMode.CharacterDevice:
                return Libc.MkNodAt(holder, name, typeBits | OwnerOnly, Libc.MakeDevice(m.DeviceNumber)) == 0 ? Errno.None : Libc.LastErrno;
            default:
                return Errno.EINVAL;
        }
    }

    private static int Dress(int holder, byte* name, byte[] entryName, Mutation m, uint typeBits)
    {
        if (Libc.FChOwnAt(holder, name, m.Uid, m.Gid, Libc.AtSymlinkNoFollow) != 0)
            return Libc.LastErrno;
        var isLink = typeBits == StMode.SymbolicLink;
        // After chown, which clears the set-id bits; a link has no mode of its own.
        if (!isLink && Libc.FChModAt(holder, name, m.Mode & StMode.PermissionMask, 0) != 0)
            return Libc.LastErrno;
        var error = isLink || m.Data.Length == 0 ? Errno.None : InheritAcl(holder, entryName, m, typeBits == StMode.Directory);
        if (error == 0)
            error = WriteId(holder, entryName, m.Object);
        return error != 0 || m.ModifyTimeNs == 0 ? error : SetTimes(holder, name, m.ModifyTimeNs, m.ModifyTimeNs);
    }

    private static int InheritAcl(int holder, byte[] entryName, Mutation m, bool isDirectory)
    {
        var mode = m.Mode;
        var error = PosixAcl.Inherit(m.Data, ref mode, out var access);
        if (error == 0 && access is not null)
            error = WriteXattr(holder, entryName, PosixAcl.AccessName, access, 0);
        return error == 0 && isDirectory ? WriteXattr(holder, entryName, PosixAcl.DefaultName, m.Data, 0) : error;
    }

    /// <summary>Renames on disk and in memory. The target name must be free unless <paramref name="flags"/> say otherwise by the caller's care.</summary>
    private int MoveEntry(DirectoryEntry entry, ObjectNode directory, byte[] name, uint flags)
    {
        treeLock.EnterWriteLock();
        try
        {
            var error = RenameOnDisk(entry.Parent, entry.Name, directory, name, flags);
            if (error != 0)
                return error;
            entry.Parent.Children!.Remove(entry);
            directory.Children!.Add(directory, name, entry.Node);
            return Errno.None;
        }
        finally
        {
            treeLock.ExitWriteLock();
        }
    }

    private int RenameOnDisk(ObjectNode from, byte[] oldName, ObjectNode to, byte[] newName, uint flags)
    {
        byte* source = stackalloc byte[EntryName.BufferBytes], target = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(oldName, source);
        EntryName.Terminate(newName, target);
        var error = AcquireTwo(from, to, out var first, out var second);
        if (error != 0)
            return error;
        error = Libc.RenameAt2(first!.Fd, source, second!.Fd, target, flags) == 0 ? Errno.None : Libc.LastErrno;
        first.Release();
        second.Release();
        return error;
    }

    private int LinkOnDisk(ObjectNode from, byte[] oldName, ObjectNode to, byte[] newName)
    {
        byte* source = stackalloc byte[EntryName.BufferBytes], target = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(oldName, source);
        EntryName.Terminate(newName, target);
        var error = AcquireTwo(from, to, out var first, out var second);
        if (error != 0)
            return error;
        error = Libc.LinkAt(first!.Fd, source, second!.Fd, target, 0) == 0 ? Errno.None : Libc.LastErrno;
        first.Release();
        second.Release();
        return error;
    }

    private int UnlinkOnDisk(DirectoryEntry entry)
    {
        var error = AcquireUnderLock(entry.Parent, out var descriptor);
        if (error != 0)
            return error;
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entry.Name, name);
        error = Libc.UnlinkAt(descriptor!.Fd, name, entry.Node.IsDirectory ? Libc.AtRemoveDirectory : 0) == 0 ? Errno.None : Libc.LastErrno;
        descriptor.Release();
        return error;
    }

    private int AcquireTwo(ObjectNode a, ObjectNode b, out Descriptor? first, out Descriptor? second)
    {
        second = null;
        var error = AcquireUnderLock(a, out first);
        if (error != 0)
            return error;
        error = AcquireUnderLock(b, out second);
        if (error != 0)
            first!.Release();
        return error;
    }

    private int Link(Mutation m, out ObjectAttributes attributes)
    {
        attributes = default;
        var error = FindEntry(m.Parent, m.Name, out var directory, out var entry);
        if (error != 0)
            return error;
        if (Find(m.Object) is not { } node)
            return Errno.ESTALE;
        if (entry is not null)
            return Errno.EEXIST;
        if (node.IsDirectory)
            return Errno.EPERM;
        if (directory.Removed is not null || node.Links is not [var link, ..])
            return Errno.ENOENT;
        if (directory.Home != node.Home)
            return Errno.EXDEV;
        // An unlinked object comes back by moving; a second name in the internal directory would count as a link on disk for ever.
        error = link.Parent.IsInternal ? MoveEntry(link, directory, m.Name, Libc.RenameNoReplace) : AddLink(node, link, directory, m.Name);
        if (error == 0)
            error = StampDirectory(directory, m.ModifyTimeNs);
        return error != 0 ? error : GetAttributes(m.Object, out attributes);
    }

    private int AddLink(ObjectNode node, DirectoryEntry link, ObjectNode directory, byte[] name)
    {
        treeLock.EnterWriteLock();
        try
        {
            var error = LinkOnDisk(link.Parent, link.Name, directory, name);
            if (error == 0)
                directory.Children!.Add(directory, name, node);
            return error;
        }
        finally
        {
            treeLock.ExitWriteLock();
        }
    }

    private int Remove(Mutation m, out ObjectAttributes attributes, out ulong orphan)
    {
        attributes = default;
        orphan = 0;
        var error = FindEntry(m.Parent, m.Name, out var directory, out var entry);
        if (error != 0)
            return error;
        if (entry is null)
            return Errno.ENOENT;
        var node = entry.Node;
        if (m.Object != 0 && m.Object != node.Id)
            return Errno.ESTALE;
        if (m.Kind == MutationKind.RemoveDirectory && !node.IsDirectory)
            return Errno.ENOTDIR;
        if (m.Kind == MutationKind.Unlink && node.IsDirectory)
            return Errno.EISDIR;
        error = node.IsDirectory ? RemoveDirectory(entry)
            : node.Links.Count > 1 ? DropLink(entry)
            : MoveEntry(entry, node.Home.Unlinked, EntryName.ForId(node.Id), 0);
        if (error == 0)
            error = StampDirectory(directory, m.ModifyTimeNs);
        if (error != 0)
            return error;
        error = GetAttributes(node.Id, out attributes);
        orphan = IsOrphan(node) ? node.Id : 0;
        return error;
    }

    private static bool IsOrphan(ObjectNode node) => node.Removed is not null || (node.Links is [var link] && link.Parent == node.Home.Unlinked);

    private int DropLink(DirectoryEntry entry)
    {
        treeLock.EnterWriteLock();
        try
        {
            var error = UnlinkOnDisk(entry);
            if (error == 0)
                entry.Parent.Children!.Remove(entry);
            return error;
        }
        finally
        {
            treeLock.ExitWriteLock();
        }
    }

    private int RemoveDirectory(DirectoryEntry entry)
    {
        var node = entry.Node;
        treeLock.EnterWriteLock();
        try
        {
            if (node.Children!.Count > 0)
                return Errno.ENOTEMPTY;
            var error = AttributesOf(node, out var last);
            if (error == 0)
                error = UnlinkOnDisk(entry);
            if (error != 0)
                return error;
            entry.Parent.Children!.Remove(entry);
            MarkRemoved(node, last);
            return Errno.None;
        }
        finally
        {
            treeLock.ExitWriteLock();
        }
    }

    private void MarkRemoved(ObjectNode node, ObjectAttributes last)
    {
        node.Removed = last with { Links = 0 };
        cache.Remove(node);
    }

    private int Rename(Mutation m, out ObjectAttributes attributes, out ulong orphan)
    {
        attributes = default;
        orphan = 0;
        if (m.Flags is not (0 or Libc.RenameNoReplace or Libc.RenameExchange))
            return Errno.EINVAL;
        var error = FindEntry(m.Parent, m.Name, out var from, out var source);
        if (error == 0)
            error = source is null ? Errno.ENOENT : Errno.None;
        if (error != 0)
            return error;
        error = FindEntry(m.NewParent, m.NewName, out var directory, out var target);
        if (error != 0)
            return error;
        if (m.Object != 0 && m.Object != source!.Node.Id)
            return Errno.ESTALE;
        if (directory.Removed is not null)
            return Errno.ENOENT;
        if (directory.Home != from.Home)
            return Errno.EXDEV;
        var moved = source!.Node;
        if (m.Flags == Libc.RenameExchange)
        {
            error = target is null ? Errno.ENOENT : Exchange(source, target);
        }
        else if (target is null)
        {
            error = MoveEntry(source, directory, m.NewName, Libc.RenameNoReplace);
        }
        else
        {
            if (m.Flags == Libc.RenameNoReplace)
                return Errno.EEXIST;
            var replaced = target.Node;
            // Two names of one object: rename(2) does nothing and succeeds.
            if (replaced == moved)
                return GetAttributes(moved.Id, out attributes);
            error = Replace(source, target);
            if (error == 0 && IsOrphan(replaced))
                orphan = replaced.Id;
        }
        if (error == 0)
            error = StampDirectory(from, m.ModifyTimeNs);
        if (error == 0 && directory != from)
            error = StampDirectory(directory, m.ModifyTimeNs);
        return error != 0 ? error : GetAttributes(moved.Id, out attributes);
    }

    private int Exchange(DirectoryEntry source, DirectoryEntry target)
    {
        treeLock.EnterWriteLock();
        try
        {
            var error = RenameOnDisk(source.Parent, source.Name, target.Parent, target.Name, Libc.RenameExchange);
            if (error != 0)
                return error;
            source.Node.Links.Remove(source);
            target.Node.Links.Remove(target);
            (source.Node, target.Node) = (target.Node, source.Node);
            source.Node.Links.Add(source);
            target.Node.Links.Add(target);
            return Errno.None;
        }
        finally
        {
            treeLock.ExitWriteLock();
        }
    }

    private int Replace(DirectoryEntry source, DirectoryEntry target)
    {
        ObjectNode moved = source.Node, replaced = target.Node;
        if (moved.IsDirectory != replaced.IsDirectory)
            return moved.IsDirectory ? Errno.ENOTDIR : Errno.EISDIR;
        treeLock.EnterWriteLock();
        try
        {
            ObjectAttributes last = default;
            var parked = false;
            var error = Errno.None;
            if (replaced.IsDirectory)
            {
                error = replaced.Children!.Count > 0 ? Errno.ENOTEMPTY : AttributesOf(replaced, out last);
            }
            else if (replaced.Links.Count == 1)
            {
                // The name must never be free in between, so the replaced object gets its second name first.
                error = LinkOnDisk(target.Parent, target.Name, replaced.Home.Unlinked, EntryName.ForId(replaced.Id));
                parked = error == 0;
            }
            if (error != 0)
                return error;
            if (parked)
                replaced.Home.Unlinked.Children!.Add(replaced.Home.Unlinked, EntryName.ForId(replaced.Id), replaced);
            error = RenameOnDisk(source.Parent, source.Name, target.Parent, target.Name, 0);
            if (error != 0)
            {
                if (parked && UnlinkOnDisk(replaced.Links[^1]) == 0)
                    replaced.Home.Unlinked.Children!.Remove(replaced.Links[^1]);
                return error;
            }
            target.Parent.Children!.Remove(target);
            source.Parent.Children!.Remove(source);
            target.Parent.Children.Add(target.Parent, target.Name, moved);
            if (replaced.IsDirectory)
                MarkRemoved(replaced, last);
            return Errno.None;
        }
        finally
        {
            treeLock.ExitWriteLock();
        }
    }

    private int Release(ulong obj)
    {
        if (Find(obj) is not { } node || IsRoot(node) || !IsOrphan(node))
            return Errno.None;
        return Destroy(node);
    }

    /// <summary>Removes an object that nothing names any more.</summary>
    private int Destroy(ObjectNode node)
    {
        treeLock.EnterWriteLock();
        try
        {
            if (node.Links is [var link])
            {
                var error = UnlinkOnDisk(link);
                if (error != 0 && error != Errno.ENOENT)
                    return error;
                link.Parent.Children!.Remove(link);
            }
            nodes.TryRemove(node.Id, out _);
            cache.Remove(node);
            return Errno.None;
        }
        finally
        {
            treeLock.ExitWriteLock();
        }
    }
}
