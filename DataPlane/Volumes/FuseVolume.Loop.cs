using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Volumes;

// The hot path of a volume on an event loop: writes, flushes of a file, reads. All else goes to Handle.
public sealed partial class FuseVolume
{
    public bool TryHandleOnLoop(in FuseRequest request, int buffer, FuseReplier reply)
    {
        if (_onLoop is null)
            return false;
        request.NameRoot(_root);
        switch (request.Opcode)
        {
            case FuseOpcode.Write:
                return TryWriteOnLoop(request, buffer, reply);
            case FuseOpcode.Read:
                return TryReadOnLoop(request, reply);
            case FuseOpcode.Fsync:
                var dataOnly = request.As<FuseFsyncIn>().Flags.HasFlag(FuseFsyncFlags.DataOnly);
                _volume.Flush(request.NodeId, dataOnly, FuseCompletions.ForFlush(request.Token, _directory));
                return true;
            default:
                return false;
        }
    }

    bool IFuseHandler.TryBeginRead(in FuseRequest request, out PlannedRead read)
    {
        read = default;
        if (_onLoop is not { GivesReads: true })
            return false;
        ref readonly var wanted = ref request.As<FuseReadIn>();
        var bytes = (int)Math.Min(wanted.Size, (uint)request.PayloadCapacity);
        if (wanted.Offset > (ulong)(long.MaxValue - bytes) || !_onLoop.TryHold(wanted.Handle, out var file))
            return false;
        read = new PlannedRead(file, (long)wanted.Offset, bytes);
        return true;
    }

    bool IFuseHandler.TryEndRead(in FuseRequest request, int result, FuseReplier reply)
    {
        if (result < 0 || !_onLoop!.GivesReads)
            return false;
        ref readonly var wanted = ref request.As<FuseReadIn>();
        var rest = request.Payload[result..(int)Math.Min(wanted.Size, (uint)request.PayloadCapacity)];
        var more = 0;
        // Fewer bytes are those up to the end of the file, or of the page cache.
        if (!rest.IsEmpty && (!_onLoop.TryReadOnLoop(wanted.Handle, (long)wanted.Offset + result, rest, out var errno, out more) || errno != 0))
            return false;
        reply.Payload(request, result + more);
        return true;
    }

    private bool TryWriteOnLoop(in FuseRequest request, int buffer, FuseReplier reply)
    {
        if (!TryAccept(request, reply, out var write, out var bytes))
            return true;
        if (KillsPrivileges(request, write))
            return false;
        _onLoop!.WriteOnLoop(request.NodeId, (long)write.Offset, buffer, bytes, TagOf(request, write));
        return true;
    }

    private bool TryReadOnLoop(in FuseRequest request, FuseReplier reply)
    {
        ref readonly var read = ref request.As<FuseReadIn>();
        var size = (int)Math.Min(read.Size, (uint)request.PayloadCapacity);
        if (!_onLoop!.TryReadOnLoop(read.Handle, (long)read.Offset, request.Payload[..size], out var errno, out var count))
            return false;
        if (errno == 0)
            reply.Payload(request, count);
        else
            reply.Error(request.Token, VolumeErrno.ForKernel(errno));
        return true;
    }

    /// <summary>Checks a WRITE; answers one that cannot be.</summary>
    private static bool TryAccept(in FuseRequest request, FuseReplier reply, out FuseWriteIn write, out int bytes)
    {
        write = request.As<FuseWriteIn>();
        bytes = request.After<FuseWriteIn>().Length;
        if (bytes != write.Size)
            throw new FuseException($"A WRITE of {write.Size} bytes carries {bytes}.");
        if (write.Offset <= (ulong)long.MaxValue - write.Size)
            return true;
        reply.Error(request.Token, Errno.EFBIG);
        return false;
    }

    private bool KillsPrivileges(in FuseRequest request, in FuseWriteIn write) =>
        _anyPrivileged && write.WriteFlags.HasFlag(FuseWriteFlags.KillSuidGid) && _privileged.ContainsKey(request.NodeId);

    private OperationTag TagOf(in FuseRequest request, in FuseWriteIn write)
    {
        // O_SYNC is O_DSYNC and one more bit (asm-generic/fcntl.h).
        const uint syncOnly = 0x100000;
        return (write.Flags & OpenFlags.DataSync) == 0
            ? FuseCompletions.ForWrite(request.Token, _directory)
            : _completions.ForStableWrite(request.Token, _directory, request.NodeId, dataOnly: (write.Flags & syncOnly) == 0);
    }
}
