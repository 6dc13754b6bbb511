namespace Pollux.DataPlane.Core.Replication;

/// <summary>The directories of a module: their order is their identity, and it gives their roots fixed object ids on both hosts.</summary>
public static class ModuleRoots
{
    /// <summary>Directories of one module. Each costs a mount, a few descriptors and, on a file system of its own, a syncfs in every flush of the
    /// whole module; a VM with its disks on more than eight file systems would wait for the slowest of them anyway.</summary>
    public const int DirectoriesMax = 8;

    /// <summary>The root of the first directory.</summary>
    public const ulong First = 1;

    /// <param name="directory">From 0.</param>
    public static ulong Of(int directory) => First + (ulong)directory;

    /// <summary>The object is the root of a directory, in a module that has so many.</summary>
    public static bool Contains(ulong obj) => obj - First < DirectoriesMax;

    /// <param name="root">A root.</param>
    public static int IndexOf(ulong root) => (int)(root - First);
}
