using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// File content: the hot path. With a cached descriptor a call costs a dictionary look-up and two interlocked operations; no lock, no
// allocation.
public sealed unsafe partial class ObjectStore
{
    /// <summary>Checks that the object can be opened, and has its descriptor at hand for what follows. Objects need no other opening:
    /// every call takes the id.</summary>
    /// <param name="flags">open(2) flags; only the access mode matters.</param>
    public int Open(ulong obj, int flags)
    {
        var error = Acquire(obj, out var descriptor);
        if (error != 0)
            return error;
        var refused = (flags & OpenFlags.AccessMask) != OpenFlags.ReadOnly && !descriptor!.Writable;
        descriptor!.Release();
        return refused ? Errno.EROFS : Errno.None;
    }

    /// <param name="count">Bytes read; fewer than asked only at the end of the file.</param>
    public int Read(ulong obj, long offsetBytes, Span<byte> buffer, out int count)
    {
        count = 0;
        var error = Acquire(obj, out var descriptor);
        if (error != 0)
            return error;
        // SAFETY: the span is pinned; every call reads into what is left of it.
        fixed (byte* start = buffer)
        {
            while (count < buffer.Length)
            {
                var got = Libc.PRead(descriptor!.Fd, start + count, (nuint)(buffer.Length - count), offsetBytes + count);
                if (got < 0)
                {
                    if (Libc.LastErrno == Errno.EINTR)
                        continue;
                    error = Libc.LastErrno;
                    break;
                }
                if (got == 0)
                    break;
                count += (int)got;
            }
        }
        descriptor!.Release();
        return error;
    }

    /// <summary>Bytes of one write call. The page cache takes a folio of the size of the call, and ext4 looks at every block of a folio at
    /// each later write into it: 4 KiB into a folio of 1 MiB take tens of times as long as into one of this size.</summary>
    private const int WriteBytesMax = 64 << 10;

