using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// What a verify compares of objects beside their content. Everything is read from the disk, names included: the tree in memory would not know
// what somebody else has done to the directory.
public sealed unsafe partial class ObjectStore
{
    /// <returns>0, or the error of a disk that does not tell. Objects that are not there have an empty digest.</returns>
    public int DescribeEntries(IReadOnlyList<ulong> objects, out EntryDigest[] digests)
    {
        digests = new EntryDigest[objects.Count];
        lock (mutationGate)
        {
            for (var i = 0; i < objects.Count; i++)
            {
                try
                {
                    if (Find(objects[i]) is { Removed: null } node && HasItsNames(node))
                        digests[i] = EntryDigest.Of(Describe(node), ChildrenOf(node));
                }
                catch (StorageException e) when (LinuxError.IsGone(e.Errno) || e.Errno is Errno.ENOENT or Errno.ENOTDIR)
                {
                    // It is not there: that is the answer.
                }
                catch (StorageException e)
                {
                    return e.Errno != 0 ? e.Errno : Errno.EIO;
                }
                catch (ObjectDisposedException)
                {
                    return Errno.EIO;
                }
            }
        }
        return Errno.None;
    }

    /// <summary>The object's path for people; null if it has no name.</summary>
    public string? PathOf(ulong obj)
    {
        treeLock.EnterReadLock();
        try
        {
            return Find(obj) is { } node && (IsRoot(node) || node.Links.Count > 0) ? PathOf(node) : null;
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    /// <summary>Every name leads to this object still.</summary>
    private bool HasItsNames(ObjectNode node)
    {
        foreach (var link in node.Links)
        {
            Must(AcquireUnderLock(link.Parent, out var parent), $"opening {PathOf(link.Parent)}");
            try
            {
                if (ReadId(parent!.Fd, link.Name, own: false, out var id) != 0 || id != node.Id)
                    return false;
            }
            finally
            {
                parent!.Release();
            }
        }
        return true;
    }

    private IEnumerable<ManifestChild> ChildrenOf(ObjectNode node)
    {
        if (node.Children is not { } children)
            return [];
        using var listing = new Microsoft.Win32.SafeHandles.SafeFileHandle(OpenForListing(node), ownsHandle: true);
        return
        [
            .. ListDirectory((int)listing.DangerousGetHandle()).Where(name => !EntryName.IsReserved(node.Id, name))
                .Select(name => new ManifestChild(name, children.Find(name)?.Node.Id ?? 0)),
        ];
    }

    /// <summary>A descriptor of its own: reading a directory moves its position.</summary>
    private int OpenForListing(ObjectNode directory)
    {
        Must(AcquireUnderLock(directory, out var descriptor), $"opening {PathOf(directory)}");
        try
        {
            return OpenDirectory(descriptor!.Fd, EntryName.Dot, PathOf(directory));
        }
        finally
        {
            descriptor!.Release();
        }
    }
}
