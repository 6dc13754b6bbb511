using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <content>Extended attributes. Those of Pollux itself are not shown and cannot be changed. POSIX ACLs are refused: the kernel checks
/// modes only on this mount, and an ACL that is stored but not obeyed would be worse than none.</content>
public sealed partial class FuseVolume
{
    /// <summary>XATTR_SIZE_MAX and XATTR_LIST_MAX (linux/limits.h), bytes.</summary>
    private const int XattrBytesMax = 65536;

    [ThreadStatic]
    private static byte[]? t_xattr;

    private static ReadOnlySpan<byte> OwnPrefix => "trusted.pollux."u8;

    private static ReadOnlySpan<byte> AclPrefix => "system.posix_acl_"u8;

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
                if (Refusal(name, Errno.ENODATA) is var refusal and not 0)
                    reply.Error(request.Token, refusal);
                else
                    Mutate(new Mutation(MutationKind.RemoveXattr) { Object = request.NodeId, Name = name.ToArray() }, request.Token, reply);
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
        var rest = request.After<FuseSetXattrIn>();
        var name = FuseRequest.TakeName(ref rest);
        if (rest.Length != set.Size)
            throw new FuseException($"A SETXATTR of {set.Size} bytes carries {rest.Length}.");
        if (Refusal(name, Errno.EPERM) is var refusal and not 0)
        {
            reply.Error(request.Token, refusal);
            return;
        }

        Mutate(new Mutation(MutationKind.SetXattr)
        {
            Object = request.NodeId,
            Name = name.ToArray(),
            Data = rest.ToArray(),
            Flags = set.Flags,
        }, request.Token, reply);
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
    private static int Refusal(ReadOnlySpan<byte> name, int ofOwn)
    {
        if (name.StartsWith(OwnPrefix))
            return ofOwn;
        return name.StartsWith(AclPrefix) ? Errno.EOPNOTSUPP : 0;
    }

    /// <summary>Takes the names of Pollux out of a list of zero-terminated names.</summary>
    /// <returns>The bytes left.</returns>
    private static int HideOwn(Span<byte> list)
    {
        var kept = 0;
        var at = 0;
        while (at < list.Length)
        {
            var end = list[at..].IndexOf((byte)0);
            var next = end < 0 ? list.Length : at + end + 1;
            if (!list[at..next].StartsWith(OwnPrefix) && !list[at..next].StartsWith(AclPrefix))
            {
                list[at..next].CopyTo(list[kept..]);
                kept += next - at;
            }

            at = next;
        }

        return kept;
    }
}