    /// <summary>Writes all of <paramref name="data"/> into the page cache. After an error a part may have been written.</summary>
    public int Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data)
    {
        var error = Acquire(obj, out var descriptor);
        if (error != 0)
            return error;
        if (!descriptor!.Writable)
        {
            descriptor.Release();
            return Errno.EROFS;
        }
        var done = 0;
        // SAFETY: the span is pinned; every call writes from what is left of it.
        fixed (byte* start = data)
        {
            while (done < data.Length)
            {
                var put = Libc.PWrite(descriptor.Fd, start + done, (nuint)Math.Min(data.Length - done, WriteBytesMax), offsetBytes + done);
                if (put > 0)
                {
                    done += (int)put;
                    continue;
                }
                if (put < 0 && Libc.LastErrno == Errno.EINTR)
                    continue;
                error = put < 0 ? Libc.LastErrno : Errno.EIO;
                break;
            }
        }
        descriptor.Release();
        return error;
    }

    /// <param name="whence">SEEK_DATA or SEEK_HOLE.</param>
    public int Seek(ulong obj, long offsetBytes, int whence, out long result)
    {
        result = 0;
        if (whence is not (Libc.SeekData or Libc.SeekHole))
            return Errno.EINVAL;
        var error = Acquire(obj, out var descriptor);
        if (error != 0)
            return error;
        // Moves the descriptor's own position, which nobody uses: all other calls give an offset.
        result = Libc.LSeek(descriptor!.Fd, offsetBytes, whence);
        error = result < 0 ? Libc.LastErrno : Errno.None;
        descriptor.Release();
        return error;
    }

    /// <summary>Deallocates a range; it reads as zeros afterwards, and the file ends no sooner than it does.</summary>
    public int MakeHole(ulong obj, long offsetBytes, long lengthBytes)
    {
        var error = Acquire(obj, out var descriptor);
        if (error != 0)
            return error;
        var fd = descriptor!.Fd;
        var done = Libc.FAllocate(fd, Libc.FallocatePunchHole | Libc.FallocateKeepSize, offsetBytes, lengthBytes) == 0
            && Libc.LSeek(fd, 0, Libc.SeekEnd) is >= 0 and var sizeBytes
            && (sizeBytes >= offsetBytes + lengthBytes || Libc.FTruncate(fd, offsetBytes + lengthBytes) == 0);
        error = done ? Errno.None : Libc.LastErrno;
        descriptor.Release();
        return error;
    }

    /// <summary>Makes the object's content, and its attributes unless <paramref name="dataOnly"/>, stable.</summary>
    public int Flush(ulong obj, bool dataOnly)
    {
        if (Find(obj) is not { } node)
            return Errno.ESTALE;
        if (node.Removed is not null)
            return Errno.None;
        // Links, devices and pipes have no descriptor to flush by; what there is of them is metadata of the file system.
        if (!node.IsRegular && !node.IsDirectory)
            return FlushAll();
        var error = Acquire(obj, out var descriptor);
        if (error != 0)
            return error;
        // The kernel tells an error once by each descriptor: of two calls at once one would find nothing wrong, and might say so first.
        lock (descriptor!)
        {
            int result;
            do
                result = dataOnly ? Libc.FDataSync(descriptor.Fd) : Libc.FSync(descriptor.Fd);
            while (result != 0 && Libc.LastErrno == Errno.EINTR);
            error = Outcome(result != 0 ? Libc.LastErrno : Errno.None);
        }
        descriptor.Release();
        return error;
    }

    /// <summary>After a flush that failed none succeeds: what it has lost is never written.</summary>
    private int Outcome(int error) =>
        error == Errno.None ? Volatile.Read(ref flushErrno) : Interlocked.CompareExchange(ref flushErrno, error, Errno.None) is var first and not Errno.None ? first : error;

    /// <summary>Makes everything stable, names included, on every file system of the module: a flush of one says nothing of another. The roots'
    /// descriptors are open as long as the store, so they learn of every write-back error since then (Linux 5.8).</summary>
    public int FlushAll()
    {
        // All of them are asked even if one fails: each tells its error only once.
        lock (directories)
        {
            var error = Errno.None;
            for (var i = 0; i < directories.Length; i++)
            {
                var one = IsFlushedBefore(i) ? Errno.None : SyncFileSystem(directories[i].RootFd);
                error = error != 0 ? error : one;
            }
            return Outcome(error);
        }
    }

    /// <summary>An earlier directory lies on the same file system.</summary>
    private bool IsFlushedBefore(int directory)
    {
        for (var i = 0; i < directory; i++)
        {
            if (directories[i].FileSystem == directories[directory].FileSystem)
                return true;
        }
        return false;
    }

    private static int SyncFileSystem(int fd)
    {
        int result;
        do
            result = Libc.SyncFs(fd);
        while (result != 0 && Libc.LastErrno == Errno.EINTR);
        return result != 0 ? Libc.LastErrno : Errno.None;
    }

    private int Acquire(ulong obj, out Descriptor? descriptor)
    {
        descriptor = null;
        if (!nodes.TryGetValue(obj, out var node))
            return Errno.ESTALE;
        if (TryCached(node, out descriptor))
            return Errno.None;
        treeLock.EnterReadLock();
        try
        {
            return AcquireUnderLock(node, out descriptor);
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    private static bool TryCached(ObjectNode node, out Descriptor? descriptor)
    {
        descriptor = Volatile.Read(ref node.Descriptor);
        if (descriptor is null || !descriptor.TryAcquire())
            return false;
        if (Volatile.Read(ref node.Used) == 0)
            Volatile.Write(ref node.Used, 1);
        return true;
    }

    /// <summary>Opens the object by its first link if need be. Needs the tree lock, shared at least.</summary>
    private int AcquireUnderLock(ObjectNode node, out Descriptor? descriptor)
    {
        if (TryCached(node, out descriptor))
            return Errno.None;
        if (node.Removed is not null || node.Links.Count == 0)
            return Errno.ESTALE;
        if (!node.IsDirectory && !node.IsRegular)
            return Errno.ENXIO;
        lock (node)
        {
            if (TryCached(node, out descriptor))
                return Errno.None;
            var link = node.Links[0];
            var error = AcquireUnderLock(link.Parent, out var parent);
            if (error != 0)
                return error;
            error = OpenObject(parent!.Fd, link.Name, node, out descriptor);
            parent.Release();
            if (error != 0)
                return error;
            // The caller's reference is taken before anybody else can evict and close.
            _ = descriptor!.TryAcquire();
            cache.Add(node, descriptor);
            return Errno.None;
        }
    }

    private static int OpenObject(int directory, ReadOnlySpan<byte> entryName, ObjectNode node, out Descriptor? descriptor)
    {
        descriptor = null;
        var common = OpenFlags.NoFollow | OpenFlags.CloseOnExec | OpenFlags.NoAccessTime | OpenFlags.LargeFile;
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        var writable = node.IsRegular;
        var fd = Libc.OpenAt(directory, name, common | (writable ? OpenFlags.ReadWrite : OpenFlags.ReadOnly | OpenFlags.Directory));
        if (fd < 0 && writable && Libc.LastErrno is Errno.EROFS or Errno.EPERM or Errno.EACCES or Errno.ETXTBSY)
        {
            // An immutable file, or a read-only file system, can still be read.
            writable = false;
            fd = Libc.OpenAt(directory, name, common | OpenFlags.ReadOnly);
        }
        if (fd < 0)
            return Libc.LastErrno;
        // Somebody may have changed the tree behind the store's back: then the name leads to another object.
        if (ReadId(fd, EntryName.Dot, own: true, out var id) != 0 || (id != node.Id && (node.Id & UnnamedBit) == 0))
        {
            _ = Libc.Close(fd);
            return Errno.ESTALE;
        }
        descriptor = new(fd, writable);
        return Errno.None;
    }
}
