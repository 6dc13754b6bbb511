using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Native;

/// <summary>open(2) flags: asm-generic/fcntl.h, and for the four that Arm numbers otherwise arch/arm64/include/uapi/asm/fcntl.h.</summary>
public static class OpenFlags
{
    private static readonly bool Arm = RuntimeInformation.ProcessArchitecture is Architecture.Arm64;

    public const int ReadOnly = 0;
    public const int WriteOnly = 1;
    public const int ReadWrite = 2;
    public const int AccessMask = 3;
    public const int Create = 0x40;
    public const int Exclusive = 0x80;
    public const int Truncate = 0x200;
    public const int NonBlocking = 0x800;
    public const int DataSync = 0x1000;
    public const int NoAccessTime = 0x40000;
    public const int CloseOnExec = 0x80000;
    public const int Path = 0x200000;

    public static readonly int Direct = Arm ? 0x10000 : 0x4000;
    public static readonly int LargeFile = Arm ? 0x20000 : 0x8000;
    public static readonly int Directory = Arm ? 0x4000 : 0x10000;
    public static readonly int NoFollow = Arm ? 0x8000 : 0x20000;
}
