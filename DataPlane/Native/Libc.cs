using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Native;

/// <summary>The file calls of libc as they are: names are zero-terminated bytes, descriptors are ints, a negative result means that
/// <see cref="LastErrno"/> holds the reason. Callers own the descriptors. Constants are those of asm-generic; the four O_ flags that
/// differ on other architectures are chosen by <see cref="OpenFlags"/>.</summary>
public static unsafe partial class Libc
{
    private const string Library = "libc";

    public const int AtCurrentDirectory = -100;
    public const int AtSymlinkNoFollow = 0x100;
    public const int AtRemoveDirectory = 0x200;
    public const int AtSymlinkFollow = 0x400;
    public const int AtEmptyPath = 0x1000;

    public const uint RenameNoReplace = 1;
    public const uint RenameExchange = 2;

    public const int SeekSet = 0;
    public const int SeekEnd = 2;
    public const int SeekData = 3;
    public const int SeekHole = 4;

    public const int XattrCreate = 1;
    public const int XattrReplace = 2;

    public const int FallocateKeepSize = 1;
    public const int FallocatePunchHole = 2;
    public const int FallocateZeroRange = 0x10;

    /// <summary>RWF_NOWAIT: fail with EAGAIN rather than wait for the disk.</summary>
    public const int ReadNoWait = 8;

    public const int ClockRealTimeCoarse = 5;
    public const int ClockBootTime = 7;

    /// <summary>flock(2): shared, exclusive, without waiting.</summary>
    public const int LockShared = 1;
    public const int LockExclusive = 2;
    public const int LockNonBlocking = 4;

    /// <summary>FICLONE = _IOW(0x94, 9, int) (linux/fs.h): the file shares all blocks of the one given by its descriptor.</summary>
    public const uint CloneFile = 0x40049409;

    /// <summary>A mount namespace of its own for the calling thread (linux/sched.h).</summary>
    public const int NewMountNamespace = 0x20000;

    /// <summary>The errno of this thread's last failed call.</summary>
    public static int LastErrno => Marshal.GetLastPInvokeError();

    [LibraryImport(Library, EntryPoint = "openat", SetLastError = true)]
    private static partial int OpenAtVariadic(int directory, byte* name, int flags, uint mode);

    /// <summary>openat(2), repeated when a signal interrupts it.</summary>
    public static int OpenAt(int directory, byte* name, int flags, uint mode = 0)
    {
        int fd;
        do
            fd = OpenAtVariadic(directory, name, flags, mode);
        while (fd < 0 && LastErrno == Errno.EINTR);
        return fd;
    }

    [LibraryImport(Library, EntryPoint = "close", SetLastError = true)]
    public static partial int Close(int fd);

    [LibraryImport(Library, EntryPoint = "statx", SetLastError = true)]
    public static partial int StatxAt(int directory, byte* name, int flags, uint mask, Statx* result);

    [LibraryImport(Library, EntryPoint = "fstatfs", SetLastError = true)]
    public static partial int FStatFs(int fd, StatFs* result);

    [LibraryImport(Library, EntryPoint = "pread64", SetLastError = true)]
    public static partial nint PRead(int fd, byte* buffer, nuint count, long offsetBytes);

    [LibraryImport(Library, EntryPoint = "pwrite64", SetLastError = true)]
    public static partial nint PWrite(int fd, byte* buffer, nuint count, long offsetBytes);

    /// <summary>struct iovec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct IoVector
    {
        public void* Base;
        public nuint Length;
    }

    [LibraryImport(Library, EntryPoint = "preadv64v2", SetLastError = true)]
    public static partial nint PReadV2(int fd, IoVector* vectors, int count, long offsetBytes, int flags);

    [LibraryImport(Library, EntryPoint = "fdatasync", SetLastError = true)]
    public static partial int FDataSync(int fd);

    [LibraryImport(Library, EntryPoint = "fsync", SetLastError = true)]
    public static partial int FSync(int fd);

    [LibraryImport(Library, EntryPoint = "syncfs", SetLastError = true)]
    public static partial int SyncFs(int fd);

    /// <summary>SYNC_FILE_RANGE_WAIT_BEFORE (linux/fs.h): waits for pages that are being written, and tells an error of write-back as fsync(2)
    /// does, once by each descriptor (file_check_and_advance_wb_err in mm/filemap.c).</summary>
    public const uint SyncFileRangeWaitBefore = 1;

    /// <param name="lengthBytes">0: to the end of the file.</param>
    [LibraryImport(Library, EntryPoint = "sync_file_range", SetLastError = true)]
    public static partial int SyncFileRange(int fd, long offsetBytes, long lengthBytes, uint flags);

    /// <summary>POSIX_FADV_DONTNEED (linux/fadvise.h; all architectures of .NET).</summary>
    public const int AdviseDontNeed = 4;

    /// <returns>0 or a positive error number.</returns>
    [LibraryImport(Library, EntryPoint = "posix_fadvise64")]
    public static partial int FAdvise(int fd, long offsetBytes, long lengthBytes, int advice);

    /// <summary>cachestat(2), Linux 6.5, of which the C library knows nothing. An empty range is the whole file.</summary>
    public static int CacheStat(int fd, CacheRange* range, CacheCounts* counts)
    {
        const nint Number = 451; // asm-generic/unistd.h; the same on x86-64.
        return (int)SystemCall(Number, fd, range, counts, 0);
    }

