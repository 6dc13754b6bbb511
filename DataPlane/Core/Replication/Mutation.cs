namespace Pollux.DataPlane.Core.Replication;

public enum MutationKind : byte
{
    CreateFile = 1,
    MakeDirectory,
    MakeNode,
    Symlink,
    Link,
    Unlink,
    RemoveDirectory,
    Rename,
    SetAttributes,
    SetXattr,
    RemoveXattr,
    Allocate,

    /// <summary>The primary's kernel has forgotten an object without links: its storage may go.</summary>
    Release,

    /// <summary>The last writer of a file has closed it: its time of modification is that of the primary on both hosts.</summary>
    SettleTime,
}

/// <summary>Which fields of a <see cref="MutationKind.SetAttributes"/> are meant.</summary>
[Flags]
public enum AttributeMask
{
    None = 0,
    Mode = 1,
    Uid = 2,
    Gid = 4,
    Size = 8,
    AccessTime = 16,
    ModifyTime = 32,
}

/// <summary>One change of the namespace, of attributes or of allocation: the same value is applied on the primary and sent to the
/// replica, so both hosts do the same by the same code. Identity is the object id; names are bytes, never text.</summary>
/// <remarks><para>Times are nanoseconds since 1970 and are resolved by the primary ("now" never crosses the link). ModifyTimeNs, unless 0,
/// becomes the time of new objects, of directories whose names change and of files whose content an Allocate changes; otherwise each host's
/// file system stamps them by its own clock. Times of change (ctime) cannot be set and are each host's own.</para>
/// <para>Create, MakeDirectory, MakeNode, Symlink: Object, Parent, Name, Mode, Uid, Gid (and DeviceNumber; Data: the target of the link, or else the
/// default ACL of the directory, if it has one, to which Mode has been limited already). Link: Object gets
/// the further name (Parent, Name). Unlink, RemoveDirectory: (Parent, Name). Rename: (Parent, Name) to (NewParent, NewName), Flags.
/// For these three Object may be 0; if it is not, it must be what the name means, or the result is ESTALE.
/// The rest concern Object only.</para></remarks>
public sealed record Mutation(MutationKind Kind)
{
    /// <summary>The object concerned; for the kinds that create one, the new object's id, chosen by the primary.</summary>
    public ulong Object { get; init; }

    /// <summary>Directory that holds <see cref="Name"/>.</summary>
    public ulong Parent { get; init; }

    /// <summary>Entry name, or the attribute's name for the xattr kinds. No terminating zero.</summary>
    public byte[] Name { get; init; } = [];

    public ulong NewParent { get; init; }
    public byte[] NewName { get; init; } = [];

    /// <summary>Symlink target, xattr value or inherited default ACL.</summary>
    public byte[] Data { get; init; } = [];

    /// <summary>File type and permission bits as in st_mode.</summary>
    public uint Mode { get; init; }
    public uint Uid { get; init; }
    public uint Gid { get; init; }
    public uint DeviceNumber { get; init; }

    /// <summary>renameat2, setxattr or fallocate flags, as the kernel defines them.</summary>
    public uint Flags { get; init; }

    public AttributeMask Mask { get; init; }

    /// <summary>New size, bytes, for <see cref="AttributeMask.Size"/>.</summary>
    public long SizeBytes { get; init; }

    /// <summary>Range of <see cref="MutationKind.Allocate"/>, bytes.</summary>
    public long OffsetBytes { get; init; }
    public long LengthBytes { get; init; }

    public long AccessTimeNs { get; init; }
    public long ModifyTimeNs { get; init; }
}

/// <summary>Attributes of an object as stat gives them, with the object id in place of the inode number.</summary>
public readonly record struct ObjectAttributes(
    ulong Object, uint Mode, uint Links, uint Uid, uint Gid, uint DeviceNumber, long SizeBytes, long Blocks512,
    long AccessTimeNs, long ModifyTimeNs, long ChangeTimeNs, uint BlockSizeBytes);
