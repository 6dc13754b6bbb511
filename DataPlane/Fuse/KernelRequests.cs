using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Fuse;

// Bodies of requests, field for field as in include/uapi/linux/fuse.h (protocol 7.45; layouts are the same on 64 and 32 bit because the
// kernel pads them by hand). tests/Unit/Fuse/KernelLayoutTests compares sizes and offsets with the header.

/// <summary>struct fuse_in_header: precedes each request.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseInHeader
{
    public uint Length;
    public FuseOpcode Opcode;
    public ulong Unique;
    public ulong NodeId;
    public uint Uid;
    public uint Gid;
    public uint Pid;

    /// <summary>Length of extensions after the arguments, in units of 8 bytes; 0 as long as none is negotiated.</summary>
    public ushort ExtensionLength8;
    public ushort Padding;
}

/// <summary>struct fuse_init_in. Kernels before protocol 7.36 send the first 16 bytes only.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseInitIn
{
    public uint Major;
    public uint Minor;
    public uint ReadAheadMax;
    public uint Flags;
    public uint Flags2;
    public Unused11 Unused;

    [System.Runtime.CompilerServices.InlineArray(11)]
    public struct Unused11
    {
        private uint _first;
    }
}

/// <summary>struct fuse_forget_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseForgetIn
{
    public ulong Lookups;
}

/// <summary>struct fuse_forget_one, repeated after <see cref="FuseBatchForgetIn"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseForgetOne
{
    public ulong NodeId;
    public ulong Lookups;
}

/// <summary>struct fuse_batch_forget_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseBatchForgetIn
{
    public uint Count;
    public uint Dummy;
}

/// <summary>struct fuse_getattr_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseGetAttrIn
{
    public uint Flags;
    public uint Dummy;
    public ulong Handle;
}

/// <summary>struct fuse_setattr_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseSetAttrIn
{
    public FuseSetAttrMask Valid;
    public uint Padding;
    public ulong Handle;
    public ulong Size;
    public ulong LockOwner;
    public long AccessTime;
    public long ModifyTime;
    public long ChangeTime;
    public uint AccessTimeNs;
    public uint ModifyTimeNs;
    public uint ChangeTimeNs;
    public uint Mode;
    public uint Unused4;
    public uint Uid;
    public uint Gid;
    public uint Unused5;
}

/// <summary>struct fuse_mknod_in; the name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseMakeNodeIn
{
    public uint Mode;
    public uint DeviceNumber;
    public uint Umask;
    public uint Padding;
}

/// <summary>struct fuse_mkdir_in; the name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseMakeDirectoryIn
{
    public uint Mode;
    public uint Umask;
}

/// <summary>struct fuse_rename_in; the old and the new name follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseRenameIn
{
    public ulong NewDirectory;
}

/// <summary>struct fuse_rename2_in; the old and the new name follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseRename2In
{
    public ulong NewDirectory;
    public uint Flags;
    public uint Padding;
}

/// <summary>struct fuse_link_in; the new name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseLinkIn
{
    public ulong OldNodeId;
}

/// <summary>struct fuse_open_in, of OPEN and OPENDIR.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseOpenIn
{
    public uint Flags;
    public FuseOpenRequestFlags OpenFlags;
}

/// <summary>struct fuse_create_in; the name follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseCreateIn
{
    public uint Flags;
    public uint Mode;
    public uint Umask;
    public FuseOpenRequestFlags OpenFlags;
}

/// <summary>struct fuse_release_in, of RELEASE and RELEASEDIR.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseReleaseIn
{
    public ulong Handle;
    public uint Flags;
    public uint ReleaseFlags;
    public ulong LockOwner;
}

/// <summary>struct fuse_flush_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseFlushIn
{
    public ulong Handle;
    public uint Unused;
    public uint Padding;
    public ulong LockOwner;
}

/// <summary>struct fuse_read_in, of READ, READDIR and READDIRPLUS.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseReadIn
{
    public ulong Handle;
    public ulong Offset;
    public uint Size;
    public uint ReadFlags;
    public ulong LockOwner;
    public uint Flags;
    public uint Padding;
}

/// <summary>struct fuse_write_in; the data follows.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseWriteIn
{
    public ulong Handle;
    public ulong Offset;
    public uint Size;
    public FuseWriteFlags WriteFlags;
    public ulong LockOwner;

    /// <summary>open(2) flags of the file, with O_DSYNC or O_SYNC set for a write that must be stable.</summary>
    public uint Flags;
    public uint Padding;
}

/// <summary>struct fuse_fsync_in, of FSYNC and FSYNCDIR.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseFsyncIn
{
    public ulong Handle;
    public FuseFsyncFlags Flags;
    public uint Padding;
}

/// <summary>The first 8 bytes of struct fuse_setxattr_in, which is what a kernel sends while FUSE_SETXATTR_EXT is not negotiated
/// (FUSE_COMPAT_SETXATTR_IN_SIZE); the name and the value follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseSetXattrIn
{
    public uint Size;
    public uint Flags;
}

/// <summary>struct fuse_setxattr_in, as sent when FUSE_SETXATTR_EXT is negotiated; the name and the value follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseSetXattrExtendedIn
{
    public uint Size;
    public uint Flags;
    public FuseSetXattrFlags SetXattrFlags;
    public uint Padding;
}

/// <summary>struct fuse_getxattr_in, of GETXATTR (the name follows) and LISTXATTR.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseGetXattrIn
{
    public uint Size;
    public uint Padding;
}

/// <summary>struct fuse_access_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseAccessIn
{
    public uint Mask;
    public uint Padding;
}

/// <summary>struct fuse_interrupt_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseInterruptIn
{
    public ulong Unique;
}

/// <summary>struct fuse_fallocate_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseFallocateIn
{
    public ulong Handle;
    public ulong Offset;
    public ulong Length;
    public uint Mode;
    public uint Padding;
}

/// <summary>struct fuse_lseek_in.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseSeekIn
{
    public ulong Handle;
    public ulong Offset;
    public uint Whence;
    public uint Padding;
}
