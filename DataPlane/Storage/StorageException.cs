using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

public enum StorageFault
{
    /// <summary>A system call failed; <see cref="StorageException.Errno"/> says how.</summary>
    Io,

    /// <summary>The file system, or the missing capability CAP_SYS_ADMIN, does not allow trusted extended attributes.</summary>
    TrustedXattrsUnavailable,

    /// <summary>The root of the module directory holds something else under the name that Pollux keeps for itself.</summary>
    ReservedNameTaken,

    /// <summary>Another file system, or a bind mount, is mounted inside the module directory.</summary>
    MountInside,

    /// <summary>The directories are not those of the module, or not in its order.</summary>
    OtherDirectories,

    /// <summary>More objects than <see cref="ObjectStoreOptions.ObjectsMax"/>.</summary>
    TooManyObjects,

    /// <summary>The durable structure was written by a newer version of Pollux.</summary>
    NewerVersion,

    /// <summary>A flush failed: written data is lost, whatever the errno was.</summary>
    FlushFailed,

    /// <summary>A manifest that does not describe a tree.</summary>
    InvalidManifest,
}

/// <summary>The local copy or one of its durable structures cannot be used; the fault says why, the message says what and where.</summary>
public sealed class StorageException : IOException
{
    public StorageException(StorageFault fault, string message)
        : base(message) => Fault = fault;

    public StorageException(string operation, int errno)
        : base($"{operation}: {Native.Errno.Describe(errno)}") => (Fault, Errno) = (StorageFault.Io, errno);

    public StorageFault Fault { get; }

    /// <summary>Positive Linux error number for <see cref="StorageFault.Io"/>, otherwise 0.</summary>
    public int Errno { get; }

    internal static StorageException FromLastErrno(string operation) => new(operation, Libc.LastErrno);
}
