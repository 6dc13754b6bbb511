using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Storage;

/// <summary>The local copy of one module: maps object ids to the files of its directories, reads and writes them, and applies mutations.
/// All results are 0 or a positive Linux error number.</summary>
/// <remarks>
/// <para>Identity is the extended attribute <c>trusted.pollux.id</c> (8 bytes, little endian). The tree is scanned once and held in
/// memory. Files are reached by calls relative to descriptors under the module's directories, so a mount over them does not matter; nobody
/// else changes the tree while a store is open.</para>
/// <para>A module has one directory or several, each perhaps on a file system of its own; the root of the k-th has the id
/// <see cref="ModuleRoots.Of"/>. An object stays in its directory: a rename or a link across fails with EXDEV.</para>
/// <para>Each root holds a hidden directory <c>.pollux</c> with two internal directories: <c>unlinked</c> keeps objects that have no name
/// (new ones before they get theirs; unlinked ones until <see cref="MutationKind.Release"/>), and <c>stage</c> those that a manifest
/// moves. What is in <c>unlinked</c> when a store opens is refuse of a crash and is removed, unless its users go on
/// (<see cref="ObjectStoreOptions.KeepsUnlinked"/>).</para>
/// <para>Locks, outermost first: <see cref="mutationGate"/> (one mutation at a time), <see cref="treeLock"/> (shared for looking, exclusive
/// for changing names), a node's monitor (opening its descriptor), the descriptor cache. Read and Write take none of them while the
/// descriptor is cached.</para>
/// </remarks>
public sealed unsafe partial class ObjectStore : IDisposable
{
    /// <summary>The root of the first directory.</summary>
    public const ulong RootObject = ModuleRoots.First;

    /// <summary>Ids below this one are the store's own.</summary>
    public const ulong FirstFreeId = 16;

    // Marks ids that exist in memory only, for objects without a valid id on disk.
    private const ulong UnnamedBit = 1UL << 63;

    private static readonly byte[] DotName = [(byte)'.'];

    private readonly Lock mutationGate = new();
    private readonly ReaderWriterLockSlim treeLock = new(LockRecursionPolicy.NoRecursion);
    private readonly ConcurrentDictionary<ulong, ObjectNode> nodes = new();
    private readonly DescriptorCache cache;
    private readonly ObjectStoreOptions options;
    private readonly StoreDirectory[] directories;
    private ulong highestId = FirstFreeId - 1;
    private int flushErrno;
    private bool disposed;

    private ObjectStore(StoreDirectory[] directories, ObjectStoreOptions options)
    {
        (this.directories, this.options) = (directories, options);
        cache = new(options.DescriptorsMax);
        foreach (var directory in directories)
            nodes[directory.Root.Id] = directory.Root;
    }

    /// <summary>Opens and scans the module's directories by descriptors of them (O_PATH will do), which stay the caller's.</summary>
    /// <param name="directories">1 to <see cref="ModuleRoots.DirectoriesMax"/>, in the order that both hosts know.</param>
    /// <exception cref="StorageException">A directory cannot serve; the fault says why.</exception>
    public static ObjectStore Open(IReadOnlyList<SafeHandle> directories, ObjectStoreOptions? options = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(directories.Count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(directories.Count, ModuleRoots.DirectoriesMax);
        var held = 0;
        try
        {
            foreach (var directory in directories)
            {
                var added = false;
                directory.DangerousAddRef(ref added);
                held++;
            }
            int[] descriptors = [.. directories.Select(static directory => (int)directory.DangerousGetHandle())];
            if (options is { KeepsUnlinked: true })
                MustHaveKept(descriptors);
            return Open(descriptors, options ?? ObjectStoreOptions.Default);
        }
        finally
        {
            foreach (var directory in directories.Take(held))
                directory.DangerousRelease();
        }
    }

    /// <summary>The same with one directory.</summary>
    /// <exception cref="StorageException">The directory cannot serve; the fault says why.</exception>
    public static ObjectStore Open(SafeHandle directory, ObjectStoreOptions? options = null) => Open([directory], options);

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

    /// <summary>Number of directories.</summary>
    public int Directories => directories.Length;

    /// <summary>The greatest id in use; new ids must be greater than it and than <see cref="FirstFreeId"/>.</summary>
    public ulong HighestId => Volatile.Read(ref highestId);

    /// <summary>Number of objects, the roots included.</summary>
    public int Count => nodes.Count;

    /// <summary>Users of an earlier process go on: <see cref="ObjectStoreOptions.KeepsUnlinked"/>.</summary>
    public bool KeepsUnlinked => options.KeepsUnlinked;

    /// <summary>The objects that have no name and are kept.</summary>
    public IReadOnlyList<ulong> Unlinked()
    {
        treeLock.EnterReadLock();
        try
        {
            return [.. directories.SelectMany(static directory => directory.Unlinked.Children!.Entries).Select(static entry => entry.Node).Where(IsOrphan).Select(static node => node.Id)];
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
                var error = AttributesOf(node.Links is [var link, ..] && !link.Parent.IsInternal ? link.Parent : node, out var parent);
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

    /// <summary>Space of the file system on which the object lies.</summary>
    public int StatFs(ulong obj, out VolumeSpace space)
    {
        StatFs raw;
        space = default;
        if (Find(obj) is not { } node)
            return Errno.ESTALE;
        if (Libc.FStatFs(node.Home.RootFd, &raw) != 0)
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
                foreach (var directory in directories)
                    directory.Close();
            }
            finally
            {
                treeLock.ExitWriteLock();
            }
        }
    }

    /// <summary>A descriptor of the hidden directory of a directory of the module, which stays good when the store is disposed of.</summary>
    /// <exception cref="StorageException">It cannot be opened.</exception>
    internal SafeFileHandle OpenHiddenDirectory(int directory) =>
        new(OpenDirectory(directories[directory].RootFd, ".pollux"u8, "the hidden directory .pollux"), ownsHandle: true);

    /// <summary>The same of the directory itself.</summary>
    internal SafeFileHandle OpenModuleDirectory(int directory) =>
        new(OpenDirectory(directories[directory].RootFd, EntryName.Dot, "the module directory"), ownsHandle: true);

    private static bool IsRoot(ObjectNode node) => node == node.Home.Root;

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
            return IsRoot(node) && stat.Links > 2 ? stat.Links - 1 : stat.Links;
        var count = 0u;
        foreach (var link in node.Links)
        {
            if (!link.Parent.IsInternal)
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
        if (!IsRoot(node) && !node.IsInternal)
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
