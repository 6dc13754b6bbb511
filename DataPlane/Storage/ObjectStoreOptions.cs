namespace Pollux.DataPlane.Storage;

/// <summary>Limits of one module's store.</summary>
public sealed record ObjectStoreOptions
{
    public static readonly ObjectStoreOptions Default = new();

    /// <summary>Open descriptors kept for files and directories. 512 for each of 32 modules is 16 384, far below the 524 288 that systemd
    /// grants a service, and more than the files and directories that a VM keeps busy.</summary>
    public int DescriptorsMax { get; init; } = 512;

    /// <summary>Objects (files, directories, links) of one module. The tree is held in memory at about 350 bytes an object, so a
    /// million objects cost about 350 MB.</summary>
    public int ObjectsMax { get; init; } = 1_000_000;

    /// <summary>The users of an earlier process go on with this store (its FUSE connection was kept): objects that have lost their last name
    /// may still be open, so they stay.</summary>
    public bool KeepsUnlinked { get; init; }
}
