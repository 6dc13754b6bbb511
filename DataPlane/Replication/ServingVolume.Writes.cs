using System.Diagnostics;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

// Writes and flushes. Nothing here allocates once the tables have grown.
internal sealed partial class ServingVolume
{
    private const int DrainMax = 64;

    // One per depth: a completion may begin another operation, which delivers what has ended by then.
    [ThreadStatic]
    private static List<EndedOperation[]>? t_ended;

    [ThreadStatic]
    private static int t_depth;

    // By ledger slot: marks that a running flush will clear.
    private readonly FlushToken?[] _flushTokens = new FlushToken?[WriteLedger.Slots];

    public void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag)
    {
        if (offsetBytes < 0 || data.Length > FrameHeader.DataBytesMax)
        {
            _completions.Completed(tag, Errno.EINVAL, 0);
            return;
        }
        if (data.Length == 0 || offsetBytes > long.MaxValue - data.Length)
        {
            _completions.Completed(tag, data.Length == 0 ? 0 : Errno.EFBIG, 0);
            return;
        }
        var end = offsetBytes + data.Length;
        var slot = Enter(OperationKind.Write, obj, offsetBytes, end, tag);
        if (slot < 0)
        {
            _completions.Completed(tag, Errno.EIO, 0);
            return;
        }

        var error = _store.Exists(obj) ? Activate(obj, offsetBytes, end, out var pin) : Gone(out pin);
        SourceSession? session = null;
        if (error == 0 && TryBegin(slot, obj, data.Length, marks: true, out session, out var frame, out var header))
        {
            if (session is not null)
            {
                data.CopyTo(session.Link.PayloadOf(frame));
                session.Link.Commit(frame, header with { Kind = FrameKind.Write, OffsetBytes = offsetBytes }, mayInline: true);
            }
            error = _store.Write(obj, offsetBytes, data);
            if (error != 0)
                MakePeerEqualAfterFailedWrite(slot, session, obj, offsetBytes, data.Length, error);
        }
        else if (error == 0)
        {
            error = Errno.EIO;
        }
        EndLocalPart(slot, session, obj, error, error == 0 ? data.Length : 0);
        pin.Dispose();
        DeliverEnded();
    }

    public void Flush(ulong obj, bool dataOnly, OperationTag tag)
    {
        var slot = Enter(OperationKind.Flush, obj, 0, 0, tag);
        if (slot < 0)
        {
            _completions.Completed(tag, Errno.EIO, 0);
            return;
        }
        FlushCoverage.Verdict verdict;
        lock (_gate)
        {
            verdict = _coverage.Begin(obj, dataOnly, slot, out var leader);
            if (verdict == FlushCoverage.Verdict.Covered)
                _ledger.Abandon(slot);
            else if (verdict == FlushCoverage.Verdict.Joined)
                _ledger.Join(slot, leader);
        }
        if (verdict == FlushCoverage.Verdict.Covered)
            _completions.Completed(tag, 0, 0);
        else if (verdict == FlushCoverage.Verdict.Start)
            RunFlush(slot, obj, dataOnly, withPeer: false);
    }

    private void RunFlush(int slot, ulong obj, bool dataOnly, bool withPeer)
    {
        int error;
        if (obj != 0 && !_store.Exists(obj))
            error = Errno.ESTALE;
        else if (!TryBeginFlush(slot, obj, dataOnly, withPeer))
            error = Errno.EIO;
        else
            error = obj == 0 ? _store.FlushAll() : _store.Flush(obj, dataOnly);
        if (error is Errno.EIO or Errno.EROFS or Errno.ENOSPC or Errno.EDQUOT)
            RaiseLocalFault($"a flush failed: {Errno.Describe(error)}");
        // The kernel reports lost pages once; the next flush would find nothing wrong. So none succeeds after a fault.
        else if (error == 0 && HasFault)
            error = Errno.EIO;
        lock (_gate)
            _ledger.LocalDone(slot, error, 0);
        DeliverEnded();
    }

    /// <summary>Takes a slot, waiting while the volume is not open or full, and then for earlier overlapping operations. −1: the volume is shut.</summary>
    private int Enter(OperationKind kind, ulong obj, long startBytes, long endBytes, OperationTag tag)
    {
        lock (_gate)
        {
            int slot;
            while (true)
            {
                if (_stopping)
                    return -1;
                if (IsOpen)
                {
                    slot = _ledger.Enter(kind, guest: true, obj, startBytes, endBytes, tag.Unique, tag.Device, Stopwatch.GetTimestamp());
                    if (slot >= 0)
                        break;
                }
                Wait();
            }
            while (!_ledger.MayProceed(slot) || !MayGoOn)
            {
                if (_stopping)
                {
                    _ledger.Abandon(slot);
                    WakeAll();
                    return -1;
                }
                Wait();
            }
            return slot;
        }
    }

    /// <summary>Marks the operation's range and reserves its frame if the peer takes part.</summary>
    /// <param name="session">Null: the operation is local only.</param>
    /// <returns>False: the volume is shut.</returns>
    private bool TryBegin(
        int slot, ulong obj, int payloadBytes, bool marks, out SourceSession? session, out FrameReservation frame, out FrameHeader header)
    {
        session = null;
        frame = default;
        header = default;
        lock (_gate)
        {
            while (true)
            {
                if (_stopping)
                    return false;
                if (MayGoOn)
                {
                    var orphan = _orphans.Count > 0 && _orphans.Contains(obj);
                    if (_session is null || !_mirrorsWrites || orphan)
                    {
                        if (marks && !orphan)
                            MarkRange(slot, null);
                        _ledger.Start(slot);
                        return true;
                    }
                    if (_ledger.CanSend && _session.Link.TryReserve(payloadBytes, out frame))
                        break;
                }
                Wait();
            }
            session = _session;
            header = SendReserved(slot, payloadBytes, obj);
            if (marks)
                MarkRange(slot, session);
            _ledger.Start(slot);
            return true;
        }
    }

    /// <summary>Numbers a frame that has just been reserved. Needs the gate.</summary>
    private FrameHeader SendReserved(int slot, int payloadBytes, ulong obj, bool waits = false)
    {
        var sequence = _ledger.Sent(slot, FrameHeader.SizeBytes + payloadBytes, waits || _peer is PeerPart.Member or PeerPart.Joining);
        _replicatedBytes += payloadBytes;
        _replicatedOperations++;
        return new FrameHeader(default, FrameFlags.None, payloadBytes, _epoch, sequence, obj, 0);
    }

    private bool TryBeginFlush(int slot, ulong obj, bool dataOnly, bool withPeer)
    {
        FrameReservation frame;
        FrameHeader header;
        SourceSession session;
        lock (_gate)
        {
            while (true)
            {
                if (_stopping)
                    return false;
                if (MayGoOn)
                {
                    // A flush needs the peer only as far as acknowledgements do; orphans are not on the peer.
                    if (_session is null || (!withPeer && _peer is PeerPart.Out or PeerPart.Syncing) || _orphans.Contains(obj))
                        return true;
                    if (_ledger.CanSend && _session.Link.TryReserve(0, out frame))
                        break;
                }
                Wait();
            }
            session = _session;
            header = SendReserved(slot, 0, obj, withPeer) with
            {
                Kind = FrameKind.Flush, Flags = dataOnly ? FrameFlags.DataOnly : FrameFlags.None, OffsetBytes = slot,
            };
            _flushTokens[slot] = _marks.BeginFlush(obj);
            // The flush of a resync has to write what was copied, which may fill the peer's page cache; no guest waits for it.
            session.FlushSent(slot, withPeer ? _options.ResyncStepDeadline : _options.FlushDeadline);
        }
        session.Link.Commit(frame, header, mayInline: true);
        return true;
    }

    /// <summary>The local part is over: marks the range again, because a flush that began meanwhile does not cover it.</summary>
    private void EndLocalPart(int slot, SourceSession? session, ulong obj, int error, int count)
    {
        lock (_gate)
        {
            if (!_orphans.Contains(obj) && _ledger.Started(slot))
                MarkRange(slot, session is not null && session == _session ? session : null);
            _coverage.Changed(obj);
            _ledger.LocalDone(slot, error, count);
        }
    }

    /// <summary>Written: on its way to the peer, not flushed on both. Dirty: the peer lacks it. Needs the gate.</summary>
    private void MarkRange(int slot, SourceSession? session)
    {
        _ledger.RangeOf(slot, out var obj, out var startBytes, out var endBytes);
        if (session is not null)
            _marks.Written(obj, startBytes, endBytes);
        else
            _marks.Dirty(obj, startBytes, endBytes);
    }

    private int Activate(ulong obj, long startBytes, long endBytes, out ActivationPin pin)
    {
        try
        {
            pin = _marks.Activate(obj, startBytes, endBytes);
            return Errno.None;
        }
        catch (StorageException e)
        {
            RaiseLocalFault($"the activity log failed: {e.Message}");
            pin = default;
            return Errno.EIO;
        }
    }

    private static int Gone(out ActivationPin pin)
    {
        pin = default;
        return Errno.ESTALE;
    }

    /// <summary>Delivers what has ended, outside the gate.</summary>
    private void DeliverEnded()
    {
        var buffers = t_ended ??= [];
        if (t_depth == buffers.Count)
            buffers.Add(new EndedOperation[DrainMax]);
        var ended = buffers[t_depth++];
        try
        {
            while (DeliverSome(ended) == DrainMax)
            {
            }
        }
        finally
        {
            t_depth--;
        }
    }

    private int DeliverSome(EndedOperation[] ended)
    {
        var count = 0;
        List<PendingMutation>? mutations = null;
        lock (_gate)
        {
            while (count < DrainMax && _ledger.TryTakeEnded(out ended[count]))
            {
                if (ended[count].Kind == OperationKind.Mutation)
                    (mutations ??= []).Add(_mutations[ended[count].Slot]!);
                Settle(ended[count++]);
            }
            if (count > 0)
                WakeAll();
        }
        var mutation = 0;
        for (var i = 0; i < count; i++)
        {
            if (ended[i].Kind == OperationKind.Mutation)
                mutations![mutation].Completed(ended[i].ErrorNumber, mutations[mutation++].Attributes);
            else
                Deliver(ended[i]);
        }
        return count;
    }

    /// <summary>What the end of an operation means for flush coverage and marks. Needs the gate.</summary>
    private void Settle(in EndedOperation ended)
    {
        if (ended.Kind != OperationKind.Flush)
            return;
        if (_internalFlushes[ended.Slot] is { } waiting)
        {
            _internalFlushes[ended.Slot] = null;
            waiting.TrySetResult(new FlushOutcome(ended.ErrorNumber, ended.PeerConfirmed));
        }
        _coverage.Ended(ended.Slot, ended.ErrorNumber == 0);
        if (_flushTokens[ended.Slot] is not { } token)
            return;
        _flushTokens[ended.Slot] = null;
        _marks.EndFlush(token, onBoth: ended.ErrorNumber == 0 && ended.PeerConfirmed);
        _session?.FlushEnded(ended.Slot);
    }

    private void Deliver(in EndedOperation ended)
    {
        var seconds = Stopwatch.GetElapsedTime(ended.BeganTicks).TotalSeconds;
        if (!ended.Guest)
            return;
        switch (ended.Kind)
        {
            case OperationKind.Write:
                ReplicationMetrics.WriteDuration.Record(seconds, _moduleTag);
                _completions.Completed(new OperationTag(ended.TagUnique, ended.TagDevice), ended.ErrorNumber, ended.Count);
                break;
            case OperationKind.Flush:
                ReplicationMetrics.FlushDuration.Record(seconds, _moduleTag);
                _completions.Completed(new OperationTag(ended.TagUnique, ended.TagDevice), ended.ErrorNumber, 0);
                break;
        }
    }

    /// <summary>The disk refused a write whose frame is on its way: sends what is really there, so that both copies stay equal. A local
    /// fault is different: this host's copy is finished.</summary>
    private void MakePeerEqualAfterFailedWrite(int slot, SourceSession? session, ulong obj, long offsetBytes, int length, int error)
    {
        if (error is Errno.EIO or Errno.EROFS)
        {
            // What can be read here may be anything; the peer's copy is the good one, so nothing of this one goes there any more.
            RaiseLocalFault($"a write of object {obj:x} failed: {Errno.Describe(error)}");
            return;
        }
        if (session is null)
            return;
        var content = new byte[length];
        var cut = new Mutation(MutationKind.SetAttributes) { Object = obj, Mask = AttributeMask.Size };
        var cutBytes = MutationCodec.SizeOf(cut);
        lock (_gate)
        {
            _ledger.Repairs(slot);
            WakeAll();
            FrameReservation contentFrame;
            FrameReservation cutFrame;
            // Other writes of this object that run now may lie beyond it: the file's length is known only when they are done.
            while (_ledger.OthersRun(slot) || !_ledger.CanSendTwo || !session.Link.TryReserve(length, cutBytes, out contentFrame, out cutFrame))
            {
                if (_stopping || _session != session)
                    return;
                Wait();
            }
            // Disk calls under the gate, so that nothing comes between what is read and what is sent. A full disk is not on the way of
            // a good write.
            if (_store.GetAttributes(obj, out var attributes) != 0 || _store.Read(obj, offsetBytes, content, out _) != 0)
            {
                // The reserved frames are never sent: the link ends first.
                session.Link.End($"what a failed write left of object {obj:x} could not be read");
                return;
            }
            var header = new FrameHeader(FrameKind.Write, FrameFlags.None, length, _epoch, 0, obj, offsetBytes);
            content.CopyTo(session.Link.PayloadOf(contentFrame));
            session.Link.Commit(contentFrame, header with { Sequence = _ledger.SentAgain(slot, length) }, mayInline: false);
            MutationCodec.Write(cut with { SizeBytes = attributes.SizeBytes }, session.Link.PayloadOf(cutFrame));
            session.Link.Commit(
                cutFrame,
                header with { Kind = FrameKind.Mutation, PayloadBytes = cutBytes, OffsetBytes = 0, Sequence = _ledger.SentAgain(slot, cutBytes) },
                mayInline: false);
        }
    }
}
