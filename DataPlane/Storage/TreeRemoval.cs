using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>Removes a tree, by descriptors, one for each level.</summary>
internal static unsafe class TreeRemoval
{
    /// <param name="stop">Asked before every entry: true ends the removal; a later one goes on with the rest.</param>
    /// <returns>True when nothing of it is left, also when there was nothing.</returns>
    /// <exception cref="StorageException">A system call failed.</exception>
    public static bool Run(int parent, byte[] entryName, Func<bool> stop)
    {
        if (Unlinked(parent, entryName))
            return true;
        var frames = new Stack<Frame>();
        try
        {
            frames.Push(Enter(parent, entryName));
            while (frames.TryPeek(out var at))
            {
                if (stop())
                    return false;
                if (at.Names.TryPop(out var name))
                {
                    if (!Unlinked(at.Fd, name))
                        frames.Push(Enter(at.Fd, name));
                    continue;
                }
                _ = frames.Pop();
                _ = Libc.Close(at.Fd);
                RemoveDirectory(frames.TryPeek(out var above) ? above.Fd : parent, at.Name);
            }
            return true;
        }
        finally
        {
            foreach (var frame in frames)
                _ = Libc.Close(frame.Fd);
        }
    }

    /// <returns>False: it is a directory.</returns>
    private static bool Unlinked(int parent, byte[] entryName)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        if (Libc.UnlinkAt(parent, name, 0) == 0 || Libc.LastErrno == Errno.ENOENT)
            return true;
        return Libc.LastErrno == Errno.EISDIR ? false : throw StorageException.FromLastErrno("removing a file");
    }

    private static void RemoveDirectory(int parent, byte[] entryName)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        if (Libc.UnlinkAt(parent, name, Libc.AtRemoveDirectory) != 0 && Libc.LastErrno != Errno.ENOENT)
            throw StorageException.FromLastErrno("removing a directory");
    }

    private static Frame Enter(int parent, byte[] entryName)
    {
        var name = stackalloc byte[EntryName.BufferBytes];
        EntryName.Terminate(entryName, name);
        var fd = Libc.OpenAt(parent, name, OpenFlags.Directory | OpenFlags.NoFollow | OpenFlags.CloseOnExec | OpenFlags.NoAccessTime);
        if (fd < 0)
            throw StorageException.FromLastErrno("opening a directory");
        try
        {
            return new(fd, entryName, new(ObjectStore.ListDirectory(fd)));
        }
        catch
        {
            _ = Libc.Close(fd);
            throw;
        }
    }

    private readonly record struct Frame(int Fd, byte[] Name, Stack<byte[]> Names);
}
