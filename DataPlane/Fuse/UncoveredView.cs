using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>A look at a module's directory under its mounts, from another process than the one that made them, whether that one runs or
/// not. A thread of its own gets a private mount namespace and takes the mounts of this program away there; nobody else sees that.</summary>
internal static class UncoveredView
{
    /// <param name="look">Gets a descriptor of the directory; runs on the thread whose paths lead under the mounts.</param>
    /// <exception cref="FuseException">The directory does not exist, or the namespace cannot be made (not root).</exception>
    public static T Of<T>(string directory, Func<SafeFileHandle, T> look)
    {
        var path = CoveredDirectory.Resolve(directory);
        T? result = default;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Uncover(path);
                using var handle = CoveredDirectory.OpenPath(path);
                result = look(handle);
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        })
        { Name = "uncovered" };
        thread.Start();
        thread.Join();
        failure?.Throw();
        return result!;
    }

    private static void Uncover(string path)
    {
        if (Libc.Unshare(Libc.NewMountNamespace) != 0)
            throw new FuseException("Cannot make a private mount namespace", Marshal.GetLastPInvokeError());
        if (FuseNative.Mount("none", "/", "none", (nuint)(FuseNative.MsRecursive | FuseNative.MsPrivate), null) != 0)
            throw new FuseException("Cannot make the mounts private", Marshal.GetLastPInvokeError());
        while (MountTable.On(path, "/proc/thread-self/mountinfo") is [.., var top]
            && (top.Type == CoveredDirectory.FuseType || top is { Type: "tmpfs", Source: CoveredDirectory.BaseSource }))
        {
            if (FuseNative.Unmount(path, FuseNative.UmountDetach | FuseNative.UmountNoFollow) != 0)
                throw new FuseException($"Cannot look under the mounts of {path}", Marshal.GetLastPInvokeError());
        }
    }
}
