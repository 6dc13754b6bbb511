using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>How a tree is copied.</summary>
internal sealed record TreeCopyOptions
{
    /// <summary>True: where blocks cannot be shared they are copied. False: that is an error.</summary>
    public bool MayCopyBytes { get; init; }

    /// <summary>Asked before every entry: null to go on, or why the copy is given up.</summary>
    public Func<string?> GiveUpReason { get; init; } = static () => null;
}

/// <summary>What a copy took.</summary>
/// <param name="XattrsLeftOut">Extended attributes that the other file system does not take.</param>
internal readonly record struct TreeCopied(long Entries, long ClonedFiles, long CopiedFiles, long CopiedBytes, long XattrsLeftOut);

/// <summary>The file system cannot share blocks between files; the message names it.</summary>
internal sealed class NoReflinkException(string reason) : IOException(reason);

/// <summary>A copy was given up before its end, for the reason that the caller gave.</summary>
internal sealed class CopyGivenUpException(string reason) : IOException(reason);

/// <summary>Copies a tree whole: names, links, types, owners, modes, times, extended attributes (but for Pollux' own), and the content of
/// regular files by sharing their blocks (reflink). Reserved names in the root are left out. Nobody changes the source meanwhile.</summary>
/// <remarks>Descriptors lead the way, two for each level, so mounts over the tree do not matter and names need not be text. A file with
/// several names is kept under its inode number in <see cref="LinksName"/> until the end, to be linked from there.</remarks>
internal sealed unsafe class TreeCopy : IDisposable
{
    private const int CopyBytes = 1 << 20;
    private const uint OwnerOnly = 0x1C0; // 0700 until the owner is set.

    private readonly Stack<Frame> frames = new();
    private readonly HashSet<ulong> linked = [];
    private readonly TreeCopyOptions options;
    private readonly int target;
    private int links = -1;
    private byte[] buffer = [];
    private TreeCopied done;

    private TreeCopy(int target, TreeCopyOptions options) => (this.target, this.options) = (target, options);

    private static byte[] LinksName => ".pollux-links"u8.ToArray();

    /// <summary>Fills <paramref name="target"/>, an empty directory, from <paramref name="source"/>. The result is not flushed.</summary>
    /// <exception cref="NoReflinkException">Blocks cannot be shared, and may not be copied.</exception>
    /// <exception cref="CopyGivenUpException">The caller gave a reason.</exception>
    /// <exception cref="StorageException">A system call failed; what is there of the copy is the caller's to remove.</exception>
    public static TreeCopied Run(int source, int target, TreeCopyOptions options)
    {
        using var copy = new TreeCopy(target, options);
        copy.Enter(source, target, EntryName.Dot);
        copy.Walk();
        return copy.done;
    }

    public void Dispose()
    {
        while (frames.TryPop(out var frame))
            frame.Close();
        if (links >= 0)
            _ = Libc.Close(links);
    }

    private void Walk()
    {
        while (frames.TryPeek(out var at))
        {
            if (at.Next == at.Names.Count)
            {
                if (frames.Count == 1)
                    RemoveLinks();
                // Times last: what was made inside has changed them.
                Must(ObjectStore.StatxAt(at.Source, EntryName.Dot, out var stat), "stat of a directory");
                Dress(at.Source, at.Target, EntryName.Dot, in stat);
                frames.Pop().Close();
                continue;
            }
            var name = at.Names[at.Next++];
            if (frames.Count == 1 && EntryName.IsReserved(ModuleRoots.First, name))
                continue;
            if (options.GiveUpReason() is { } reason)
                throw new CopyGivenUpException(reason);
            CopyEntry(at, name);
            done = done with { Entries = done.Entries + 1 };
        }
    }

    private void CopyEntry(Frame at, byte[] entryName)
    {
        Must(ObjectStore.StatxAt(at.Source, entryName, out var stat), "stat of a file");
        var type = stat.Mode & StMode.TypeMask;
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        if (type == StMode.Directory)
        {
            Must(Libc.MkDirAt(at.Target, name, OwnerOnly) == 0, "making a directory");
            Enter(at.Source, at.Target, entryName);
            return;
        }
        if (stat.Links > 1 && linked.Contains(stat.Inode))
        {
            LinkFrom(links, EntryName.ForId(stat.Inode), at.Target, entryName);
            return;
        }
        switch (type)
        {
            case StMode.Regular:
                CopyFile(at, name, in stat);
                break;
            case StMode.SymbolicLink:
                CopySymlink(at, name);
                break;
            default:
                Must(Libc.MkNodAt(at.Target, name, type | OwnerOnly, Libc.MakeDevice(stat.DeviceNumber)) == 0, "making a special file");
                break;
        }
        Dress(at.Source, at.Target, entryName, in stat);
        if (stat.Links > 1)
            Remember(at.Target, entryName, stat.Inode);
    }

