using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Pollux.DataPlane.Fuse;

/// <summary>The C library calls of this folder. Each returns -1 on failure and leaves errno in
/// <see cref="Marshal.GetLastPInvokeError"/>.</summary>
internal static unsafe partial class FuseNative
{
    private const string C = "libc";

    // mount(2), umount2(2): include/uapi/linux/mount.h, include/linux/fs.h.
    public const ulong MsReadOnly = 1;
    public const ulong MsNoSuid = 2;
    public const ulong MsNoDevices = 4;
    public const ulong MsNoExec = 8;
    public const ulong MsRecursive = 0x4000;
    public const ulong MsPrivate = 0x40000;
    public const int UmountForce = 1;
    public const int UmountDetach = 2;
    public const int UmountNoFollow = 8;

    /// <summary>FUSE_DEV_IOC_CLONE = _IOR(229, 0, uint32_t) in the generic ioctl encoding.</summary>
    public const uint DeviceClone = 0x8004E500;

    public const short PollIn = 1;

    [StructLayout(LayoutKind.Sequential)]
    public struct IoVector
    {
        public void* Base;
        public nuint Length;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }

    [LibraryImport(C, EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Open(string path, int flags, uint mode);

    [LibraryImport(C, EntryPoint = "read", SetLastError = true)]
    public static partial nint Read(SafeFileHandle file, void* buffer, nuint count);

    [LibraryImport(C, EntryPoint = "write", SetLastError = true)]
    public static partial nint Write(SafeFileHandle file, void* buffer, nuint count);

    [LibraryImport(C, EntryPoint = "writev", SetLastError = true)]
    public static partial nint WriteVector(SafeFileHandle file, IoVector* vectors, int count);

    [LibraryImport(C, EntryPoint = "ioctl", SetLastError = true)]
    public static partial int Ioctl(SafeFileHandle file, nuint request, void* argument);

    public const int FcntlGetFlags = 3;
    public const int FcntlSetFlags = 4;

    [LibraryImport(C, EntryPoint = "fcntl", SetLastError = true)]
    public static partial int Fcntl(SafeFileHandle file, int command, nint argument);

    [LibraryImport(C, EntryPoint = "poll", SetLastError = true)]
    public static partial int Poll(PollDescriptor* descriptors, nuint count, int timeoutMs);

    [LibraryImport(C, EntryPoint = "mount", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Mount(string source, string target, string type, nuint flags, string? data);

    [LibraryImport(C, EntryPoint = "umount2", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int Unmount(string target, int flags);

    /// <param name="buffer">At least 256 bytes: struct statfs is 120 bytes on 64-bit Linux; only the result matters here.</param>
    [LibraryImport(C, EntryPoint = "statfs", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int StatFs(string path, void* buffer);
}
