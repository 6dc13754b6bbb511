using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <content>Extended attributes. Those of Pollux itself are not shown and cannot be changed. POSIX ACLs are attributes too: the file system
/// below keeps them consistent with the mode, the kernel above checks access by them. A kernel that would not check them is refused: an ACL
/// that is stored but not obeyed would be worse than none.</content>
public sealed partial class FuseVolume
{
    /// <summary>XATTR_SIZE_MAX and XATTR_LIST_MAX (linux/limits.h), bytes.</summary>
    private const int XattrBytesMax = 65536;

    [ThreadStatic]
    private static byte[]? t_xattr;

    private static ReadOnlySpan<byte> OwnPrefix => "trusted.pollux."u8;

    private void Xattr(in FuseRequest request, FuseReplier reply)
    {
        switch (request.Opcode)
        {
            case FuseOpcode.GetXattr:
                GetXattr(request, reply);
                break;
            case FuseOpcode.ListXattr:
                ListXattr(request, reply);
                break;
            case FuseOpcode.SetXattr:
                SetXattr(request, reply);
                break;
            default:
                var names = request.Body;
                var name = FuseRequest.TakeName(ref names);
                var removal = new Mutation(MutationKind.RemoveXattr) { Object = request.NodeId, Name = name.ToArray() };
                if (Refusal(name, Errno.ENODATA) is var refusal and not 0)
                    reply.Error(request.Token, refusal);
                else if (request.IsResent)
                    RemoveXattrAgain(removal, request.Token, reply);
                else
                    Mutate(removal, request.Token, reply);
                break;
        }
    }

    private void GetXattr(in FuseRequest request, FuseReplier reply)
    {
        var names = request.After<FuseGetXattrIn>();
        var name = FuseRequest.TakeName(ref names);
        if (Refusal(name, Errno.ENODATA) is var refusal and not 0)
        {
            reply.Error(request.Token, refusal);
            return;
        }

        var value = t_xattr ??= new byte[XattrBytesMax];
        var result = _volume.GetXattr(request.NodeId, name, value, out var length);
        // The kernel asks for ACLs to check access: a file system below that has none must not refuse every access.
        if (result == Errno.EOPNOTSUPP && name.StartsWith(PosixAcl.NamePrefix))
            result = Errno.ENODATA;
        Value(request, result, value.AsSpan(0, result == 0 ? length : 0), reply);
    }

    private void ListXattr(in FuseRequest request, FuseReplier reply)
    {
        var list = t_xattr ??= new byte[XattrBytesMax];
        var result = _volume.ListXattr(request.NodeId, list, out var length);
        var kept = result == 0 ? HideOwn(list.AsSpan(0, length)) : 0;
        Value(request, result, list.AsSpan(0, kept), reply);
    }

    private void SetXattr(in FuseRequest request, FuseReplier reply)
    {
        ref readonly var set = ref request.As<FuseSetXattrIn>();
        var rest = _keepsAcls ? request.After<FuseSetXattrExtendedIn>() : request.After<FuseSetXattrIn>();
        var killsSgid = _keepsAcls && request.As<FuseSetXattrExtendedIn>().SetXattrFlags.HasFlag(FuseSetXattrFlags.AclKillSgid);
        var name = FuseRequest.TakeName(ref rest);
        if (rest.Length != set.Size)
            throw new FuseException($"A SETXATTR of {set.Size} bytes carries {rest.Length}.");
        if (Refusal(name, Errno.EPERM) is var refusal and not 0)
        {
            reply.Error(request.Token, refusal);
            return;
        }

        var mutation = new Mutation(MutationKind.SetXattr)
        {
            Object = request.NodeId,
            Name = name.ToArray(),
            Data = rest.ToArray(),
            Flags = set.Flags,
        };
        if (killsSgid && name.SequenceEqual(PosixAcl.AccessName))
            SetAclKillingSgid(mutation, request.Token, reply);
        else if (request.IsResent)
            SetXattrAgain(mutation, request.Token, reply);
        else
            Mutate(mutation, request.Token, reply);
    }

    /// <summary>The file system below sees root change the ACL and leaves set-group-id alone, so it goes by a change of its own.</summary>
    private void SetAclKillingSgid(Mutation mutation, FuseReplyToken token, FuseReplier reply)
    {
        _volume.Mutate(mutation, (errno, attributes) =>
        {
            if (errno != 0 || (attributes.Mode & SetGroupId) == 0)
            {
                reply.Error(token, VolumeErrno.ForKernel(errno));
                return;
            }

            var cleared = new Mutation(MutationKind.SetAttributes)
            {
                Object = mutation.Object,
                Mask = AttributeMask.Mode,
                Mode = attributes.Mode & ~SetGroupId & StMode.PermissionMask,
            };
            Mutate(cleared, token, reply);
        });
    }

    /// <summary>Gives a creation the default ACL of its directory, or, where there is none, takes the umask from its mode.</summary>
    private int InheritAcl(ref Mutation mutation, uint umask)
    {
        var value = t_xattr ??= new byte[XattrBytesMax];
        var result = _volume.GetXattr(mutation.Parent, PosixAcl.DefaultName, value, out var length);
        if (result is Errno.ENODATA or Errno.EOPNOTSUPP || (result == 0 && length == 0))
        {
            mutation = mutation with { Mode = mutation.Mode & ~(umask & 0x1FF) };
            return 0;
        }

        if (result != 0)
            return result;
        var mode = mutation.Mode;
        result = PosixAcl.Inherit(value.AsSpan(0, length), ref mode, out _);
        mutation = mutation with { Mode = mode, Data = value[..length] };
        return result;
    }

    /// <summary>Answers with a value, with its length if the kernel asks for that only, or with ERANGE.</summary>
    private static void Value(in FuseRequest request, int result, ReadOnlySpan<byte> value, FuseReplier reply)
    {
        var size = request.As<FuseGetXattrIn>().Size;
        if (result != 0)
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
        else if (size == 0)
            reply.Reply(request.Token, new FuseGetXattrOut { Size = (uint)value.Length });
        else if (value.Length > size)
            reply.Error(request.Token, Errno.ERANGE);
        else
            reply.Data(request.Token, value);
    }

    /// <returns>0 if the attribute may be used.</returns>
    private int Refusal(ReadOnlySpan<byte> name, int ofOwn)
    {
        if (name.StartsWith(OwnPrefix))
            return ofOwn;
        return !_keepsAcls && name.StartsWith(PosixAcl.NamePrefix) ? Errno.EOPNOTSUPP : 0;
    }

    /// <summary>Takes the names of Pollux out of a list of zero-terminated names.</summary>
    /// <returns>The bytes left.</returns>
    private int HideOwn(Span<byte> list)
    {
        var kept = 0;
        var at = 0;
        while (at < list.Length)
        {
            var end = list[at..].IndexOf((byte)0);
            var next = end < 0 ? list.Length : at + end + 1;
            if (Refusal(list[at..next], Errno.ENODATA) == 0)
            {
                list[at..next].CopyTo(list[kept..]);
                kept += next - at;
            }

            at = next;
        }

        return kept;
    }
}
