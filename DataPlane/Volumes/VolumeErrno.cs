using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Volumes;

/// <summary>The one table from results of the engine to what applications see through the kernel.</summary>
internal static class VolumeErrno
{
    /// <summary>Largest error number that the kernel takes in a FUSE reply (fs/fuse/dev.c: -512 &lt; error &lt;= 0).</summary>
    private const int ErrnoMax = 511;

    public static int ForKernel(int result) => result switch
    {
        0 => 0,
        // To the kernel ENOSYS means "never ask again": after one such answer to FSYNC it would call every later fsync a success.
        Errno.ENOSYS => Errno.EIO,
        // The kernel would restart the system call by itself, or report an interruption that never was.
        Errno.EINTR => Errno.EIO,
        // QEMU pauses a VM whose disk has no room (werror=enospc, its default); a quota's own error it would hand to the guest as a broken
        // disk. What the caller can do about it is the same.
        Errno.EDQUOT => Errno.ENOSPC,
        // Descriptors of this process, not of the application.
        Errno.EBADF or Errno.EMFILE => Errno.EIO,
        < 0 or > ErrnoMax => Errno.EIO,
        _ => result,
    };
}
