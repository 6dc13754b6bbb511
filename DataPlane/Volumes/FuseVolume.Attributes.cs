using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <content>GETATTR, SETATTR, and the set-user-id and set-group-id bits.</content>
public sealed partial class FuseVolume
{
    private const uint SetUserId = 0x800;
    private const uint SetGroupId = 0x400;
    private const uint GroupExecute = 0x8;

    private void GetAttributes(in FuseRequest request, FuseReplier reply)
    {
        var result = _volume.GetAttributes(request.NodeId, out var attributes);
        if (result != 0)
        {
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
            return;
        }

        Note(attributes);
        reply.Reply(request.Token, FuseAttributes.Out(attributes));
    }

    private void SetAttributes(in FuseRequest request, FuseReplier reply)
    {
        ref readonly var set = ref request.As<FuseSetAttrIn>();
        var token = request.Token;
        var mask = MaskOf(set.Valid);
        if (mask == AttributeMask.None)
        {
            // Only the change time, which the file system below keeps by itself.
            GetAttributes(request, reply);
            return;
        }

        var mode = set.Mode & StMode.PermissionMask;
        var killedBy = set.Valid.HasFlag(FuseSetAttrMask.KillSuidGid) || (mask & (AttributeMask.Uid | AttributeMask.Gid)) != 0;
        if (killedBy && !mask.HasFlag(AttributeMask.Mode) && _privileged.ContainsKey(request.NodeId))
        {
            var result = _volume.GetAttributes(request.NodeId, out var before);
            if (result != 0)
            {
                reply.Error(token, VolumeErrno.ForKernel(result));
                return;
            }

            mask |= AttributeMask.Mode;
            mode = WithoutPrivileges(before.Mode) & StMode.PermissionMask;
        }

        var now = Libc.FileTimeNs();
        if ((mask & (AttributeMask.Size | AttributeMask.ModifyTime)) == AttributeMask.Size)
        {
            // truncate(2) names no time, and each host's file system would take its own.
            var result = _volume.GetAttributes(request.NodeId, out var before);
            if (result != 0)
            {
                reply.Error(token, VolumeErrno.ForKernel(result));
                return;
            }

            mask |= before.SizeBytes != (long)set.Size ? AttributeMask.ModifyTime : AttributeMask.None;
        }

        var givenModifyTime = set.Valid.HasFlag(FuseSetAttrMask.ModifyTime) && !set.Valid.HasFlag(FuseSetAttrMask.ModifyTimeNow);
        var mutation = new Mutation(MutationKind.SetAttributes)
        {
            Object = request.NodeId,
            Mask = mask,
            Mode = mode,
            Uid = set.Uid,
            Gid = set.Gid,
            SizeBytes = (long)set.Size,
            AccessTimeNs = set.Valid.HasFlag(FuseSetAttrMask.AccessTimeNow) ? now : FuseAttributes.TotalNs(set.AccessTime, set.AccessTimeNs),
            ModifyTimeNs = givenModifyTime ? FuseAttributes.TotalNs(set.ModifyTime, set.ModifyTimeNs) : now,
        };
        _volume.Mutate(mutation, (errno, after) =>
        {
            if (errno != 0)
            {
                reply.Error(token, VolumeErrno.ForKernel(errno));
                return;
            }

            Note(after);
            reply.Reply(token, FuseAttributes.Out(after));
        });
    }

    private static AttributeMask MaskOf(FuseSetAttrMask valid)
    {
        var mask = AttributeMask.None;
        mask |= valid.HasFlag(FuseSetAttrMask.Mode) ? AttributeMask.Mode : 0;
        mask |= valid.HasFlag(FuseSetAttrMask.Uid) ? AttributeMask.Uid : 0;
        mask |= valid.HasFlag(FuseSetAttrMask.Gid) ? AttributeMask.Gid : 0;
        mask |= valid.HasFlag(FuseSetAttrMask.Size) ? AttributeMask.Size : 0;
        mask |= (valid & (FuseSetAttrMask.AccessTime | FuseSetAttrMask.AccessTimeNow)) != 0 ? AttributeMask.AccessTime : 0;
        mask |= (valid & (FuseSetAttrMask.ModifyTime | FuseSetAttrMask.ModifyTimeNow)) != 0 ? AttributeMask.ModifyTime : 0;
        return mask;
    }

    /// <summary>The mode after an unprivileged change of content: set-group-id without group execution means something else (mandatory
    /// locking) and stays.</summary>
    private static uint WithoutPrivileges(uint mode)
    {
        mode &= ~SetUserId;
        return (mode & GroupExecute) != 0 ? mode & ~SetGroupId : mode;
    }

    /// <summary>Remembers which files carry privileges. The kernel writes only to files whose attributes it was given, so every such
    /// file passes here first.</summary>
    private void Note(in ObjectAttributes attributes)
    {
        if (StMode.IsRegular(attributes.Mode) && WithoutPrivileges(attributes.Mode) != attributes.Mode)
        {
            _privileged[attributes.Object] = 0;
            _anyPrivileged = true;
        }
        else if (_anyPrivileged)
        {
            _privileged.TryRemove(attributes.Object, out _);
        }
    }
}
