using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>An object that got its id from <see cref="ObjectStore.AdoptUnnamed"/>.</summary>
public readonly record struct AdoptedObject(ulong Object, uint Mode, long SizeBytes);

// Opening: the internal directories, the scan of the tree, and ids for objects that have none.
public sealed unsafe partial class ObjectStore
{
    private const uint PrivateDirectoryMode = 0x1C0; // 0700: root's alone.

    /// <summary>Gives an id to every object that has none, or that shares its id with another (a copy made with its extended
    /// attributes while no store was open; the one that was born first keeps it).</summary>
    /// <param name="nextId">Chooses ids, each greater than all before.</param>
    /// <returns>The objects that got one; their content is known to nobody else.</returns>
    public IReadOnlyList<AdoptedObject> AdoptUnnamed(Func<ulong> nextId)
    {
        var adopted = new List<AdoptedObject>();
        lock (mutationGate)
        {
            treeLock.EnterWriteLock();
            try
            {
                foreach (var node in nodes.Values.Where(n => (n.Id & UnnamedBit) != 0).ToList())
                {
                    var error = AttributesOf(node, out var attributes);
                    if (error != 0)
                        throw new StorageException($"stat of an object without id, {PathOf(node)}", error);
                    var id = nextId();
                    if (id < FirstFreeId || (id & UnnamedBit) != 0 || nodes.ContainsKey(id))
                        throw new ArgumentException($"{id:x} is no free object id", nameof(nextId));
                    error = Locate(node, out var place);
                    if (error == 0)
                    {
                        using (place)
                            error = WriteId(place.Fd, place.Name, id);
                    }
                    if (error != 0)
                        throw new StorageException($"giving an id to {PathOf(node)}", error);
                    nodes.TryRemove(node.Id, out _);
                    node.Id = id;
                    nodes[id] = node;
                    highestId = Math.Max(highestId, id);
                    adopted.Add(new(id, attributes.Mode, attributes.SizeBytes));
                }
            }
            finally
            {
                treeLock.ExitWriteLock();
            }
        }
        return adopted;
    }

    /// <summary>The greatest id that was ever reserved here; 0 if none was.</summary>
    /// <exception cref="StorageException">It cannot be read.</exception>
    public ulong ReservedId()
    {
        var value = stackalloc byte[sizeof(ulong)];
        nint length;
        fixed (byte* attribute = "trusted.pollux.reserved\0"u8)
            length = Libc.FGetXattr(RootFd, attribute, value, sizeof(ulong));
        if (length < 0 && Libc.LastErrno != Errno.ENODATA)
            throw StorageException.FromLastErrno("reading the reserved object ids");
        return length == sizeof(ulong) ? BinaryPrimitives.ReadUInt64LittleEndian(new(value, sizeof(ulong))) : 0;
    }

    /// <summary>Makes durable that ids up to this one may be in use, or have been.</summary>
    public int ReserveIds(ulong upTo)
    {
        byte* path = stackalloc byte[EntryName.ProcPathBytes], value = stackalloc byte[sizeof(ulong)];
        EntryName.ProcPath(RootFd, EntryName.Dot, path);
        BinaryPrimitives.WriteUInt64LittleEndian(new(value, sizeof(ulong)), upTo);
        fixed (byte* attribute = "trusted.pollux.reserved\0"u8)
        {
            if (Libc.LSetXattr(path, attribute, value, sizeof(ulong), 0) != 0)
                return Libc.LastErrno;
        }
        return Libc.FSync(RootFd) == 0 ? Errno.None : Libc.LastErrno;
    }

