using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Native;

/// <summary>struct timespec on 64-bit Linux.</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
public struct Timespec
{
    /// <summary>utimensat: leave this time as it is.</summary>
    public const long Omit = (1 << 30) - 2;

    public long Seconds;
    public long Nanoseconds;

    public static Timespec FromNs(long ns)
    {
        var (seconds, rest) = Math.DivRem(ns, 1_000_000_000);
        return rest < 0 ? new() { Seconds = seconds - 1, Nanoseconds = rest + 1_000_000_000 } : new() { Seconds = seconds, Nanoseconds = rest };
    }
}

/// <summary>struct statx_timestamp (linux/stat.h).</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
public struct StatxTime
{
    public long Seconds;
    public uint Nanoseconds;

    public readonly long TotalNs => Seconds * 1_000_000_000 + Nanoseconds;
}

/// <summary>struct statx (linux/stat.h): the same on all architectures.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
public struct Statx
{
    public const uint BasicStats = 0x7ff;
    public const uint BirthTimeBit = 0x800;
    public const ulong AttributeMountRoot = 0x2000;

    [FieldOffset(0)] public uint Mask;
    [FieldOffset(4)] public uint BlockSizeBytes;
    [FieldOffset(8)] public ulong Attributes;
    [FieldOffset(16)] public uint Links;
    [FieldOffset(20)] public uint Uid;
    [FieldOffset(24)] public uint Gid;
    [FieldOffset(28)] public ushort Mode;
    [FieldOffset(32)] public ulong Inode;
    [FieldOffset(40)] public ulong SizeBytes;
    [FieldOffset(48)] public ulong Blocks512;
    [FieldOffset(56)] public ulong AttributesMask;
    [FieldOffset(64)] public StatxTime AccessTime;
    [FieldOffset(80)] public StatxTime BirthTime;
    [FieldOffset(96)] public StatxTime ChangeTime;
    [FieldOffset(112)] public StatxTime ModifyTime;
    [FieldOffset(128)] public uint DeviceMajor;
    [FieldOffset(132)] public uint DeviceMinor;
    [FieldOffset(136)] public uint FileSystemMajor;
    [FieldOffset(140)] public uint FileSystemMinor;

    public readonly ulong FileSystem => (ulong)FileSystemMajor << 32 | FileSystemMinor;

    /// <summary>The represented device as the kernel's 32-bit new encoding (include/linux/kdev_t.h), which FUSE uses too.</summary>
    public readonly uint DeviceNumber => (DeviceMinor & 0xff) | DeviceMajor << 8 | (DeviceMinor & ~0xffu) << 12;
}

/// <summary>struct statfs on 64-bit Linux (asm-generic/statfs.h).</summary>
[StructLayout(LayoutKind.Sequential, Size = 120)]
public struct StatFs
{
    public long Type;
    public long BlockSizeBytes;
    public ulong Blocks;
    public ulong BlocksFree;
    public ulong BlocksAvailable;
    public ulong Files;
    public ulong FilesFree;
    public ulong FileSystemId;
    public long NameLengthMax;
    public long FragmentSizeBytes;
    public long Flags;
}

/// <summary>Bits of st_mode.</summary>
public static class StMode
{
    public const uint TypeMask = 0xF000;
    public const uint Socket = 0xC000;
    public const uint SymbolicLink = 0xA000;
    public const uint Regular = 0x8000;
    public const uint BlockDevice = 0x6000;
    public const uint Directory = 0x4000;
    public const uint CharacterDevice = 0x2000;
    public const uint Pipe = 0x1000;
    public const uint PermissionMask = 0xFFF;

    public static bool IsRegular(uint mode) => (mode & TypeMask) == Regular;
    public static bool IsDirectory(uint mode) => (mode & TypeMask) == Directory;
    public static bool IsSymbolicLink(uint mode) => (mode & TypeMask) == SymbolicLink;
}

/// <summary>struct cachestat_range (linux/mman.h).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct CacheRange
{
    public ulong OffsetBytes;
    public ulong LengthBytes;
}

/// <summary>struct cachestat (linux/mman.h): pages.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct CacheCounts
{
    public ulong Cached;
    public ulong Dirty;
    public ulong Writeback;
    public ulong Evicted;
    public ulong RecentlyEvicted;
}
