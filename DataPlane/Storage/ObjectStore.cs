using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Storage;

/// <summary>The local copy of one module: maps object ids to the files of a directory, reads and writes them, and applies mutations.
/// All results are 0 or a positive Linux error number.</summary>
/// <remarks>
/// <para>Identity is the extended attribute <c>trusted.pollux.id</c> (8 bytes, little endian). The tree is scanned once and held in
/// memory. Files are reached by calls relative to descriptors under the module directory, so a mount over it does not matter; nobody
/// else changes the tree while a store is open.</para>
/// <para>The root holds a hidden directory <c>.pollux</c> with two internal directories: <c>unlinked</c> keeps objects that have no name
/// (new ones before they get theirs; unlinked ones until <see cref="MutationKind.Release"/>), and <c>stage</c> those that a manifest
/// moves. What is in <c>unlinked</c> when a store opens is refuse of a crash and is removed, unless its users go on
/// (<see cref="ObjectStoreOptions.KeepsUnlinked"/>).</para>
/// <para>Locks, outermost first: <see cref="mutationGate"/> (one mutation at a time), <see cref="treeLock"/> (shared for looking, exclusive
/// for changing names), a node's monitor (opening its descriptor), the descriptor cache. Read and Write take none of them while the
/// descriptor is cached.</para>
/// </remarks>
public sealed unsafe partial class ObjectStore : IDisposable
{
    public const ulong RootObject = 1;

    /// <summary>Ids below this one are the store's own.</summary>
    public const ulong FirstFreeId = 16;

    internal const ulong StageId = 2;
    internal const ulong UnlinkedId = 3;

    // Marks ids that exist in memory only, for objects without a valid id on disk.
    private const ulong UnnamedBit = 1UL << 63;

    private static readonly byte[] DotName = [(byte)'.'];

    private readonly Lock mutationGate = new();
    private readonly ReaderWriterLockSlim treeLock = new(LockRecursionPolicy.NoRecursion);
    private readonly ConcurrentDictionary<ulong, ObjectNode> nodes = new();
    private readonly DescriptorCache cache;
    private readonly ObjectStoreOptions options;
    private readonly ObjectNode root;
    private readonly ObjectNode stage;
    private readonly ObjectNode unlinked;
    private ulong highestId = FirstFreeId - 1;
    private bool disposed;

    private ObjectStore(int rootFd, int stageFd, int unlinkedFd, ObjectStoreOptions options)
    {
        this.options = options;
        cache = new(options.DescriptorsMax);
        root = Pinned(RootObject, rootFd);
        stage = Pinned(StageId, stageFd);
        unlinked = Pinned(UnlinkedId, unlinkedFd);
        nodes[RootObject] = root;

        static ObjectNode Pinned(ulong id, int fd) => new(id, StMode.Directory) { Descriptor = new(fd, writable: false) };
    }

    /// <summary>Opens and scans a module directory by a descriptor of it (O_PATH will do), which stays the caller's.</summary>
    /// <exception cref="StorageException">The directory cannot serve; the fault says why.</exception>
    public static ObjectStore Open(SafeHandle directory, ObjectStoreOptions? options = null)
    {
        var added = false;
        try
        {
            directory.DangerousAddRef(ref added);
            return Open((int)directory.DangerousGetHandle(), options ?? ObjectStoreOptions.Default);
        }
        finally
        {
            if (added)
                directory.DangerousRelease();
        }
    }

    /// <summary>Opens and scans a module directory by its path; nothing may be mounted over it yet.</summary>
    /// <exception cref="StorageException">The directory cannot serve; the fault says why.</exception>
    public static ObjectStore Open(string path, ObjectStoreOptions? options = null)
    {
        int fd;
        fixed (byte* name = System.Text.Encoding.UTF8.GetBytes(path + '\0'))
            fd = Libc.OpenAt(Libc.AtCurrentDirectory, name, OpenFlags.Path | OpenFlags.Directory | OpenFlags.CloseOnExec);
        if (fd < 0)
            throw StorageException.FromLastErrno($"open {path}");
        using var handle = new SafeFileHandle(fd, ownsHandle: true);
        return Open(handle, options);
    }

    /// <summary>The greatest id in use; new ids must be greater than it and than <see cref="FirstFreeId"/>.</summary>
    public ulong HighestId => Volatile.Read(ref highestId);

    /// <summary>Number of objects, the root included.</summary>
    public int Count => nodes.Count;