    private void CopyFile(Frame at, byte* name, in Statx stat)
    {
        const int Common = OpenFlags.CloseOnExec | OpenFlags.NoAccessTime;
        var from = Libc.OpenAt(at.Source, name, OpenFlags.ReadOnly | OpenFlags.NoFollow | OpenFlags.LargeFile | Common);
        Must(from >= 0, "opening a file");
        var to = -1;
        try
        {
            to = Libc.OpenAt(at.Target, name, OpenFlags.WriteOnly | OpenFlags.Create | OpenFlags.Exclusive | OpenFlags.LargeFile | OpenFlags.CloseOnExec, OwnerOnly);
            Must(to >= 0, "making a file");
            if (Libc.IoCtl(to, Libc.CloneFile, from) == 0)
            {
                done = done with { ClonedFiles = done.ClonedFiles + 1 };
                return;
            }
            var error = Libc.LastErrno;
            if (error is not (Errno.EOPNOTSUPP or Errno.EXDEV or Errno.EINVAL or Errno.ENOTTY or Errno.ENOSYS))
                throw new StorageException("sharing the blocks of a file (FICLONE)", error);
            if (!options.MayCopyBytes)
                throw new NoReflinkException(FileSystemName.Of(from) is "XFS" or "btrfs"
                    ? $"this {FileSystemName.Of(from)} shares no blocks of this file ({Errno.Describe(error)}); XFS needs mkfs.xfs -m reflink=1, btrfs a file without nodatacow"
                    : $"{FileSystemName.Of(from)} has no reflink");
            CopyData(from, to, (long)stat.SizeBytes);
            done = done with { CopiedFiles = done.CopiedFiles + 1 };
        }
        finally
        {
            _ = Libc.Close(from);
            if (to >= 0)
                _ = Libc.Close(to);
        }
    }

    /// <summary>Holes stay holes.</summary>
    private void CopyData(int from, int to, long sizeBytes)
    {
        if (buffer.Length == 0)
            buffer = new byte[CopyBytes];
        var at = 0L;
        while (at < sizeBytes)
        {
            var start = Libc.LSeek(from, at, Libc.SeekData);
            if (start < 0 && Libc.LastErrno == Errno.ENXIO)
                break;
            Must(start >= 0, "looking for data");
            var end = Libc.LSeek(from, start, Libc.SeekHole);
            Must(end >= 0, "looking for a hole");
            for (at = start; at < end;)
            {
                if (options.GiveUpReason() is { } reason)
                    throw new CopyGivenUpException(reason);
                at += CopyPiece(from, to, at, (int)Math.Min(CopyBytes, end - at));
            }
        }
        Must(Libc.FTruncate(to, sizeBytes) == 0, "setting the size of a file");
    }

    private long CopyPiece(int from, int to, long offsetBytes, int lengthBytes)
    {
        // SAFETY: the pinned buffer holds CopyBytes, no call is given more.
        fixed (byte* data = buffer)
        {
            nint got;
            do
                got = Libc.PRead(from, data, (nuint)lengthBytes, offsetBytes);
            while (got < 0 && Libc.LastErrno == Errno.EINTR);
            Must(got > 0, "reading a file");
            for (nint put = 0; put < got;)
            {
                var now = Libc.PWrite(to, data + put, (nuint)(got - put), offsetBytes + put);
                if (now < 0 && Libc.LastErrno == Errno.EINTR)
                    continue;
                Must(now > 0, "writing a file");
                put += now;
            }
            done = done with { CopiedBytes = done.CopiedBytes + got };
            return got;
        }
    }

    private static void CopySymlink(Frame at, byte* name)
    {
        const int PathMax = 4096;
        var text = stackalloc byte[PathMax + 1];
        var length = Libc.ReadLinkAt(at.Source, name, text, PathMax);
        Must(length >= 0, "reading a symbolic link");
        text[length] = 0;
        Must(Libc.SymlinkAt(text, at.Target, name) == 0, "making a symbolic link");
    }

