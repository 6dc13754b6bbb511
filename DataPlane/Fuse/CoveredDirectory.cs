using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>A module's directory, opened before anything is mounted over it, and covered from then on.</summary>
/// <remarks>
/// Three layers lie on the path of a module:
/// <code>
///   FUSE mount (serving volume or cover file system)     comes and goes with the role
///   empty read-only tmpfs "pollux-cover"                 stays while the module is known to this host
///   the directory itself                                 reached through <see cref="Handle"/> only
/// </code>
/// The middle layer exists because a change of role replaces the FUSE mount: in between, and after a fault, nobody may see the copy.
/// A process that was killed leaves a dead FUSE mount ("Transport endpoint is not connected") above it; <see cref="Open"/> removes both.
/// </remarks>
public sealed class CoveredDirectory : IDisposable
{
    /// <summary>File system type of all FUSE mounts of this program, as the mount table shows it.</summary>
    public const string FuseType = "fuse.pollux";
    internal const string BaseSource = "pollux-cover";

    /// <summary>A path never carries more layers of ours than a few crashes leave behind.</summary>
    private const int LayersMax = 64;

    private CoveredDirectory(string path, SafeFileHandle handle)
    {
        Path = path;
        Handle = handle;
    }

    /// <summary>Absolute path with symbolic links resolved.</summary>
    public string Path { get; }

    /// <summary>The directory under the mounts: good as the directory of openat(2) and the other *at calls, and for syncfs(2), by which it tells
    /// what write-back has failed since it was opened. It stays valid however many mounts lie on the path.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Removes what a killed process left on the directory, opens it and covers it.</summary>
    /// <param name="probeTimeout">How long an existing mount of this type may take to answer before it counts as served by another
    /// living process.</param>
    /// <exception cref="FuseException">The directory does not exist, another living process serves it, or a system call failed.</exception>
    public static CoveredDirectory Open(string directory, TimeSpan probeTimeout)
    {
        var path = Resolve(directory);
        RemoveStaleLayers(path, probeTimeout);
        var handle = OpenDirectory(path);
        try
        {
            // size and nr_inodes: a tmpfs without limits is never right; it stays empty, it is read-only.
            const ulong flags = FuseNative.MsReadOnly | FuseNative.MsNoSuid | FuseNative.MsNoDevices | FuseNative.MsNoExec;
            if (FuseNative.Mount(BaseSource, path, "tmpfs", (nuint)flags, "size=4k,nr_inodes=2,mode=0555") != 0)
                throw new FuseException($"Cannot cover {path}", Marshal.GetLastPInvokeError());
            return new CoveredDirectory(path, handle);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>The covered directory of an earlier process, whose layers are still in place.</summary>
    /// <param name="path">As <see cref="Path"/> was.</param>
    /// <param name="handle">As <see cref="Handle"/> was; owned by the result.</param>
    internal static CoveredDirectory Adopt(string path, SafeFileHandle handle) => new(path, handle);

    /// <summary>Takes the cover away, so that the files are visible again; FUSE mounts above it must be gone.</summary>
    /// <exception cref="FuseException">Something else lies on the path.</exception>
    public void Uncover()
    {
        var layers = MountTable.On(Path);
        if (layers.Count == 0)
            return;
        if (layers[^1] is not { Type: "tmpfs", Source: BaseSource })
            throw new FuseException($"Cannot uncover {Path}: {layers[^1].Type} is mounted there.");
        Detach(Path);
    }

    public void Dispose() => Handle.Dispose();

    /// <summary>With O_PATH: whatever is mounted there is not asked.</summary>
    internal static SafeFileHandle OpenPath(string path) => Open(path, OpenFlags.Path);

    internal static SafeFileHandle OpenDirectory(string path) => Open(path, OpenFlags.ReadOnly);

    private static SafeFileHandle Open(string path, int flags)
    {
        var descriptor = FuseNative.Open(path, flags | OpenFlags.Directory | OpenFlags.CloseOnExec, 0);
        if (descriptor < 0)
            throw new FuseException($"Cannot open the directory {path}", Marshal.GetLastPInvokeError());
        return new SafeFileHandle(descriptor, ownsHandle: true);
    }

    internal static string Resolve(string directory)
    {
        using var handle = OpenPath(directory);
        var link = "/proc/self/fd/" + handle.DangerousGetHandle().ToString(CultureInfo.InvariantCulture);
        return new FileInfo(link).LinkTarget ?? throw new FuseException($"Cannot resolve {directory}: /proc is not mounted.");
    }

    private static void RemoveStaleLayers(string path, TimeSpan probeTimeout)
    {
        for (var removed = 0; removed < LayersMax; removed++)
        {
            var layers = MountTable.On(path);
            if (layers.Count == 0)
                return;
            var top = layers[^1];
            if (top.Type == FuseType)
            {
                if (Answers(path, probeTimeout))
                    throw new FuseException($"{path} is served by another running process.");
            }
            else if (top is not { Type: "tmpfs", Source: BaseSource })
            {
                return;
            }

            Detach(path);
        }

        throw new FuseException($"{path} carries more than {LayersMax} mounts of this program.");
    }

    private static void Detach(string path)
    {
        if (FuseNative.Unmount(path, FuseNative.UmountDetach | FuseNative.UmountNoFollow) != 0)
            throw new FuseException($"Cannot unmount {path}", Marshal.GetLastPInvokeError());
    }

    /// <summary>Whether a FUSE mount has a living server: statfs is never answered from a cache, and fails with ENOTCONN once the server
    /// is gone. A server that does not answer in time is alive too; its thread here stays behind until it does.</summary>
    private static unsafe bool Answers(string path, TimeSpan timeout)
    {
        var errno = 0;
        var probe = new Thread(() =>
        {
            var buffer = stackalloc byte[256];
            if (FuseNative.StatFs(path, buffer) != 0)
                errno = Marshal.GetLastPInvokeError();
        })
        { IsBackground = true, Name = "fuse-probe" };
        probe.Start();
        return !probe.Join(timeout) || errno is not (Errno.ENOTCONN or Errno.ECONNABORTED);
    }
}
