using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fuse;

namespace Pollux.DataPlane.Guard;

/// <summary>The mount of a directory of a serving module, as another process can go on with it.</summary>
/// <param name="Key">Of the mount, see <see cref="KeyOf"/>; has no spaces.</param>
/// <param name="Path">Where it is mounted, symbolic links resolved.</param>
/// <param name="Directory">The directory under the mounts (<see cref="CoveredDirectory.Handle"/>).</param>
public sealed record HeldMount(string Key, string Path, SafeFileHandle Directory, FuseConnection Connection)
{
    /// <param name="module">Key of the module, <c>cluster/module</c>.</param>
    /// <param name="directory">Position among its directories, from 0.</param>
    public static string KeyOf(string module, int directory) =>
        directory == 0 ? module : string.Create(CultureInfo.InvariantCulture, $"{module}/{directory + 1}");

    internal IReadOnlyList<SafeFileHandle> Descriptors => [Directory, .. Connection.Devices];

    /// <summary>Lets go of the descriptors that came with it: if they are the last ones, the connection ends.</summary>
    public void Close()
    {
        foreach (var descriptor in Descriptors)
            descriptor.Dispose();
    }
}

/// <summary>Keeps mounts over the death of this process.</summary>
public interface IMountHolder
{
    /// <summary>From now on the mount outlives this process. The descriptors stay the caller's, and open until <see cref="Release"/>.</summary>
    void Hold(HeldMount mount);

    /// <summary>The mount ends with this process, or before.</summary>
    void Release(string key);
}