    private static ObjectStore Open(int directory, ObjectStoreOptions options)
    {
        int rootFd = -1, hiddenFd = -1, stageFd = -1, unlinkedFd = -1;
        try
        {
            rootFd = OpenDirectory(directory, EntryName.Dot, "the module directory");
            var error = WriteId(rootFd, EntryName.Dot, RootObject);
            if (error is Errno.EOPNOTSUPP or Errno.EPERM)
                throw new StorageException(StorageFault.TrustedXattrsUnavailable, error == Errno.EPERM
                    ? "Trusted extended attributes may not be written: pollux-host must run as root with CAP_SYS_ADMIN."
                    : "The file system of the module directory has no trusted extended attributes; use ext4, XFS or btrfs.");
            if (error != 0)
                throw new StorageException("writing the root's id", error);
            hiddenFd = MakePrivate(rootFd, ".pollux"u8);
            stageFd = MakePrivate(hiddenFd, "stage"u8);
            unlinkedFd = MakePrivate(hiddenFd, "unlinked"u8);
        }
        catch
        {
            foreach (var fd in (ReadOnlySpan<int>)[rootFd, stageFd, unlinkedFd])
                CloseIfOpen(fd);
            throw;
        }
        finally
        {
            CloseIfOpen(hiddenFd);
        }
        var store = new ObjectStore(rootFd, stageFd, unlinkedFd, options);
        try
        {
            store.Purge();
            store.Scan();
            return store;
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    private static void CloseIfOpen(int fd)
    {
        if (fd >= 0)
            _ = Libc.Close(fd);
    }

    private static int OpenDirectory(int parent, ReadOnlySpan<byte> entryName, string what)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        var fd = Libc.OpenAt(parent, name, OpenFlags.Directory | OpenFlags.NoFollow | OpenFlags.CloseOnExec | OpenFlags.NoAccessTime);
        return fd >= 0 ? fd : throw StorageException.FromLastErrno($"open {what}");
    }

    private static int MakePrivate(int parent, ReadOnlySpan<byte> entryName)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        if (Libc.MkDirAt(parent, name, PrivateDirectoryMode) != 0 && Libc.LastErrno != Errno.EEXIST)
            throw StorageException.FromLastErrno("making the hidden directory .pollux");
        Statx stat;
        if (Libc.StatxAt(parent, name, Libc.AtSymlinkNoFollow, Statx.BasicStats, &stat) == 0 && !StMode.IsDirectory(stat.Mode))
            throw new StorageException(StorageFault.ReservedNameTaken, "The module directory holds a file named .pollux, a name that Pollux needs: rename it.");
        var fd = OpenDirectory(parent, entryName, ".pollux");
        // New objects are made in here: a default ACL that the hidden directory inherited must not reach them.
        fixed (byte* acl = "system.posix_acl_default\0"u8)
            _ = Libc.FRemoveXattr(fd, acl);
        return fd;
    }

    /// <summary>Removes what a crash left in the directory of objects without names; with <see cref="ObjectStoreOptions.KeepsUnlinked"/> only
    /// what was never complete.</summary>
    private void Purge()
    {
        var fd = unlinked.Descriptor!.Fd;
        var name = stackalloc byte[EntryName.BufferBytes];
        foreach (var entryName in ListDirectory(fd))
        {
            if (options.KeepsUnlinked && ReadId(fd, entryName, own: false, out var id) == 0 && entryName.AsSpan().SequenceEqual(EntryName.ForId(id)))
                continue;
            EntryName.Terminate(entryName, name);
            if (Libc.UnlinkAt(fd, name, 0) != 0 && (Libc.LastErrno != Errno.EISDIR || Libc.UnlinkAt(fd, name, Libc.AtRemoveDirectory) != 0))
                throw StorageException.FromLastErrno("removing refuse of an earlier run from .pollux/unlinked");
        }
    }

    private void Scan()
    {
        var error = StatxAt(RootFd, EntryName.Dot, out var rootStat);
        if (error != 0)
            throw new StorageException("stat of the module directory", error);
        var scan = new TreeScan(this, rootStat.FileSystem);
        scan.Descend(root);
        scan.Descend(stage);
        if (options.KeepsUnlinked)
            scan.Descend(unlinked);
    }

    /// <summary>Names of a directory's entries, without "." and "..".</summary>
    internal static List<byte[]> ListDirectory(int fd)
    {
        const int BufferBytes = 64 * 1024;
        // linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name.
        const int LengthOffset = 16, NameOffset = 19;
        var entries = new List<byte[]>();
        var buffer = (byte*)NativeMemory.Alloc(BufferBytes);
        try
        {
            if (Libc.LSeek(fd, 0, Libc.SeekSet) < 0)
                throw StorageException.FromLastErrno("rewinding a directory");
            while (true)
            {
                var filled = Libc.GetDents64(fd, buffer, BufferBytes);
                if (filled < 0)
                    throw StorageException.FromLastErrno("reading a directory");
                if (filled == 0)
                    return entries;
                // SAFETY: the kernel gives whole records whose lengths stay inside what it filled.
                for (var record = buffer; record < buffer + filled; record += *(ushort*)(record + LengthOffset))
                {
                    var name = MemoryMarshal.CreateReadOnlySpanFromNullTerminated(record + NameOffset);
                    if (!name.SequenceEqual("."u8) && !name.SequenceEqual(".."u8))
                        entries.Add(name.ToArray());
                }
            }
        }
        finally
        {
            NativeMemory.Free(buffer);
        }
    }

    /// <param name="own">The object is the descriptor itself; the name is ignored.</param>
    private static int ReadId(int fd, ReadOnlySpan<byte> entryName, bool own, out ulong id)
    {
        id = 0;
        var value = stackalloc byte[sizeof(ulong)];
        nint length;
        fixed (byte* attribute = "trusted.pollux.id\0"u8)
        {
            if (own)
            {
                length = Libc.FGetXattr(fd, attribute, value, sizeof(ulong));
            }
            else
            {
                var path = stackalloc byte[EntryName.ProcPathBytes];
                EntryName.ProcPath(fd, entryName, path);
                length = Libc.LGetXattr(path, attribute, value, sizeof(ulong));
            }
        }
        if (length == sizeof(ulong))
            id = BinaryPrimitives.ReadUInt64LittleEndian(new(value, sizeof(ulong)));
        // An attribute of another size was not written by Pollux: such an object has no id.
        return length < 0 && Libc.LastErrno is not (Errno.ENODATA or Errno.ERANGE) ? Libc.LastErrno : Errno.None;
    }

