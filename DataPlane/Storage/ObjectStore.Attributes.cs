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
                return WriteXattr(place.Fd, place.Name, name, value, flags);
            }
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    /// <param name="value">Null removes the attribute.</param>
    private static int WriteXattr(int directory, ReadOnlySpan<byte> entryName, ReadOnlySpan<byte> name, byte[]? value, int flags)
    {
        byte* path = stackalloc byte[EntryName.ProcPathBytes], attribute = stackalloc byte[EntryName.BufferBytes];
        EntryName.ProcPath(directory, entryName, path);
        EntryName.Terminate(name, attribute);
        fixed (byte* buffer = value)
        {
            var result = value is null
                ? Libc.LRemoveXattr(path, attribute)
                : Libc.LSetXattr(path, attribute, buffer, (nuint)value.Length, flags);
            return result != 0 ? Libc.LastErrno : Errno.None;
        }
    }

    /// <summary>All that is asked for, or nothing: what failed here is not sent to the replica. The size comes after all that can be taken
    /// back, because what it cuts off cannot.</summary>
    private int SetAttributes(Mutation m, out ObjectAttributes attributes)
    {
        const AttributeMask Inode = AttributeMask.Mode | AttributeMask.Uid | AttributeMask.Gid;
        const AttributeMask Times = AttributeMask.AccessTime | AttributeMask.ModifyTime;
        attributes = default;
        if (Find(m.Object) is not { } node)
            return Errno.ESTALE;
        var before = default(ObjectAttributes);
        var error = (m.Mask & Inode) != 0 ? GetAttributes(node.Id, out before) : Errno.None;
        if (error == 0)
            error = SetInode(node, m with { Mask = m.Mask & Inode });
        if (error == 0 && (m.Mask & AttributeMask.Size) != 0)
            error = Truncate(node, m.SizeBytes);
        if (error == 0 && (m.Mask & Times) != 0)
            error = SetInode(node, m with { Mask = m.Mask & Times });
        if (error == 0)
            return GetAttributes(m.Object, out attributes);
        var seen = GetAttributes(node.Id, out var now);
        if ((m.Mask & Inode) == 0 || (seen == 0 && (now.Mode, now.Uid, now.Gid) == (before.Mode, before.Uid, before.Gid)))
            return error;
        // What could be given can be given back; a disk that refuses even that is a fault, and says so by EIO.
        return SetInode(node, m with { Mask = Inode, Mode = before.Mode, Uid = before.Uid, Gid = before.Gid }) == 0 ? error : Errno.EIO;
    }

    private int SetInode(ObjectNode node, Mutation m)
    {
        treeLock.EnterReadLock();
        try
        {
            return SetInodeUnderLock(node, m);
        }
        finally
        {
            treeLock.ExitReadLock();
        }
    }

    private int SetInodeUnderLock(ObjectNode node, Mutation m)
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
            return SetTimes(
                place.Fd, name, (m.Mask & AttributeMask.AccessTime) != 0 ? m.AccessTimeNs : null,
                (m.Mask & AttributeMask.ModifyTime) != 0 ? m.ModifyTimeNs : null);
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
        var error = GetAttributes(m.Object, out var before);
        if (error == 0)
            error = Acquire(m.Object, out var descriptor) is var acquired and not 0 ? acquired : AllocateOrUndo(descriptor!, m, before.SizeBytes);
        if (error == 0 && m.ModifyTimeNs != 0 && SetModifyTime(node, m.ModifyTimeNs) != 0)
            error = Errno.EIO;
        return error != 0 ? error : GetAttributes(m.Object, out attributes);
    }

    /// <summary>A file system that runs out of space in the middle leaves the file longer than it was; that is taken back, because what
    /// failed here is not sent to the replica. Content is untouched: allocated blocks read as zeros, as the hole did. No write makes the file
    /// longer meanwhile: the kernel holds the inode's lock for both. A length that is not of this call is left alone all the same.</summary>
    private int AllocateOrUndo(Descriptor descriptor, Mutation m, long sizeBeforeBytes)
    {
        int result;
        do
            result = Libc.FAllocate(descriptor.Fd, (int)m.Flags, m.OffsetBytes, m.LengthBytes);
        while (result != 0 && Libc.LastErrno == Errno.EINTR);
        var error = result != 0 ? Libc.LastErrno : Errno.None;
        if (error is Errno.ENOSPC or Errno.EDQUOT)
        {
            var seen = GetAttributes(m.Object, out var now);
            var grewHere = now.SizeBytes > sizeBeforeBytes && now.SizeBytes - m.OffsetBytes <= m.LengthBytes;
            if (seen != 0 || (grewHere && Libc.FTruncate(descriptor.Fd, sizeBeforeBytes) != 0))
                error = Errno.EIO;
        }
        descriptor.Release();
        return error;
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
