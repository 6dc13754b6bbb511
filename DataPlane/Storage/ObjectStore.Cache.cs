using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// What the kernel keeps of the files in memory.
public sealed unsafe partial class ObjectStore
{
    /// <summary>Flushes everything, hears of every write-back that has failed since somebody was last told, and drops every cached page of all
    /// files that is not going to be written: what is read afterwards is what the disk holds, or is dirty and will be flushed. A page whose
    /// write-back failed counts as clean, so it goes.</summary>
    /// <returns>0, or an errno: of the first failure that was told, or EBUSY if somebody else (a mapping, say) keeps pages in memory.</returns>
    public int DropCache()
    {
        var error = FlushAll();
        // Without cachestat(2) (Linux 6.5) nobody can tell the pages that stay because they are dirty: there are none after a flush.
        var counts = CleanPagesOf(directories[0].RootFd, out _) != Errno.ENOSYS;
        // All files are asked even if one fails: each tells its error only once, and otherwise to a flush of its own, a fault later.
        foreach (var (obj, node) in nodes)
        {
            if (!node.IsRegular)
                continue;
            var one = Acquire(obj, out var descriptor);
            if (one == 0)
            {
                one = WriteBackOutcome(descriptor!.Fd);
                one = one != 0 ? one : DropCache(descriptor.Fd, counts);
                descriptor.Release();
            }
            if (error == 0 && one is not (Errno.ESTALE or Errno.ENOENT))
                error = one;
        }
        return error;
    }

    /// <summary>Waits for what of a file is being written, and hears what its last flush would have told. Unlike one it costs no cache flush of the
    /// disk, so a module may have many files.</summary>
    private static int WriteBackOutcome(int fd)
    {
        int result;
        do
            result = Libc.SyncFileRange(fd, 0, 0, Libc.SyncFileRangeWaitBefore);
        while (result != 0 && Libc.LastErrno == Errno.EINTR);
        return result != 0 ? Libc.LastErrno : Errno.None;
    }

    /// <summary>Users of an earlier process go on with what it has told them: nothing that it wrote may be lost. A flush may have told that
    /// process, which died of something else at once; a descriptor that is as old as the users' mount has still to tell it.</summary>
    private static void MustHaveKept(ReadOnlySpan<int> descriptors)
    {
        foreach (var descriptor in descriptors)
        {
            if (SyncFileSystem(descriptor) is var error and not Errno.None)
                throw new StorageException(StorageFault.FlushFailed, $"Write-back has failed under users that go on: {Errno.Describe(error)}");
        }
    }

    private static int DropCache(int fd, bool counts)
    {
        // A page that is being written or looked at stays; both pass.
        const int TriesMax = 50;
        const int PauseMs = 20;
        for (var tries = 0; tries < TriesMax; tries++)
        {
            if (tries > 0)
                Thread.Sleep(PauseMs);
            var error = Libc.FAdvise(fd, 0, 0, Libc.AdviseDontNeed);
            if (error != 0 || !counts)
                return error;
            error = CleanPagesOf(fd, out var pages);
            if (error != 0 || pages == 0)
                return error;
        }
        return Errno.EBUSY;
    }

    private static int CleanPagesOf(int fd, out long pages)
    {
        CacheRange everything = default;
        CacheCounts counts = default;
        var error = Libc.CacheStat(fd, &everything, &counts) == 0 ? Errno.None : Libc.LastErrno;
        pages = (long)counts.Cached - (long)counts.Dirty - (long)counts.Writeback;
        return error;
    }
}
