namespace Pollux.DataPlane.Core.Replication;

/// <summary>A name of an object: an entry of a directory.</summary>
public readonly record struct ManifestLink(ulong Parent, byte[] Name);

/// <summary>An extended attribute.</summary>
public readonly record struct ManifestXattr(byte[] Name, byte[] Value);

/// <summary>One object of a tree with everything but its content.</summary>
/// <remarks>An object without links has been unlinked and is still in use; the roots have none either.</remarks>
public sealed record ManifestEntry(ulong Object, uint Mode)
{
    /// <summary>The directory of the module in which the object lies, from 0: what has no name has no other place.</summary>
    public int Directory { get; init; }

    public uint Uid { get; init; }
    public uint Gid { get; init; }
    public uint DeviceNumber { get; init; }
    public long SizeBytes { get; init; }
    public long AccessTimeNs { get; init; }
    public long ModifyTimeNs { get; init; }
    public IReadOnlyList<ManifestLink> Links { get; init; } = [];
    public byte[] SymlinkTarget { get; init; } = [];
    public IReadOnlyList<ManifestXattr> Xattrs { get; init; } = [];

    /// <summary>A file with content of its own (S_IFREG of S_IFMT, stat.h).</summary>
    public bool IsRegular => (Mode & 0xF000) == 0x8000;
}