    /// <summary>Users of an earlier process go on: <see cref="ObjectStoreOptions.KeepsUnlinked"/>.</summary>
    public bool KeepsUnlinked => options.KeepsUnlinked;

    /// <summary>The objects that have no name and are kept.</summary>
    public IReadOnlyList<ulong> Unlinked()
    {
        treeLock.EnterReadLock();
        try
        {
            return [.. unlinked.Children!.Entries.Select(static entry => entry.Node).Where(IsOrphan).Select(static node => node.Id)];
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    public bool Exists(ulong obj) => nodes.ContainsKey(obj);

    public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes)
    {
        attributes = default;
        treeLock.EnterReadLock();
        try
        {
            if (!nodes.TryGetValue(parent, out var directory))
                return Errno.ESTALE;
            if (directory.Children is null)
                return Errno.ENOTDIR;
            if (name.Length > EntryName.LengthMax)
                return Errno.ENAMETOOLONG;
            return directory.Children.Find(name) is { } entry ? AttributesOf(entry.Node, out attributes) : Errno.ENOENT;
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    public int GetAttributes(ulong obj, out ObjectAttributes attributes)
    {
        attributes = default;
        treeLock.EnterReadLock();
        try
        {
            return nodes.TryGetValue(obj, out var node) ? AttributesOf(node, out attributes) : Errno.ESTALE;
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    public int ReadLink(ulong obj, Span<byte> target, out int length)
    {
        length = 0;
        treeLock.EnterReadLock();
        try
        {
            if (!nodes.TryGetValue(obj, out var node))
                return Errno.ESTALE;
            if (!StMode.IsSymbolicLink(node.TypeBits))
                return Errno.EINVAL;
            var error = Locate(node, out var place);
            if (error != 0)
                return error;
            using (place)
            {
                var name = stackalloc byte[EntryName.BufferBytes];
                EntryName.Terminate(place.Name, name);
                // SAFETY: the kernel writes at most target.Length bytes into the pinned span.
                fixed (byte* buffer = target)
                {
                    var result = Libc.ReadLinkAt(place.Fd, name, buffer, (nuint)target.Length);
                    length = (int)Math.Max(result, 0);
                    return result < 0 ? Libc.LastErrno : Errno.None;
                }
            }
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    /// <summary>Visits the entries after <paramref name="cookie"/>, "." and ".." first. The visitor runs under no lock.</summary>
    public int ReadDirectory(ulong obj, long cookie, DirectoryVisitor visit)
    {
        // Entries are taken from the tree a page at a time, so that a visitor may call the store.
        const int PageEntriesMax = 64;
        var page = new List<(byte[] Name, ObjectAttributes Attributes, long Cookie)>(PageEntriesMax);
        while (true)
        {
            page.Clear();
            var error = CollectPage(obj, cookie, page, PageEntriesMax);
            if (error != 0)
                return error;
            foreach (var (name, attributes, next) in page)
            {
                if (!visit(name, in attributes, next))
                    return Errno.None;
                cookie = next;
            }
            if (page.Count < PageEntriesMax)
                return Errno.None;
        }
    }

    private int CollectPage(ulong obj, long cookie, List<(byte[] Name, ObjectAttributes Attributes, long Cookie)> page, int entriesMax)
    {
        treeLock.EnterReadLock();
        try
        {
            if (!nodes.TryGetValue(obj, out var node))
                return Errno.ESTALE;
            if (node.Children is not { } children)
                return Errno.ENOTDIR;
            if (node.Removed is not null)
                return Errno.None;
            if (cookie < ChildTable.DotCookie)
            {
                var error = AttributesOf(node, out var self);
                if (error != 0)
                    return error;
                page.Add(([(byte)'.'], self, ChildTable.DotCookie));
            }
            if (cookie < ChildTable.DotDotCookie)
            {
                var error = AttributesOf(node.Links is [var link, ..] && !IsInternal(link.Parent) ? link.Parent : node, out var parent);
                if (error != 0)
                    return error;
                page.Add(([(byte)'.', (byte)'.'], parent, ChildTable.DotDotCookie));
            }
            var entries = children.Entries;
            for (var i = children.FirstAfter(cookie); i < entries.Count && page.Count < entriesMax; i++)
            {
                var error = AttributesOf(entries[i].Node, out var attributes);
                if (error != 0)
                    return error;
                page.Add((entries[i].Name, attributes, entries[i].Cookie));
            }
            return Errno.None;
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    public int StatFs(out VolumeSpace space)
    {
        StatFs raw;
        space = default;
        if (Libc.FStatFs(RootFd, &raw) != 0)
            return Libc.LastErrno;
        space = new((uint)raw.BlockSizeBytes, raw.Blocks, raw.BlocksFree, raw.BlocksAvailable, raw.Files, raw.FilesFree, (uint)raw.NameLengthMax);
        return Errno.None;
    }

    public void Dispose()
    {
        lock (mutationGate)
        {
            if (disposed)
                return;
            disposed = true;
            treeLock.EnterWriteLock();
            try
            {
                // Readers that come now find nothing; those in the middle of a call hold their own reference.
                nodes.Clear();
                cache.Clear();
                foreach (var node in (ReadOnlySpan<ObjectNode>)[root, stage, unlinked])
                    Interlocked.Exchange(ref node.Descriptor, null)?.Release();
            }
            finally
            {
                treeLock.ExitWriteLock();
            }
        }
    }

    /// <summary>A descriptor of the hidden directory of the module, which stays good when the store is disposed of.</summary>
    /// <exception cref="StorageException">It cannot be opened.</exception>
    internal SafeFileHandle OpenHiddenDirectory() => new(OpenDirectory(RootFd, ".pollux"u8, "the hidden directory .pollux"), ownsHandle: true);

    /// <summary>The same of the module's directory itself.</summary>
    internal SafeFileHandle OpenModuleDirectory() => new(OpenDirectory(RootFd, EntryName.Dot, "the module directory"), ownsHandle: true);

    private static bool IsInternal(ObjectNode directory) => directory.Id is StageId or UnlinkedId;

    private int RootFd => (Volatile.Read(ref root.Descriptor) ?? throw new ObjectDisposedException(nameof(ObjectStore))).Fd;

    private ObjectNode? Find(ulong obj) => nodes.TryGetValue(obj, out var node) ? node : null;

    /// <summary>Needs the tree lock, shared at least.</summary>
    private int AttributesOf(ObjectNode node, out ObjectAttributes attributes)
    {
        if (node.Removed is { } last)
        {
            attributes = last;
            return Errno.None;
        }
        attributes = default;
        var error = Locate(node, out var place);
        if (error != 0)
            return error;
        using (place)
        {
            error = StatxAt(place.Fd, place.Name, out var stat);
            if (error == 0)
                attributes = ToAttributes(node, in stat);
            return error;
        }
    }

    internal static int StatxAt(int directory, ReadOnlySpan<byte> entryName, out Statx stat)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        Statx raw;
        var failed = Libc.StatxAt(directory, name, Libc.AtSymlinkNoFollow, Statx.BasicStats | Statx.BirthTimeBit, &raw) != 0;
        stat = raw;
        return failed ? Libc.LastErrno : Errno.None;
    }

    private ObjectAttributes ToAttributes(ObjectNode node, in Statx stat) => new(
        node.Id, stat.Mode, LinkCount(node, in stat), stat.Uid, stat.Gid, stat.DeviceNumber, (long)stat.SizeBytes, (long)stat.Blocks512,
        stat.AccessTime.TotalNs, stat.ModifyTime.TotalNs, stat.ChangeTime.TotalNs, stat.BlockSizeBytes);

    private uint LinkCount(ObjectNode node, in Statx stat)
    {
        if (node.IsDirectory)
            // The hidden directory counts in the root on file systems that count subdirectories at all.
            return node == root && stat.Links > 2 ? stat.Links - 1 : stat.Links;
        var count = 0u;
        foreach (var link in node.Links)
        {
            if (!IsInternal(link.Parent))
                count++;
        }
        return count;
    }

    /// <summary>A directory descriptor and a name that lead to the object; disposing gives the descriptor back.</summary>
    private readonly ref struct Place(Descriptor directory, ReadOnlySpan<byte> name)
    {
        public int Fd => directory.Fd;
        public ReadOnlySpan<byte> Name { get; } = name;
        public void Dispose() => directory.Release();
    }

    /// <summary>Needs the tree lock, shared at least; the place stays good after it only for as long as nobody renames.</summary>
    private int Locate(ObjectNode node, out Place place)
    {
        place = default;
        if (node.Removed is not null)
            return Errno.ESTALE;
        var (holder, name) = (node, DotName);
        if (node != root && !IsInternal(node))
        {
            if (node.Links is not [var link, ..])
                return Errno.ESTALE;
            (holder, name) = (link.Parent, link.Name);
        }
        var error = AcquireUnderLock(holder, out var descriptor);
        if (error == 0)
            place = new(descriptor!, name);
        return error;
    }
}
