using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>One directory of a module in an <see cref="ObjectStore"/>: its root and its two internal directories, whose descriptors stay open
/// as long as the store. Objects never leave the directory in which they came into being, so each lies on one file system for life.</summary>
internal sealed class StoreDirectory
{
    /// <param name="fileSystem">As <see cref="Statx.FileSystem"/> tells of the root.</param>
    public StoreDirectory(int index, ulong fileSystem, int rootFd, int stageFd, int unlinkedFd)
    {
        (Index, FileSystem) = (index, fileSystem);
        Root = new(ModuleRoots.Of(index), StMode.Directory, this) { Descriptor = new(rootFd, writable: false) };
        Stage = Internal(stageFd);
        Unlinked = Internal(unlinkedFd);
    }

    /// <summary>Position among the module's directories, from 0.</summary>
    public int Index { get; }

    /// <summary>Two directories on one file system are flushed by one call.</summary>
    public ulong FileSystem { get; }

    public ObjectNode Root { get; }

    /// <summary>What a manifest moves.</summary>
    public ObjectNode Stage { get; }

    /// <summary>Objects without a name.</summary>
    public ObjectNode Unlinked { get; }

    public int RootFd => (Volatile.Read(ref Root.Descriptor) ?? throw new ObjectDisposedException(nameof(ObjectStore))).Fd;

    public void Close()
    {
        foreach (var node in (ReadOnlySpan<ObjectNode>)[Root, Stage, Unlinked])
            Interlocked.Exchange(ref node.Descriptor, null)?.Release();
    }

    private ObjectNode Internal(int fd) => new(0, StMode.Directory, this) { Descriptor = new(fd, writable: false), IsInternal = true };
}
