using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <content>Opening and closing. When the last writer of a file closes it, the file's time of modification becomes equal on both hosts: each
/// host's file system has stamped the writes by its own clock.</content>
public sealed partial class FuseVolume
{
    /// <summary>What comes to its end waits so long for times to be settled: a volume that holds operations, or is being shut, must not hold
    /// it up.</summary>
    private static readonly TimeSpan SettleMax = TimeSpan.FromSeconds(1);

    /// <summary>Settles the times of all files that are open for writing, as far as the volume goes on.</summary>
    public Task SettleAsync() => Task.Run(() => Settle(_open.Written()));

    /// <summary>Closes what applications had open when the connection ended: an aborted kernel sends no RELEASE, and one that unmounts may
    /// drop those that are on their way.</summary>
    public void Ended()
    {
        var (handles, written) = _open.RemoveAll();
        Settle(written);
        foreach (var handle in handles)
            _volume.Close(handle);
    }

    /// <summary>Returns when all are settled or the time is over; what is left then ends by itself.</summary>
    private void Settle(List<ulong> written)
    {
        if (written.Count == 0)
            return;
        var left = written.Count;
        // Not disposed: the last completion may come after the wait.
        var allSettled = new SemaphoreSlim(0, 1);
        // On a thread of its own, because a volume that holds operations holds the caller too.
        ThreadPool.UnsafeQueueUserWorkItem(_ =>
        {
            foreach (var obj in written)
            {
                SettleTime(obj, null, () =>
                {
                    if (Interlocked.Decrement(ref left) == 0)
                        allSettled.Release();
                });
            }
        }, null);
        allSettled.Wait(SettleMax);
    }

    private void Open(in FuseRequest request, FuseReplier reply)
    {
        var flags = (int)request.As<FuseOpenIn>().Flags;
        var isFile = request.Opcode == FuseOpcode.Open;
        var writes = isFile && OpenFiles.Writes(flags);
        var result = _volume.Open(request.NodeId, flags, out var handle);
        if (result != 0)
        {
            reply.Error(request.Token, VolumeErrno.ForKernel(result));
            return;
        }

        // Without the time of before, closing takes the file for written.
        var before = default(ObjectAttributes);
        if (writes)
            _ = _volume.GetAttributes(request.NodeId, out before);
        _open.Add(handle, request.NodeId, writes ? before.ModifyTimeNs : null);
        if (!reply.Reply(request.Token, new FuseOpenOut { Handle = handle, OpenFlags = isFile ? ModeOf(flags) : FuseOpenFlags.None }))
            Close(handle, request.NodeId, writes);
    }

    private FuseOpenFlags ModeOf(int flags)
    {
        if ((flags & OpenFlags.Direct) != 0)
            return FuseOpenFlags.DirectIo | FuseOpenFlags.ParallelDirectWrites;
        return OpenFiles.Writes(flags) ? _writerFlags : FuseOpenFlags.None;
    }

    private void Release(in FuseRequest request, FuseReplier reply)
    {
        ref readonly var release = ref request.As<FuseReleaseIn>();
        var (handle, obj) = (release.Handle, request.NodeId);
        var writes = request.Opcode == FuseOpcode.Release && OpenFiles.Writes((int)release.Flags);
        // Nobody waits for a RELEASE: the application's close(2) has returned.
        reply.Ok(request.Token);
        Close(handle, obj, writes);
    }

    private void Close(ulong handle, ulong obj, bool wrote)
    {
        long? unchangedNs = null;
        // Of an opening in the time of an earlier process nothing is known: its end counts as that of the last writer.
        if (wrote && (_open.EndsWriting(obj, out unchangedNs) || GoesOn))
            SettleTime(obj, unchangedNs, () => CloseHandle(handle));
        else
            CloseHandle(handle);
    }

    private void CloseHandle(ulong handle)
    {
        if (_open.Remove(handle))
            _volume.Close(handle);
    }

    /// <param name="unchangedNs">A file that still has this time was not written; null: it counts as written.</param>
    private void SettleTime(ulong obj, long? unchangedNs, Action then)
    {
        // A file without a name is on no other host.
        if (_volume.GetAttributes(obj, out var now) != 0 || now.Links == 0 || now.ModifyTimeNs == unchangedNs)
        {
            then();
            return;
        }

        // An outcome other than success is that of the whole volume, which tells it by every write and flush.
        var mutation = new Mutation(MutationKind.SettleTime) { Object = obj, ModifyTimeNs = now.ModifyTimeNs };
        _volume.Mutate(mutation, (_, _) => then());
    }
}