    /// <summary>Owner, attributes, mode, times, in this order: a change of owner clears set-id bits and capabilities.</summary>
    private void Dress(int from, int to, ReadOnlySpan<byte> entryName, in Statx stat)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        Must(Libc.FChOwnAt(to, name, stat.Uid, stat.Gid, Libc.AtSymlinkNoFollow) == 0, "setting an owner");
        CopyXattrs(from, to, entryName);
        if (!StMode.IsSymbolicLink(stat.Mode))
            Must(Libc.FChModAt(to, name, stat.Mode & StMode.PermissionMask, 0) == 0, "setting a mode");
        var times = stackalloc Timespec[] { Timespec.FromNs(stat.AccessTime.TotalNs), Timespec.FromNs(stat.ModifyTime.TotalNs) };
        Must(Libc.UTimeNsAt(to, name, times, Libc.AtSymlinkNoFollow) == 0, "setting times");
    }

    private void CopyXattrs(int from, int to, ReadOnlySpan<byte> entryName)
    {
        // XATTR_LIST_MAX and XATTR_SIZE_MAX (linux/limits.h).
        const int XattrBytesMax = 64 * 1024;
        byte* source = stackalloc byte[EntryName.ProcPathBytes], destination = stackalloc byte[EntryName.ProcPathBytes];
        EntryName.ProcPath(from, entryName, source);
        EntryName.ProcPath(to, entryName, destination);
        var listed = Libc.LListXattr(source, null, 0);
        if (listed == 0 || (listed < 0 && Libc.LastErrno == Errno.EOPNOTSUPP))
            return;
        byte[] names = new byte[XattrBytesMax], value = new byte[XattrBytesMax];
        fixed (byte* list = names, data = value)
        {
            listed = Libc.LListXattr(source, list, XattrBytesMax);
            Must(listed >= 0, "listing extended attributes");
            for (nint at = 0; at < listed; at += names.AsSpan((int)at).IndexOf((byte)0) + 1)
            {
                if (names.AsSpan((int)at).StartsWith(EntryName.PrivateXattrPrefix))
                    continue;
                var length = Libc.LGetXattr(source, list + at, data, XattrBytesMax);
                Must(length >= 0, "reading an extended attribute");
                if (Libc.LSetXattr(destination, list + at, data, (nuint)length, 0) == 0)
                    continue;
                if (!options.MayCopyBytes || Libc.LastErrno != Errno.EOPNOTSUPP)
                    throw StorageException.FromLastErrno("setting an extended attribute");
                done = done with { XattrsLeftOut = done.XattrsLeftOut + 1 };
            }
        }
    }

    private void Remember(int directory, byte[] entryName, ulong inode)
    {
        if (links < 0)
        {
            var name = stackalloc byte[EntryName.BufferBytes];
            EntryName.Terminate(LinksName, name);
            Must(Libc.MkDirAt(target, name, OwnerOnly) == 0, "making a directory for links");
            links = Opened(target, LinksName);
        }
        LinkFrom(directory, entryName, links, EntryName.ForId(inode));
        linked.Add(inode);
    }

    private void RemoveLinks()
    {
        if (links >= 0)
            _ = TreeRemoval.Run(target, LinksName, static () => false);
    }

    private static void LinkFrom(int from, byte[] oldName, int to, byte[] newName)
    {
        byte* source = stackalloc byte[EntryName.BufferBytes], destination = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(oldName, source);
        EntryName.Terminate(newName, destination);
        Must(Libc.LinkAt(from, source, to, destination, 0) == 0, "making a link");
    }

    private void Enter(int sourceParent, int targetParent, ReadOnlySpan<byte> entryName)
    {
        var source = Opened(sourceParent, entryName);
        var copy = -1;
        try
        {
            copy = Opened(targetParent, entryName);
            frames.Push(new(source, copy, ObjectStore.ListDirectory(source)));
        }
        catch
        {
            _ = Libc.Close(source);
            if (copy >= 0)
                _ = Libc.Close(copy);
            throw;
        }
    }

    private static int Opened(int directory, ReadOnlySpan<byte> entryName)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        var fd = Libc.OpenAt(directory, name, OpenFlags.Directory | OpenFlags.NoFollow | OpenFlags.CloseOnExec | OpenFlags.NoAccessTime);
        return fd >= 0 ? fd : throw StorageException.FromLastErrno("opening a directory");
    }

    private static void Must(bool succeeded, string operation)
    {
        if (!succeeded)
            throw StorageException.FromLastErrno(operation);
    }

    private static void Must(int error, string operation)
    {
        if (error != 0)
            throw new StorageException(operation, error);
    }

    private sealed class Frame(int source, int target, List<byte[]> names)
    {
        public int Source => source;
        public int Target => target;
        public List<byte[]> Names => names;
        public int Next { get; set; }

        public void Close()
        {
            _ = Libc.Close(source);
            _ = Libc.Close(target);
        }
    }
}