    [LibraryImport(Library, EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SystemCall(nint number, nint fd, CacheRange* range, CacheCounts* counts, nint flags);

    [LibraryImport(Library, EntryPoint = "ftruncate64", SetLastError = true)]
    public static partial int FTruncate(int fd, long sizeBytes);

    [LibraryImport(Library, EntryPoint = "fallocate64", SetLastError = true)]
    public static partial int FAllocate(int fd, int mode, long offsetBytes, long lengthBytes);

    /// <summary>ioctl(2) with a number for its argument.</summary>
    [LibraryImport(Library, EntryPoint = "ioctl", SetLastError = true)]
    public static partial int IoCtl(int fd, nuint request, nint argument);

    [LibraryImport(Library, EntryPoint = "flock", SetLastError = true)]
    public static partial int FLock(int fd, int operation);

    [LibraryImport(Library, EntryPoint = "unshare", SetLastError = true)]
    public static partial int Unshare(int flags);

    [LibraryImport(Library, EntryPoint = "lseek64", SetLastError = true)]
    public static partial long LSeek(int fd, long offsetBytes, int whence);

    [LibraryImport(Library, EntryPoint = "linkat", SetLastError = true)]
    public static partial int LinkAt(int oldDirectory, byte* oldName, int newDirectory, byte* newName, int flags);

    [LibraryImport(Library, EntryPoint = "renameat2", SetLastError = true)]
    public static partial int RenameAt2(int oldDirectory, byte* oldName, int newDirectory, byte* newName, uint flags);

    [LibraryImport(Library, EntryPoint = "unlinkat", SetLastError = true)]
    public static partial int UnlinkAt(int directory, byte* name, int flags);

    [LibraryImport(Library, EntryPoint = "mkdirat", SetLastError = true)]
    public static partial int MkDirAt(int directory, byte* name, uint mode);

    /// <summary>mknodat(2); the device number is glibc's dev_t (see <see cref="MakeDevice"/>).</summary>
    [LibraryImport(Library, EntryPoint = "mknodat", SetLastError = true)]
    public static partial int MkNodAt(int directory, byte* name, uint mode, ulong device);

    [LibraryImport(Library, EntryPoint = "symlinkat", SetLastError = true)]
    public static partial int SymlinkAt(byte* target, int directory, byte* name);

    [LibraryImport(Library, EntryPoint = "readlinkat", SetLastError = true)]
    public static partial nint ReadLinkAt(int directory, byte* name, byte* buffer, nuint size);

    [LibraryImport(Library, EntryPoint = "fchmodat", SetLastError = true)]
    public static partial int FChModAt(int directory, byte* name, uint mode, int flags);

    [LibraryImport(Library, EntryPoint = "fchownat", SetLastError = true)]
    public static partial int FChOwnAt(int directory, byte* name, uint uid, uint gid, int flags);

    [LibraryImport(Library, EntryPoint = "utimensat", SetLastError = true)]
    public static partial int UTimeNsAt(int directory, byte* name, Timespec* accessAndModify, int flags);

    [LibraryImport(Library, EntryPoint = "fgetxattr", SetLastError = true)]
    public static partial nint FGetXattr(int fd, byte* name, byte* value, nuint size);

    [LibraryImport(Library, EntryPoint = "fsetxattr", SetLastError = true)]
    public static partial int FSetXattr(int fd, byte* name, byte* value, nuint size, int flags);

    [LibraryImport(Library, EntryPoint = "fremovexattr", SetLastError = true)]
    public static partial int FRemoveXattr(int fd, byte* name);

    [LibraryImport(Library, EntryPoint = "lgetxattr", SetLastError = true)]
    public static partial nint LGetXattr(byte* path, byte* name, byte* value, nuint size);

    [LibraryImport(Library, EntryPoint = "lsetxattr", SetLastError = true)]
    public static partial int LSetXattr(byte* path, byte* name, byte* value, nuint size, int flags);

    [LibraryImport(Library, EntryPoint = "llistxattr", SetLastError = true)]
    public static partial nint LListXattr(byte* path, byte* list, nuint size);

    [LibraryImport(Library, EntryPoint = "lremovexattr", SetLastError = true)]
    public static partial int LRemoveXattr(byte* path, byte* name);

    /// <summary>getdents64(2): fills the buffer with struct linux_dirent64 {u64 ino; s64 off; u16 reclen; u8 type; char name[]}.</summary>
    [LibraryImport(Library, EntryPoint = "getdents64", SetLastError = true)]
    public static partial nint GetDents64(int fd, byte* buffer, nuint size);

    [LibraryImport(Library, EntryPoint = "clock_gettime", SetLastError = true)]
    private static partial int ClockGetTime(int clock, Timespec* result);

    /// <summary>CLOCK_BOOTTIME: nanoseconds since boot, suspended time included; never steps.</summary>
    public static long BootTimeNs() => ClockNs(ClockBootTime);

    /// <summary>CLOCK_REALTIME_COARSE, nanoseconds since 1970: the clock by which file systems stamp files, so that a time given here and
    /// one given by the kernel compare as they happened.</summary>
    public static long FileTimeNs() => ClockNs(ClockRealTimeCoarse);

    private static long ClockNs(int clock)
    {
        Timespec now;
        if (ClockGetTime(clock, &now) != 0)
            throw new IOException($"clock_gettime({clock}): {Errno.Describe(LastErrno)}");
        return now.Seconds * 1_000_000_000 + now.Nanoseconds;
    }

    /// <summary>glibc's dev_t from the kernel's 32-bit encoding (sys/sysmacros.h; include/linux/kdev_t.h).</summary>
    public static ulong MakeDevice(uint encoded)
    {
        ulong major = (encoded & 0xfff00) >> 8, minor = (encoded & 0xff) | (encoded >> 12 & 0xfff00);
        return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xfful) << 12 | (major & ~0xffful) << 32;
    }
}
