using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

// What a resync reads from the volume. Copies take the same range locks as writes and go through the same send buffer, so a range arrives
// at the peer in the order in which it was locked here.
internal sealed partial class ServingVolume
{
    private const int CopyBytesMax = FrameHeader.DataBytesMax;

    /// <summary>A hole needs no data, so one frame may name a long one; the range is locked only while it is looked at.</summary>
    private const long HoleBytesMax = 1L << 30;

    /// <summary>Marks were lost: nothing less than a full resync makes the copies equal.</summary>
    public bool EverythingMayDiffer
    {
        get
        {
            lock (_gate)
                return _marks.Damaged;
        }
    }

    public long DirtyBytes
    {
        get
        {
            lock (_gate)
                return _marks.DirtyBytes;
        }
    }

    /// <summary>Takes over a mark of the peer (rule S6).</summary>
    public void Unite(ObjectRange range)
    {
        if (!_store.Exists(range.Object))
            return;
        lock (_gate)
            _marks.Dirty(range);
    }

    /// <summary>Sends the manifest and mirrors every mutation that comes after it.</summary>
    public bool SendTree(SourceSession session, bool full)
    {
        lock (_mutationLock)
        {
            if (ManifestFrames.Send(_store, session.Link, Epoch) is not { } entries)
                return false;
            lock (_gate)
            {
                foreach (var entry in entries)
                {
                    if (full && StMode.IsRegular(entry.Mode) && entry.SizeBytes > 0)
                        _marks.Dirty(entry.Object, 0, entry.SizeBytes);
                }
            }
            lock (_gate)
            {
                if (_session != session)
                    return false;
                _mirrorsMutations = true;
                return session.Link.EndReason is null;
            }
        }
    }

    /// <summary>The peer's tree is equal: every write goes to it from now on.</summary>
    /// <param name="wholeObjects">Objects that are new there.</param>
    /// <returns>Writes that run and were not sent.</returns>
    public List<(int Slot, long BeganTicks)> MirrorWrites(SourceSession session, List<ulong> wholeObjects)
    {
        var unsent = new List<(int Slot, long BeganTicks)>();
        foreach (var obj in wholeObjects)
        {
            if (_store.GetAttributes(obj, out var attributes) != 0 || attributes.SizeBytes == 0)
                continue;
            lock (_gate)
                _marks.Dirty(obj, 0, attributes.SizeBytes);
        }
        lock (_gate)
        {
            // A session that has been replaced changes nothing of its successor.
            if (_session == session)
                _mirrorsWrites = true;
            _ledger.CollectUnsent(unsent);
        }
        ClipWholeObjects();
        return unsent;
    }

    /// <summary>Waits until those operations have ended here, so that what they wrote is marked.</summary>
    public bool AwaitEnd(SourceSession session, List<(int Slot, long BeganTicks)> operations)
    {
        lock (_gate)
        {
            foreach (var (slot, beganTicks) in operations)
            {
                while (_ledger.Runs(slot, beganTicks) && _session == session)
                    Wait();
            }
            return _session == session;
        }
    }

    /// <summary>Copies the next dirty run after a position, which moves on.</summary>
    /// <param name="bytes">How much was copied; 0: nothing is dirty.</param>
    /// <returns>False: the session is over.</returns>
    public bool CopyNext(SourceSession session, ref DirtyCursor cursor, out long bytes)
    {
        bytes = 0;
        int slot;
        ObjectRange run;
        ClipWholeObjects();
        lock (_gate)
        {
            if (!_marks.NextDirtyRun(ref cursor, HoleBytesMax, out run))
            {
                // Behind the cursor more may have become dirty.
                cursor = default;
                if (!_marks.NextDirtyRun(ref cursor, HoleBytesMax, out run))
                    return _session == session;
            }
            while ((slot = _ledger.Enter(OperationKind.Copy, guest: false, run.Object, run.OffsetBytes, run.EndBytes, 0, 0, 0)) < 0)
            {
                if (_session != session)
                    return false;
                Wait();
            }
            while (!_ledger.MayProceed(slot))
            {
                if (_session != session)
                    return Leave(slot);
                Wait();
            }
        }
        var copied = CopyRun(session, run, out var end);
        lock (_gate)
        {
            if (copied && _session == session)
                _marks.Copied(run.Object, run.OffsetBytes, end);
            _ledger.Abandon(slot);
            WakeAll();
        }
        cursor = new DirtyCursor(run.Object, end);
        bytes = end - run.OffsetBytes;
        return copied;
    }

    /// <summary>An object that is dirty as a whole is dirty up to its size: both hosts agree on that since the manifest.</summary>
    private void ClipWholeObjects()
    {
        List<ulong> whole;
        lock (_gate)
            whole = _marks.WholeObjects();
        foreach (var obj in whole)
        {
            // Mutations are held off, so the size does not shrink meanwhile; a write that makes it grow marks its own range.
            lock (_mutationLock)
            {
                var size = _store.GetAttributes(obj, out var attributes) == 0 ? attributes.SizeBytes : 0;
                lock (_gate)
                    _marks.Clip(obj, size);
            }
        }
    }

