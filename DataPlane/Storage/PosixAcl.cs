using System.Buffers.Binary;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>POSIX access control lists in the form of their extended attributes, and what a new object inherits from its directory.</summary>
/// <remarks>
/// <code>
///   u32 version 2, then entries of {u16 tag, u16 permissions, u32 user or group id}       (linux/posix_acl_xattr.h, little endian)
/// </code>
/// The kernel leaves inheritance to a file system that keeps ACLs. Both hosts make a new object with its ACLs before it gets its name, so
/// nobody sees one without them.
/// </remarks>
internal static class PosixAcl
{
    private const uint Version = 2;
    private const int HeaderBytes = 4;
    private const int EntryBytes = 8;
    private const uint PermissionBits = 0x1FF;
    private const uint All = 7;

    private enum Tag : ushort
    {
        Owner = 1,
        User = 2,
        OwningGroup = 4,
        Group = 8,
        Mask = 16,
        Other = 32,
    }

    public static ReadOnlySpan<byte> NamePrefix => "system.posix_acl_"u8;

    public static ReadOnlySpan<byte> AccessName => "system.posix_acl_access"u8;

    public static ReadOnlySpan<byte> DefaultName => "system.posix_acl_default"u8;

    /// <summary>What a new object gets from the default ACL of its directory (posix_acl_create in the kernel's fs/posix_acl.c): no more
    /// than the ACL gives and no more than the creator asks for; the umask does not count.</summary>
    /// <param name="mode">The mode asked for; on success the mode of the object.</param>
    /// <param name="access">The object's access ACL; null if its mode says all.</param>
    /// <returns>0, or EINVAL: the bytes are no default ACL.</returns>
    public static int Inherit(ReadOnlySpan<byte> defaultAcl, ref uint mode, out byte[]? access)
    {
        access = null;
        var length = defaultAcl.Length - HeaderBytes;
        if (length <= 0 || length % EntryBytes != 0 || BinaryPrimitives.ReadUInt32LittleEndian(defaultAcl) != Version)
            return Errno.EINVAL;
        var acl = defaultAcl.ToArray();
        int owner = 0, group = 0, mask = 0, other = 0;
        var extended = false;
        for (var at = HeaderBytes; at < acl.Length; at += EntryBytes)
        {
            switch ((Tag)BinaryPrimitives.ReadUInt16LittleEndian(acl.AsSpan(at)))
            {
                case Tag.Owner:
                    owner = at;
                    break;
                case Tag.OwningGroup:
                    group = at;
                    break;
                case Tag.Other:
                    other = at;
                    break;
                case Tag.Mask:
                    (mask, extended) = (at, true);
                    break;
                case Tag.User or Tag.Group:
                    extended = true;
                    break;
                default:
                    return Errno.EINVAL;
            }
        }
        if (owner == 0 || group == 0 || other == 0)
            return Errno.EINVAL;
        // With a mask the group bits of the mode are the mask, and the owning group's entry stays as it is.
        var bits = Limit(acl, owner, mode >> 6) << 6 | Limit(acl, mask != 0 ? mask : group, mode >> 3) << 3 | Limit(acl, other, mode);
        mode = mode & ~PermissionBits | bits;
        access = extended ? acl : null;
        return Errno.None;
    }

    private static uint Limit(byte[] acl, int entry, uint asked)
    {
        var permissions = acl.AsSpan(entry + sizeof(ushort));
        var left = BinaryPrimitives.ReadUInt16LittleEndian(permissions) & asked & All;
        BinaryPrimitives.WriteUInt16LittleEndian(permissions, (ushort)left);
        return left;
    }
}
