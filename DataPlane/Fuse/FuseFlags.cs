namespace Pollux.DataPlane.Fuse;

/// <summary>Capabilities of INIT. Bits 32 to 63 travel in the field flags2 and exist from protocol 7.36 on.
/// Source: include/uapi/linux/fuse.h, protocol 7.45.</summary>
[Flags]
public enum FuseInitFlags : ulong
{
    None = 0,
    AsyncRead = 1UL << 0,
    PosixLocks = 1UL << 1,
    AtomicOpenTruncate = 1UL << 3,
    BigWrites = 1UL << 5,
    DontMask = 1UL << 6,
    FlockLocks = 1UL << 10,
    AutoInvalidateData = 1UL << 12,
    DoReadDirectoryPlus = 1UL << 13,
    ReadDirectoryPlusAuto = 1UL << 14,
    AsyncDirectIo = 1UL << 15,
    WritebackCache = 1UL << 16,
    ParallelDirectoryOperations = 1UL << 18,
    PosixAcl = 1UL << 20,
    AbortError = 1UL << 21,
    MaxPages = 1UL << 22,
    HandleKillPrivilegesV2 = 1UL << 28,
    SetXattrExtended = 1UL << 29,
    InitExtended = 1UL << 30,
    DirectIoAllowMmap = 1UL << 36,
    Passthrough = 1UL << 37,

    /// <summary>The kernel sends requests again on demand (Linux 6.9), marked by <see cref="FuseRequest.ResentBit"/>.</summary>
    HasResend = 1UL << 39,
    OverIoUring = 1UL << 41,
}

/// <summary>How the kernel shall treat an open file (FOPEN_*).</summary>
[Flags]
public enum FuseOpenFlags : uint
{
    None = 0,
    DirectIo = 1 << 0,
    KeepCache = 1 << 1,
    NonSeekable = 1 << 2,
    CacheDirectory = 1 << 3,
    Stream = 1 << 4,
    NoFlush = 1 << 5,
    ParallelDirectWrites = 1 << 6,
}

/// <summary>Fields that a SETATTR means (FATTR_*).</summary>
[Flags]
public enum FuseSetAttrMask : uint
{
    None = 0,
    Mode = 1 << 0,
    Uid = 1 << 1,
    Gid = 1 << 2,
    Size = 1 << 3,
    AccessTime = 1 << 4,
    ModifyTime = 1 << 5,
    Handle = 1 << 6,
    AccessTimeNow = 1 << 7,
    ModifyTimeNow = 1 << 8,
    LockOwner = 1 << 9,
    ChangeTime = 1 << 10,
    KillSuidGid = 1 << 11,
}

/// <summary>Flags of a WRITE (FUSE_WRITE_*).</summary>
[Flags]
public enum FuseWriteFlags : uint
{
    None = 0,

    /// <summary>From the page cache (a shared mapping): the handle is guessed by the kernel.</summary>
    Cache = 1 << 0,
    LockOwner = 1 << 1,

    /// <summary>The writer has no CAP_FSETID: set-user-id and set-group-id must go.</summary>
    KillSuidGid = 1 << 2,
}

/// <summary>Flags of OPEN and CREATE from the kernel (FUSE_OPEN_*).</summary>
[Flags]
public enum FuseOpenRequestFlags : uint
{
    None = 0,
    KillSuidGid = 1 << 0,
}

/// <summary>Flags of an extended SETXATTR (FUSE_SETXATTR_*).</summary>
[Flags]
public enum FuseSetXattrFlags : uint
{
    None = 0,

    /// <summary>The caller of a change of an ACL is neither in the group nor privileged: set-group-id must go.</summary>
    AclKillSgid = 1 << 0,
}

/// <summary>Flags of FSYNC and FSYNCDIR (FUSE_FSYNC_*).</summary>
[Flags]
public enum FuseFsyncFlags : uint
{
    None = 0,
    DataOnly = 1 << 0,
}
