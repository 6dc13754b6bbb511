using System.Buffers;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

// Attributes, extended attributes and allocation. Those of Pollux itself (trusted.pollux.*) are neither shown nor changed.
public sealed unsafe partial class ObjectStore
{
    /// <summary>XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux, bytes (linux/limits.h).</summary>
    private const int XattrBytesMax = 64 * 1024;

    /// <param name="length">Length of the value; with an empty span the call only asks for it.</param>
    public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length)
    {
        length = 0;
        var error = EntryName.CheckXattr(name);
        if (error != 0)
            return error;
        if (name.StartsWith(EntryName.PrivateXattrPrefix))
            return Errno.ENODATA;
        treeLock.EnterReadLock();
        try
        {
            error = XattrPath(obj, out var place);
            if (error != 0)
                return error;
            using (place)
            {
                byte* path = stackalloc byte[EntryName.ProcPathBytes], attribute = stackalloc byte[EntryName.BufferBytes];
                EntryName.ProcPath(place.Fd, place.Name, path);
                EntryName.Terminate(name, attribute);
                // SAFETY: the kernel writes at most value.Length bytes into the pinned span.
                fixed (byte* buffer = value)
                {
                    var result = Libc.LGetXattr(path, attribute, buffer, (nuint)value.Length);
                    length = (int)Math.Max(result, 0);
                    return result < 0 ? Libc.LastErrno : Errno.None;
                }
            }
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    /// <param name="names">Receives zero-terminated names; an empty span only asks for the length.</param>
    public int ListXattr(ulong obj, Span<byte> names, out int length)
    {
        length = 0;
        var all = ArrayPool<byte>.Shared.Rent(XattrBytesMax);
        try
        {
            var error = ListAllXattrs(obj, all, out var allLength);
            if (error != 0)
                return error;
            for (ReadOnlySpan<byte> rest = all.AsSpan(0, allLength); !rest.IsEmpty;)
            {
                var nameBytes = rest.IndexOf((byte)0) + 1;
                var name = rest[..nameBytes];
                rest = rest[nameBytes..];
                if (name.StartsWith(EntryName.PrivateXattrPrefix))
                    continue;
                if (!names.IsEmpty && !name.TryCopyTo(names[length..]))
                    return Errno.ERANGE;
                length += nameBytes;
            }
            return Errno.None;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(all);
        }
    }

    private int ListAllXattrs(ulong obj, Span<byte> names, out int length)
    {
        length = 0;
        treeLock.EnterReadLock();
        try
        {
            var error = XattrPath(obj, out var place);
            if (error != 0)
                return error;
            using (place)
            {
                var path = stackalloc byte[EntryName.ProcPathBytes];
                EntryName.ProcPath(place.Fd, place.Name, path);
                // SAFETY: the kernel writes at most names.Length bytes into the pinned span.
                fixed (byte* buffer = names)
                {
                    var result = Libc.LListXattr(path, buffer, (nuint)names.Length);
                    length = (int)Math.Max(result, 0);
                    return result < 0 ? Libc.LastErrno : Errno.None;
                }
            }
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    private int XattrPath(ulong obj, out Place place)
    {
        place = default;
        return Find(obj) is { } node ? Locate(node, out place) : Errno.ESTALE;
    }

    private int ChangeXattr(Mutation m, out ObjectAttributes attributes)
    {
        attributes = default;
        var error = EntryName.CheckXattr(m.Name);
        if (error != 0)
            return error;
        if (m.Name.AsSpan().StartsWith(EntryName.PrivateXattrPrefix))
            return Errno.EPERM;
        error = ChangeXattrRaw(m.Object, m.Name, m.Kind == MutationKind.SetXattr ? m.Data : null, (int)m.Flags);
        return error != 0 ? error : GetAttributes(m.Object, out attributes);
    }

    /// <param name="value">Null removes the attribute.</param>
    private int ChangeXattrRaw(ulong obj, ReadOnlySpan<byte> name, byte[]? value, int flags)
    {
        treeLock.EnterReadLock();
        try
        {
            var error = XattrPath(obj, out var place);
            if (error != 0)
                return error;
            using (place)
            {
                byte* path = stackalloc byte[EntryName.ProcPathBytes], attribute = stackalloc byte[EntryName.BufferBytes];
                EntryName.ProcPath(place.Fd, place.Name, path);
                EntryName.Terminate(name, attribute);
                fixed (byte* buffer = value)
                {
                    var result = value is null
                        ? Libc.LRemoveXattr(path, attribute)
                        : Libc.LSetXattr(path, attribute, buffer, (nuint)value.Length, flags);
                    return result != 0 ? Libc.LastErrno : Errno.None;
                }
            }
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    private int SetAttributes(Mutation m, out ObjectAttributes attributes)
    {
        attributes = default;
        if (Find(m.Object) is not { } node)
            return Errno.ESTALE;
        var error = Errno.None;
        if ((m.Mask & AttributeMask.Size) != 0)
            error = Truncate(node, m.SizeBytes);
        if (error == 0)
        {
            treeLock.EnterReadLock();
            try
            {
                error = SetInode(node, m);
            }
            finally
            {
                treeLock.ExitReadLock();
            }
        }
        return error != 0 ? error : GetAttributes(m.Object, out attributes);
    }

    private int SetInode(ObjectNode node, Mutation m)
    {
        const uint Unchanged = uint.MaxValue;
        var error = Locate(node, out var place);
        if (error != 0)
            return error;
        using (place)
        {
            var name = stackalloc byte[EntryName.BufferBytes];
            EntryName.Terminate(place.Name, name);
            var (setUid, setGid) = ((m.Mask & AttributeMask.Uid) != 0, (m.Mask & AttributeMask.Gid) != 0);
            if ((setUid || setGid)
                && Libc.FChOwnAt(place.Fd, name, setUid ? m.Uid : Unchanged, setGid ? m.Gid : Unchanged, Libc.AtSymlinkNoFollow) != 0)
                return Libc.LastErrno;
            // After chown, which clears the set-id bits. A link has no mode of its own.
            if ((m.Mask & AttributeMask.Mode) != 0)
            {
                if (StMode.IsSymbolicLink(node.TypeBits))
                    return Errno.EOPNOTSUPP;
                if (Libc.FChModAt(place.Fd, name, m.Mode & StMode.PermissionMask, 0) != 0)
                    return Libc.LastErrno;
            }
            if ((m.Mask & (AttributeMask.AccessTime | AttributeMask.ModifyTime)) == 0)
                return Errno.None;
            var times = stackalloc Timespec[2];
            times[0] = (m.Mask & AttributeMask.AccessTime) != 0 ? Timespec.FromNs(m.AccessTimeNs) : new() { Nanoseconds = Timespec.Omit };
            times[1] = (m.Mask & AttributeMask.ModifyTime) != 0 ? Timespec.FromNs(m.ModifyTimeNs) : new() { Nanoseconds = Timespec.Omit };
            return Libc.UTimeNsAt(place.Fd, name, times, Libc.AtSymlinkNoFollow) == 0 ? Errno.None : Libc.LastErrno;
        }
    }

    private int Truncate(ObjectNode node, long sizeBytes)
    {
        if (!node.IsRegular)
            return node.IsDirectory ? Errno.EISDIR : Errno.EINVAL;
        var error = Acquire(node.Id, out var descriptor);
        if (error != 0)
            return error;
        error = !descriptor!.Writable ? Errno.EROFS : Libc.FTruncate(descriptor.Fd, sizeBytes) == 0 ? Errno.None : Libc.LastErrno;
        descriptor.Release();
        return error;
    }

    private int Allocate(Mutation m, out ObjectAttributes attributes)
    {
        attributes = default;
        if (Find(m.Object) is not { } node)
            return Errno.ESTALE;
        if (!node.IsRegular)
            return node.IsDirectory ? Errno.EISDIR : Errno.ENODEV;
        var error = Acquire(m.Object, out var descriptor);
        if (error != 0)
            return error;
        int result;
        do
            result = Libc.FAllocate(descriptor!.Fd, (int)m.Flags, m.OffsetBytes, m.LengthBytes);
        while (result != 0 && Libc.LastErrno == Errno.EINTR);
        error = result != 0 ? Libc.LastErrno : Errno.None;
        descriptor.Release();
        return error != 0 ? error : GetAttributes(m.Object, out attributes);
    }

    /// <summary>Marks a file whose content a manifest has announced and that has not arrived yet (see the manifest applier).</summary>
    private static ReadOnlySpan<byte> PendingXattr => "trusted.pollux.pending"u8;

    private static bool HasPendingMark(int directory, ReadOnlySpan<byte> entryName)
    {
        byte* path = stackalloc byte[EntryName.ProcPathBytes], attribute = stackalloc byte[EntryName.BufferBytes];
        EntryName.ProcPath(directory, entryName, path);
        EntryName.Terminate(PendingXattr, attribute);
        return Libc.LGetXattr(path, attribute, null, 0) >= 0;
    }
}
