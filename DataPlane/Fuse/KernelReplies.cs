using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Fuse;

// Bodies of replies and notifications, field for field as in include/uapi/linux/fuse.h (protocol 7.45).

/// <summary>struct fuse_out_header: precedes each reply; <see cref="Error"/> is 0 or a negative errno. A notification has
/// <see cref="Unique"/> 0 and its code in <see cref="Error"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseOutHeader
{
    public uint Length;
    public int Error;
    public ulong Unique;
}

/// <summary>struct fuse_init_out.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseInitOut
{
    public uint Major;
    public uint Minor;
    public uint ReadAheadMax;
    public uint Flags;
    public ushort BackgroundMax;
    public ushort CongestionThreshold;
    public uint WriteMax;
    public uint TimeGranularityNs;
    public ushort PagesMax;
    public ushort MapAlignment;
    public uint Flags2;
    public uint StackDepthMax;
    public ushort RequestTimeout;
    public Unused11 Unused;

    [System.Runtime.CompilerServices.InlineArray(11)]
    public struct Unused11
    {
        private ushort _first;
    }
}

/// <summary>struct fuse_attr.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseAttr
{
    public ulong Inode;
    public ulong Size;

    /// <summary>Allocated space in units of 512 bytes.</summary>
    public ulong Blocks;
    public long AccessTime;
    public long ModifyTime;
    public long ChangeTime;
    public uint AccessTimeNs;
    public uint ModifyTimeNs;
    public uint ChangeTimeNs;
    public uint Mode;
    public uint Links;
    public uint Uid;
    public uint Gid;
    public uint DeviceNumber;
    public uint BlockSize;
    public uint Flags;
}

/// <summary>struct fuse_entry_out, of LOOKUP and of the operations that create an entry.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseEntryOut
{
    public ulong NodeId;
    public ulong Generation;
    public ulong EntryValidSeconds;
    public ulong AttrValidSeconds;
    public uint EntryValidNs;
    public uint AttrValidNs;
    public FuseAttr Attr;
}

/// <summary>struct fuse_attr_out.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseAttrOut
{
    public ulong AttrValidSeconds;
    public uint AttrValidNs;
    public uint Dummy;
    public FuseAttr Attr;
}

/// <summary>struct fuse_open_out.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseOpenOut
{
    public ulong Handle;
    public FuseOpenFlags OpenFlags;
    public int BackingId;
}

/// <summary>The reply of CREATE: struct fuse_entry_out followed by struct fuse_open_out.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseCreateOut
{
    public FuseEntryOut Entry;
    public FuseOpenOut Open;
}

/// <summary>struct fuse_write_out.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseWriteOut
{
    public uint Size;
    public uint Padding;
}

/// <summary>struct fuse_statfs_out (struct fuse_kstatfs).</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseStatFsOut
{
    public ulong Blocks;
    public ulong BlocksFree;
    public ulong BlocksAvailable;
    public ulong Files;
    public ulong FilesFree;
    public uint BlockSize;
    public uint NameLengthMax;
    public uint FragmentSize;
    public uint Padding;
    public Spare6 Spare;

    [System.Runtime.CompilerServices.InlineArray(6)]
    public struct Spare6
    {
        private uint _first;
    }
}

/// <summary>struct fuse_getxattr_out: the answer to a GETXATTR or LISTXATTR of size 0.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseGetXattrOut
{
    public uint Size;
    public uint Padding;
}

/// <summary>struct fuse_lseek_out.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseSeekOut
{
    public ulong Offset;
}

/// <summary>struct fuse_dirent without its name, which follows, padded to 8 bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseDirectoryEntry
{
    public ulong Inode;

    /// <summary>Cookie from which the next READDIR continues after this entry.</summary>
    public ulong NextOffset;
    public uint NameLength;

    /// <summary>File type as in st_mode, shifted right by 12 (DT_*).</summary>
    public uint Type;
}

/// <summary>struct fuse_direntplus without its name.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseDirectoryEntryPlus
{
    public FuseEntryOut Entry;
    public FuseDirectoryEntry Directory;
}

/// <summary>struct fuse_notify_inval_inode_out.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseNotifyInvalidateInodeOut
{
    public ulong Inode;
    public long Offset;
    public long Length;
}

/// <summary>struct fuse_notify_inval_entry_out; the name and a zero byte follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseNotifyInvalidateEntryOut
{
    public ulong Parent;
    public uint NameLength;
    public uint Flags;
}

/// <summary>struct fuse_notify_delete_out; the name and a zero byte follow.</summary>
[StructLayout(LayoutKind.Sequential)]
public struct FuseNotifyDeleteOut
{
    public ulong Parent;
    public ulong Child;
    public uint NameLength;
    public uint Padding;
}
