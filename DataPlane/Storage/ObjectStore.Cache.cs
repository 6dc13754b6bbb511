using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// What the kernel keeps of the files in memory.
public sealed unsafe partial class ObjectStore
{
    /// <summary>Drops every cached page of all files that is not going to be written: what is read afterwards is what the disk holds, or is
    /// dirty and will be flushed. A page whose write-back failed counts as clean, so it goes.</summary>
    /// <returns>0, or an errno: EBUSY if somebody else (a mapping, say) keeps pages in memory.</returns>
    public int DropCache()
    {
        // Without cachestat(2) (Linux 6.5) nobody can tell the pages that stay because they are dirty: there are none after a flush.
        var error = CleanPagesOf(directories[0].RootFd, out _);
        var told = error != Errno.ENOSYS;
        if (!told && (error = FlushAll()) != 0)
            return error;
        foreach (var (obj, node) in nodes)
        {
            if (!node.IsRegular)
                continue;
            error = Acquire(obj, out var descriptor);
            if (error == 0)
            {
                error = DropCache(descriptor!.Fd, told);
                descriptor.Release();
            }
            if (error is not (0 or Errno.ESTALE or Errno.ENOENT))
                return error;
        }
        return Errno.None;
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

    private static int DropCache(int fd, bool told)
    {
        // A page that is being written or looked at stays; both pass.
        const int TriesMax = 50;
        const int PauseMs = 20;
        for (var tries = 0; tries < TriesMax; tries++)
        {
            if (tries > 0)
                Thread.Sleep(PauseMs);
            var error = Libc.FAdvise(fd, 0, 0, Libc.AdviseDontNeed);
            if (error != 0 || !told)
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
