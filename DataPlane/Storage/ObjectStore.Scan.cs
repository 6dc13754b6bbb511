using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>An object that got its id from <see cref="ObjectStore.AdoptUnnamed"/>.</summary>
public readonly record struct AdoptedObject(ulong Object, uint Mode, long SizeBytes);

// Opening: the internal directories, the scan of the trees, and ids for objects that have none.
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
            length = Libc.FGetXattr(directories[0].RootFd, attribute, value, sizeof(ulong));
        if (length < 0 && Libc.LastErrno != Errno.ENODATA)
            throw StorageException.FromLastErrno("reading the reserved object ids");
        return length == sizeof(ulong) ? BinaryPrimitives.ReadUInt64LittleEndian(new(value, sizeof(ulong))) : 0;
    }

    /// <summary>Makes durable that ids up to this one may be in use, or have been.</summary>
    public int ReserveIds(ulong upTo)
    {
        byte* path = stackalloc byte[EntryName.ProcPathBytes], value = stackalloc byte[sizeof(ulong)];
        EntryName.ProcPath(directories[0].RootFd, EntryName.Dot, path);
        BinaryPrimitives.WriteUInt64LittleEndian(new(value, sizeof(ulong)), upTo);
        fixed (byte* attribute = "trusted.pollux.reserved\0"u8)
        {
            if (Libc.LSetXattr(path, attribute, value, sizeof(ulong), 0) != 0)
                return Libc.LastErrno;
        }
        return Libc.FSync(directories[0].RootFd) == 0 ? Errno.None : Libc.LastErrno;
    }

    /// <summary>A directory is about to become part of a new module: its place in a former one counts no more. What lies in it is left alone.</summary>
    /// <exception cref="StorageException">The file system refuses it.</exception>
    public static void Release(SafeHandle directory)
    {
        var error = WriteXattr((int)directory.DangerousGetHandle(), EntryName.Dot, "trusted.pollux.id"u8, null, 0);
        // A file system without such attributes is refused when the store is opened, with what to do.
        if (error is not (Errno.None or Errno.ENODATA or Errno.EOPNOTSUPP or Errno.EPERM))
            throw new StorageException("taking over a directory from its former module", error);
    }

    private static ObjectStore Open(int[] descriptors, ObjectStoreOptions options)
    {
        var opened = new List<StoreDirectory>(descriptors.Length);
        try
        {
            var inodes = new HashSet<(ulong FileSystem, ulong Inode)>();
            foreach (var descriptor in descriptors)
            {
                opened.Add(OpenModuleDirectory(descriptor, opened.Count, out var stat));
                if (!inodes.Add((stat.FileSystem, stat.Inode)))
                    throw new StorageException(StorageFault.OtherDirectories, $"Directory {opened.Count} of the module is the same as one before it.");
            }
        }
        catch
        {
            foreach (var directory in opened)
                directory.Close();
            throw;
        }
        var store = new ObjectStore([.. opened], options);
        try
        {
            store.Scan();
            return store;
        }
        catch
        {
            store.Dispose();
            throw;
        }
    }

    private static StoreDirectory OpenModuleDirectory(int descriptor, int index, out Statx stat)
    {
        int rootFd = -1, hiddenFd = -1, stageFd = -1, unlinkedFd = -1;
        try
        {
            rootFd = OpenDirectory(descriptor, EntryName.Dot, "the module directory");
            var error = StatxAt(rootFd, EntryName.Dot, out stat);
            if (error != 0)
                throw new StorageException("stat of the module directory", error);
            Identify(rootFd, index);
            hiddenFd = MakePrivate(rootFd, ".pollux"u8);
            stageFd = MakePrivate(hiddenFd, "stage"u8);
            unlinkedFd = MakePrivate(hiddenFd, "unlinked"u8);
            return new(index, stat.FileSystem, rootFd, stageFd, unlinkedFd);
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
    }

    /// <summary>The root says which directory of its module it is; one that says another would give its objects to the wrong place on the
    /// peer.</summary>
    private static void Identify(int rootFd, int index)
    {
        if (ReadId(rootFd, EntryName.Dot, own: true, out var known) == 0 && ModuleRoots.Contains(known) && known != ModuleRoots.Of(index))
            throw new StorageException(StorageFault.OtherDirectories,
                $"Directory {index + 1} of the module was its directory {ModuleRoots.IndexOf(known) + 1} before: the directories, or their order, have changed.");
        var error = WriteId(rootFd, EntryName.Dot, ModuleRoots.Of(index));
        if (error is Errno.EOPNOTSUPP or Errno.EPERM)
            throw new StorageException(StorageFault.TrustedXattrsUnavailable, error == Errno.EPERM
                ? "Trusted extended attributes may not be written: pollux-host must run as root with CAP_SYS_ADMIN."
                : "The file system of the module directory has no trusted extended attributes; use ext4, XFS or btrfs.");
        if (error != 0)
            throw new StorageException("writing the root's id", error);
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
    private void Purge(StoreDirectory directory)
    {
        var fd = directory.Unlinked.Descriptor!.Fd;
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
        // An id is claimed once in the whole module: a file copied from one directory into another has carried its attribute along.
        var claims = new Dictionary<ulong, long>();
        var unnamedLast = UnnamedBit;
        foreach (var directory in directories)
        {
            Purge(directory);
            var scan = new TreeScan(this, directory, claims, unnamedLast);
            scan.Descend(directory.Root);
            scan.Descend(directory.Stage);
            if (options.KeepsUnlinked)
                scan.Descend(directory.Unlinked);
            unnamedLast = scan.UnnamedLast;
        }
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
        var place = directories.Length == 1 ? "" : $"directory {node.Home.Index + 1}:";
        return place + (path.Length == 0 ? "/" : path);
    }

    /// <summary>One pass over a directory of the module, by an explicit stack: directories may be nested deeper than a thread's stack.</summary>
    /// <param name="claims">When the owner of each id was born, ns.</param>
    /// <param name="unnamedBefore">The last id that was given in memory only.</param>
    private sealed class TreeScan(ObjectStore store, StoreDirectory home, Dictionary<ulong, long> claims, ulong unnamedBefore)
    {
        // Objects with several links are met several times; the inode number tells.
        private readonly Dictionary<ulong, ObjectNode> byInode = [];

        public ulong UnnamedLast { get; private set; } = unnamedBefore;

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
            if (stat.FileSystem != home.FileSystem || (stat.Attributes & Statx.AttributeMountRoot) != 0)
                throw new StorageException(StorageFault.MountInside, $"{Describe()} inside the module directory is a mount point; one directory of a module lies on one file system.");
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
            var node = new ObjectNode(Claim(id, in stat), stat.Mode & StMode.TypeMask, home)
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
                return ++UnnamedLast;
            var bornNs = (stat.Mask & Statx.BirthTimeBit) != 0 ? stat.BirthTime.TotalNs : 0;
            if (claims.TryGetValue(id, out var first))
            {
                if (first <= bornNs)
                    return ++UnnamedLast;
                var loser = store.nodes[id];
                loser.Id = ++UnnamedLast;
                store.nodes[loser.Id] = loser;
            }
            claims[id] = bornNs;
            store.highestId = Math.Max(store.highestId, id);
            return id;
        }
    }
}
