using System.Collections.Concurrent;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <summary>The FUSE front end of one directory of a serving module: every operation of the kernel as a call of <see cref="IModuleVolume"/>.
/// Node ids are object ids, but for the kernel's root, which is always 1 and here the directory's (<see cref="FuseRequest.NameRoot"/>). Objects of
/// other directories never come here: each has a mount of its own, and the kernel refuses to move or link across (EXDEV).</summary>
/// <remarks>
/// Reads are answered on the worker's thread, from the worker's buffer. Writes, flushes and mutations are answered when the volume says
/// that they are done on every member, from whichever thread that is. This class has no lock of its own: its state is a concurrent set and
/// <see cref="OpenFiles"/>.
/// <para>Files opened with O_DIRECT or for writing bypass the page cache (FOPEN_DIRECT_IO) and are written in parallel: one write of the
/// application is one write here. Read-only files are cached; the kernel drops the cache when a file has changed
/// (FUSE_AUTO_INVAL_DATA). Shared mappings work in both modes from Linux 6.6 on; before, a file opened for writing without O_DIRECT
/// stays in the cached mode, where they always worked.</para>
/// <para>The volume acts as root, so what the kernel would do to a file of an ordinary user is done here: set-user-id and set-group-id
/// are cleared on write, truncation and change of owner (FUSE_HANDLE_KILLPRIV_V2), and entries inherit the group of a set-group-id
/// directory and default ACLs. File capabilities are cleared by the file system below on each host.</para>
/// </remarks>
public sealed partial class FuseVolume : IFuseHandler
{
    /// <summary>Longest entry name of Linux file systems, bytes (NAME_MAX, limits.h).</summary>
    private const int NameBytesMax = 255;

    private readonly IModuleVolume _volume;
    private readonly ILoopVolume? _onLoop;
    private readonly FuseCompletions _completions;
    private readonly int _directory;
    private readonly ulong _root;
    private readonly OpenFiles _open = new();

    /// <summary>Regular files whose set-user-id or set-group-id bit the kernel was told of. Bounded by the number of such files.</summary>
    private readonly ConcurrentDictionary<ulong, byte> _privileged = new();
    private volatile bool _anyPrivileged;
    private FuseOpenFlags _writerFlags;
    private bool _keepsAcls;

    /// <param name="volume">A volume that serves; its completions go to <paramref name="completions"/>.</param>
    /// <param name="directory">Which of the module's directories, from 0.</param>
    public FuseVolume(IModuleVolume volume, FuseCompletions completions, int directory = 0)
    {
        (_directory, _root) = (directory, ModuleRoots.Of(directory));
        _volume = volume;
        _onLoop = volume as ILoopVolume;
        _completions = completions;
    }

    /// <summary>The connection is adopted (<see cref="FuseSession.Adopt"/>): files may be open since the time of an earlier process.</summary>
    public bool GoesOn { get; init; }

    /// <summary>Tells of exchanges that come again whether they were done; without it their outcome is unknown.</summary>
    public ExchangeNotes? Exchanges { get; init; }

    /// <summary>What a session of this handler is started with.</summary>
    /// <param name="source">The module's name, for the mount table.</param>
    public static FuseSessionOptions SessionOptions(string source) => new() { Source = source, HandlerKillsPrivileges = true, HandlerKeepsAcls = true };

    public void Started(in FuseNegotiation negotiated, FuseReplier reply)
    {
        _writerFlags = negotiated.Flags.HasFlag(FuseInitFlags.DirectIoAllowMmap)
            ? FuseOpenFlags.DirectIo | FuseOpenFlags.ParallelDirectWrites
            : FuseOpenFlags.None;
        _keepsAcls = negotiated.Flags.HasFlag(FuseInitFlags.PosixAcl);
        _completions.Connect(_directory, _volume, reply);
    }

    public void Forget(ulong nodeId, ulong lookups) => _volume.Forget(nodeId, lookups);

    public void Handle(in FuseRequest request, FuseReplier reply)
    {
        request.NameRoot(_root);
        switch (request.Opcode)
        {
            case FuseOpcode.Read:
                Read(request, reply);
                break;
            case FuseOpcode.Write:
                Write(request, reply);
                break;
            case FuseOpcode.Fsync:
                var dataOnly = request.As<FuseFsyncIn>().Flags.HasFlag(FuseFsyncFlags.DataOnly);
                _volume.Flush(request.NodeId, dataOnly, FuseCompletions.ForFlush(request.Token, _directory));
                break;
            case FuseOpcode.FsyncDirectory or FuseOpcode.SyncFs:
                // A directory's entries are stable when the whole volume is.
                _volume.Flush(0, dataOnly: false, FuseCompletions.ForFlush(request.Token, _directory));
                break;
            case FuseOpcode.Lookup:
                Lookup(request, reply);
                break;
            case FuseOpcode.GetAttr:
                GetAttributes(request, reply);
                break;
            case FuseOpcode.SetAttr:
                SetAttributes(request, reply);
                break;
            case FuseOpcode.Open or FuseOpcode.OpenDirectory:
                Open(request, reply);
                break;
            case FuseOpcode.Release or FuseOpcode.ReleaseDirectory:
                Release(request, reply);
                break;
            case FuseOpcode.ReadDirectory or FuseOpcode.ReadDirectoryPlus:
                ReadDirectory(request, reply);
                break;
            case FuseOpcode.Seek:
                Seek(request, reply);
                break;
            case FuseOpcode.Fallocate:
                Allocate(request, reply);
                break;
            case FuseOpcode.StatFs:
                StatFs(request, reply);
                break;
            case FuseOpcode.ReadLink:
                ReadLink(request, reply);
                break;
            case FuseOpcode.Create or FuseOpcode.MakeNode or FuseOpcode.MakeDirectory or FuseOpcode.Symlink or FuseOpcode.Link
                or FuseOpcode.Unlink or FuseOpcode.RemoveDirectory or FuseOpcode.Rename or FuseOpcode.Rename2:
                ChangeNamespace(request, reply);
                break;
            case FuseOpcode.GetXattr or FuseOpcode.ListXattr or FuseOpcode.SetXattr or FuseOpcode.RemoveXattr:
                Xattr(request, reply);
                break;
            default:
                // ENOSYS makes the kernel fall back (COPY_FILE_RANGE, STATX, TMPFILE) or stop asking (FLUSH: closing a file does nothing
                // here, all its writes have been answered).
                reply.Error(request.Token, Errno.ENOSYS);
                break;
        }
    }