    private bool Leave(int slot)
    {
        _ledger.Abandon(slot);
        WakeAll();
        return false;
    }

    /// <summary>Sends one piece of the run: a hole as a hole, or data.</summary>
    private bool CopyRun(SourceSession session, in ObjectRange run, out long end)
    {
        end = run.EndBytes;
        // A file without a name, or shorter by now, has nothing there that the peer needs: the mutations that made it so were sent.
        if (_store.GetAttributes(run.Object, out var attributes) != 0 || attributes.Links == 0 || attributes.SizeBytes <= run.OffsetBytes)
            return true;
        var inFile = Math.Min(run.EndBytes, attributes.SizeBytes);
        var seeked = _store.Seek(run.Object, run.OffsetBytes, Libc.SeekData, out var data);
        if (seeked == Errno.ENXIO || (seeked == 0 && data >= inFile))
            return SendCopy(session, FrameKind.ResyncHole, run.Object, run.OffsetBytes, inFile - run.OffsetBytes);
        if (seeked == 0 && data > run.OffsetBytes)
        {
            end = data / ModuleMarks.BlockBytes * ModuleMarks.BlockBytes;
            if (end > run.OffsetBytes)
                return SendCopy(session, FrameKind.ResyncHole, run.Object, run.OffsetBytes, end - run.OffsetBytes);
        }
        end = Math.Min(run.EndBytes, run.OffsetBytes + CopyBytesMax);
        // No further than the data goes: a block of zeros that is written is a hole no more.
        if (seeked == 0 && _store.Seek(run.Object, data, Libc.SeekHole, out var hole) == 0)
            end = Math.Min(end, (hole + ModuleMarks.BlockBytes - 1) / ModuleMarks.BlockBytes * ModuleMarks.BlockBytes);
        return SendCopy(session, FrameKind.ResyncData, run.Object, run.OffsetBytes, Math.Min(end, inFile) - run.OffsetBytes);
    }

    private bool SendCopy(SourceSession session, FrameKind kind, ulong obj, long offsetBytes, long lengthBytes)
    {
        var payloadBytes = kind == FrameKind.ResyncData ? (int)lengthBytes : sizeof(long);
        FrameReservation frame;
        FrameHeader header;
        lock (_gate)
        {
            while (!MayCopy(session, payloadBytes, out frame))
            {
                if (_session != session)
                    return false;
                Wait();
            }
            header = SendReserved(-1, payloadBytes, obj) with { Kind = kind, OffsetBytes = offsetBytes };
        }
        var payload = session.Link.PayloadOf(frame);
        var error = Errno.None;
        if (kind == FrameKind.ResyncData)
        {
            error = _store.Read(obj, offsetBytes, payload, out var count);
            payload[count..].Clear();
        }
        else
        {
            new WireWriter(payload).Int64(lengthBytes);
        }
        session.Link.Commit(frame, header, mayInline: false);
        // An object that was released meanwhile is released on the peer too, which passes over its copy.
        if (error is 0 or Errno.ESTALE)
            return true;
        RaiseLocalFault($"reading object {obj:x} for the resync failed: {Errno.Describe(error)}");
        session.Link.End("the source cannot read its copy");
        return false;
    }

    /// <summary>Needs the gate. Guests go first: beside them a copy uses only a part of the window.</summary>
    private bool MayCopy(SourceSession session, int payloadBytes, out FrameReservation frame)
    {
        frame = default;
        var window = _ledger.GuestCount > 0 ? ResyncSource.WindowBytesBesideGuests : ResyncSource.WindowBytesMax;
        return _session == session && _ledger.CanSend && _ledger.UnacknowledgedBytes <= window && session.Link.TryReserve(payloadBytes, out frame);
    }

    /// <summary>The end of a resync: what was written and copied before is flushed on both hosts, and its marks go.</summary>
    public bool FlushForTheLastTime(SourceSession session, Func<bool> sendFinal, Func<bool> awaitUpToDate)
    {
        FlushToken token;
        lock (_gate)
        {
            // Marks that are set after the token was taken stay, and everything marked before is in the stream before the frame.
            if (_session != session || !_marks.NothingDirty)
                return false;
            token = _marks.BeginFlush(0);
        }
        if (!sendFinal())
            return false;
        var error = _store.FlushAll();
        if (error != 0)
            RaiseLocalFault($"the flush at the end of a resync failed: {Errno.Describe(error)}");
        var upToDate = error == 0 && !HasFault && awaitUpToDate();
        lock (_gate)
        {
            if (_session != session)
                return false;
            _marks.EndFlush(token, upToDate);
            if (!upToDate)
                return false;
            _peer = PeerPart.Member;
        }
        try
        {
            _marks.Repaired();
        }
        catch (StorageException e)
        {
            RaiseLocalFault($"the marks could not be stored: {e.Message}");
        }
        return true;
    }
}
