using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Fuse;

/// <summary>open(2) flags as numbers. Those that differ by architecture are looked up (asm-generic/fcntl.h and arm64's fcntl.h).</summary>
public static class LinuxOpenFlags
{
    public const int AccessMode = 3;
    public const int ReadOnly = 0;
    public const int WriteOnly = 1;
    public const int ReadWrite = 2;
    public const int Create = 0x40;
    public const int Exclusive = 0x80;
    public const int Truncate = 0x200;
    public const int DataSync = 0x1000;
    public const int CloseOnExec = 0x80000;
    public const int Path = 0x200000;

    private static readonly bool s_arm = RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm;

    public static int Direct => s_arm ? 0x10000 : 0x4000;
    public static int Directory => s_arm ? 0x4000 : 0x10000;
    public static int NoFollow => s_arm ? 0x8000 : 0x20000;
}