    /// <summary>The object that the kernel calls by this node id.</summary>
    private ulong ObjectOf(ulong nodeId) => nodeId == FuseRequest.RootNode ? _root : nodeId;

    private void Read(in FuseRequest request, FuseReplier reply)
    {
        ref readonly var read = ref request.As<FuseReadIn>();
        var size = (int)Math.Min(read.Size, (uint)request.PayloadCapacity);
        var result = _volume.Read(read.Handle, (long)read.Offset, request.Payload[..size], out var count);
        if (result == 0)
            reply.Payload(request, count);
        else
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
    }

    private void Write(in FuseRequest request, FuseReplier reply)
    {
        if (!TryAccept(request, reply, out var write, out _))
            return;
        var data = request.After<FuseWriteIn>();
        var tag = TagOf(request, write);
        if (KillsPrivileges(request, write))
            WriteAfterKillingPrivileges(request.NodeId, (long)write.Offset, data.ToArray(), tag, reply);
        else
            _volume.Write(request.NodeId, (long)write.Offset, data, tag);
    }

    private void WriteAfterKillingPrivileges(ulong obj, long offsetBytes, byte[] data, OperationTag tag, FuseReplier reply)
    {
        var result = _volume.GetAttributes(obj, out var before);
        if (result != 0)
        {
            _completions.Completed(tag, result, 0);
            return;
        }

        var mutation = new Mutation(MutationKind.SetAttributes)
        {
            Object = obj,
            Mask = AttributeMask.Mode,
            Mode = WithoutPrivileges(before.Mode),
        };
        _volume.Mutate(mutation, (errno, after) =>
        {
            if (errno != 0)
            {
                _completions.Completed(tag, errno, 0);
                return;
            }

            Note(after);
            // The kernel expects a write to change times and size, not the mode.
            reply.NotifyInvalidateInode(obj, -1, 0);
            _volume.Write(obj, offsetBytes, data, tag);
        });
    }

    private void Seek(in FuseRequest request, FuseReplier reply)
    {
        ref readonly var seek = ref request.As<FuseSeekIn>();
        var result = _volume.Seek(seek.Handle, (long)seek.Offset, (int)seek.Whence, out var offsetBytes);
        if (result == 0)
            reply.Reply(request.Token, new FuseSeekOut { Offset = (ulong)offsetBytes });
        else
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
    }

    private void Allocate(in FuseRequest request, FuseReplier reply)
    {
        ref readonly var allocate = ref request.As<FuseFallocateIn>();
        const uint supported = Libc.FallocateKeepSize | Libc.FallocatePunchHole | Libc.FallocateZeroRange;
        if ((allocate.Mode & ~supported) != 0)
        {
            reply.Error(request.Token, Errno.EOPNOTSUPP);
            return;
        }

        Mutate(new Mutation(MutationKind.Allocate)
        {
            Object = request.NodeId,
            Flags = allocate.Mode,
            ModifyTimeNs = Libc.FileTimeNs(),
            OffsetBytes = (long)allocate.Offset,
            LengthBytes = (long)allocate.Length,
        }, request.Token, reply);
    }

    private void StatFs(in FuseRequest request, FuseReplier reply)
    {
        var result = _volume.StatFs(request.NodeId, out var space);
        if (result != 0)
        {
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
            return;
        }

        reply.Reply(request.Token, new FuseStatFsOut
        {
            Blocks = space.Blocks,
            BlocksFree = space.BlocksFree,
            BlocksAvailable = space.BlocksAvailable,
            Files = space.Files,
            FilesFree = space.FilesFree,
            BlockSize = space.BlockSizeBytes,
            FragmentSize = space.BlockSizeBytes,
            NameLengthMax = space.NameLengthMax,
        });
    }

    /// <summary>A mutation that is answered by its errno alone.</summary>
    private void Mutate(Mutation mutation, FuseReplyToken token, FuseReplier reply) =>
        _volume.Mutate(mutation, (errno, _) => reply.Error(token, VolumeErrno.ForKernel(errno)));
}