    private static int WriteId(int directory, ReadOnlySpan<byte> entryName, ulong id)
    {
        var path = stackalloc byte[EntryName.ProcPathBytes];
        EntryName.ProcPath(directory, entryName, path);
        var value = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(new(value, sizeof(ulong)), id);
        fixed (byte* attribute = "trusted.pollux.id\0"u8)
            return Libc.LSetXattr(path, attribute, value, sizeof(ulong), 0) == 0 ? Errno.None : Libc.LastErrno;
    }

    /// <summary>The object's path inside the module, for messages to people.</summary>
    private string PathOf(ObjectNode node)
    {
        var path = "";
        for (var at = node; at.Links is [var link, ..]; at = link.Parent)
            path = "/" + System.Text.Encoding.UTF8.GetString(link.Name) + path;
        return path.Length == 0 ? "/" : path;
    }

    /// <summary>One pass over the tree, by an explicit stack: directories may be nested deeper than a thread's stack.</summary>
    private sealed class TreeScan(ObjectStore store, ulong fileSystem)
    {
        // Objects with several links are met several times; the inode number tells.
        private readonly Dictionary<ulong, ObjectNode> byInode = [];
        private readonly Dictionary<ulong, (ulong Inode, long BornNs)> claims = [];
        private ulong unnamedLast = UnnamedBit;

        public void Descend(ObjectNode top)
        {
            var waiting = new Stack<ObjectNode>([top]);
            while (waiting.TryPop(out var directory))
            {
                var error = store.AcquireUnderLock(directory, out var descriptor);
                if (error != 0)
                    throw new StorageException($"open {store.PathOf(directory)}", error);
                try
                {
                    foreach (var name in ListDirectory(descriptor!.Fd))
                    {
                        if (EntryName.IsReserved(directory.Id, name))
                            RefuseUnlessOwn(name);
                        else if (Meet(directory, descriptor.Fd, name) is { IsDirectory: true } child)
                            waiting.Push(child);
                    }
                }
                finally
                {
                    descriptor!.Release();
                }
            }
        }

        /// <summary>A user's file under a reserved name would be neither seen nor replicated: better no start than a silent gap.</summary>
        private static void RefuseUnlessOwn(byte[] name)
        {
            if (!name.AsSpan().SequenceEqual(".pollux"u8))
                throw new StorageException(StorageFault.ReservedNameTaken, $"The module directory holds {System.Text.Encoding.UTF8.GetString(name)}; names that begin with .pollux are Pollux's own: rename it.");
        }

        private ObjectNode Meet(ObjectNode directory, int fd, byte[] name)
        {
            var error = StatxAt(fd, name, out var stat);
            if (error != 0)
                throw new StorageException($"stat of {Describe()}", error);
            if (stat.FileSystem != fileSystem || (stat.Attributes & Statx.AttributeMountRoot) != 0)
                throw new StorageException(StorageFault.MountInside, $"{Describe()} inside the module directory is a mount point; only one file system can be replicated.");
            if (byInode.TryGetValue(stat.Inode, out var known))
            {
                directory.Children!.Add(directory, name, known);
                return known;
            }
            error = ReadId(fd, name, own: false, out var id);
            if (error != 0)
                throw new StorageException($"reading the id of {Describe()}", error);
            if (store.nodes.Count >= store.options.ObjectsMax)
                throw new StorageException(StorageFault.TooManyObjects, $"The module directory holds more than {store.options.ObjectsMax} files and directories.");
            var node = new ObjectNode(Claim(id, in stat), stat.Mode & StMode.TypeMask)
            {
                ContentPending = StMode.IsRegular(stat.Mode) && HasPendingMark(fd, name),
            };
            if (!node.IsDirectory && stat.Links > 1)
                byInode[stat.Inode] = node;
            store.nodes[node.Id] = node;
            directory.Children!.Add(directory, name, node);
            return node;

            string Describe() => store.PathOf(directory).TrimEnd('/') + "/" + System.Text.Encoding.UTF8.GetString(name);
        }

        /// <summary>The id under which an object is known: its own if it is valid and its owner is the first born.</summary>
        private ulong Claim(ulong id, in Statx stat)
        {
            if (id < FirstFreeId || (id & UnnamedBit) != 0)
                return ++unnamedLast;
            var bornNs = (stat.Mask & Statx.BirthTimeBit) != 0 ? stat.BirthTime.TotalNs : 0;
            if (claims.TryGetValue(id, out var first))
            {
                if (first.BornNs <= bornNs)
                    return ++unnamedLast;
                var loser = store.nodes[id];
                loser.Id = ++unnamedLast;
                store.nodes[loser.Id] = loser;
            }
            claims[id] = (stat.Inode, bornNs);
            store.highestId = Math.Max(store.highestId, id);
            return id;
        }
    }
}
