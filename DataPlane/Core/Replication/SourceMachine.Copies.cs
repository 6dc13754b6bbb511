namespace Pollux.DataPlane.Core.Replication;

// Copies of dirty ranges to the peer. A copy takes the same range lock as a write and goes through the same send buffer, so a range arrives
// in the order in which it was locked here.
//
//   range ─► read ─┬─ hole, nothing ─────────────────────────────► send
//                  └─ data ─(the peer may have the same already)─► compare ─┬─ equal ─► no more to send
//                                                                          └─ not ───► send
public sealed partial class SourceMachine
{
    /// <summary>What is copied and not yet acknowledged while no guest operation is outstanding; and while some are, so that they do not
    /// queue behind much of it. Bytes.</summary>
    private const long WindowBytesMax = 4 << 20;
    private const long WindowBytesBesideGuests = 1 << 20;

    /// <summary>A hole needs no data, so one frame may name a long one; the range is locked only while it is looked at.</summary>
    private const long HoleBytesMax = 1L << 30;

    /// <summary>Reads and comparisons under way at once: enough to keep a disk and a link of 10 Gb/s busy, 8 MiB of buffers.</summary>
    private const int CopiesMax = 8;

    private DirtyCursor _cursor;
    private int _copies;
    private long _copyReservedBytes;

    // After a hole the next look is at a long run, alone; after data at short ones, side by side.
    private bool _expectsHole;
    private bool _longRunRuns;
    private long _resyncBytesPerSecondMin = ResyncLimits.Default.BytesPerSecondMin;
    private RateLimit _resyncLimit = new() { BytesPerSecondMax = long.MaxValue };
    private int _comparedDifferent;
    private int _comparisonsPassedOver;

    /// <summary>Takes effect at once, during a resync too.</summary>
    /// <param name="minBytesPerSecond">Kept up beside guests as far as disk and link allow.</param>
    /// <param name="maxBytesPerSecond">long.MaxValue: no limit.</param>
    public void SetResyncLimits(long minBytesPerSecond, long maxBytesPerSecond)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(minBytesPerSecond);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxBytesPerSecond, Math.Max(minBytesPerSecond, 1));
        _resyncBytesPerSecondMin = minBytesPerSecond;
        _resyncLimit.BytesPerSecondMax = maxBytesPerSecond;
        _changed = true;
        Settle();
    }

    /// <summary>Starts as many copies as may run.</summary>
    /// <returns>True: nothing is dirty, and nothing is being copied.</returns>
    private bool CopyOn()
    {
        if (_link == 0 || _stopping)
            return false;
        if (_copies == 0 && !_clipRuns && _marks.NothingDirty)
            return true;
        ClipWholeObjects();
        while (_copies < CopiesMax && !_longRunRuns && MayCopy() && NextRun(out var run) && TryStartCopy(run, Purpose.Copy))
        {
        }
        // What has been copied gives its marks back with a flush.
        if (_copies == 0 && _marks.Map.WaitsForPages && !_resyncFlushes && _resync is ResyncStep.Copying or ResyncStep.Joining)
            _resyncFlushes = TryFlushEverything(Purpose.ResyncFlush, withPeer: true);
        return _copies == 0 && !_clipRuns && _marks.NothingDirty;
    }

    /// <summary>Guests go first: beside them a copy uses only a part of the window, unless the resync falls behind what it must keep up.</summary>
    private bool MayCopy()
    {
        var window = _ledger.GuestCount > 0 && _resyncRate.BytesPerSecond(_nowMs) >= _resyncBytesPerSecondMin ? WindowBytesBesideGuests : WindowBytesMax;
        if (_roomShort || !_ledger.CanSend || _ledger.UnacknowledgedBytes + _copyReservedBytes > window
            || _effects.SendRoomBytes(_link) < _copyReservedBytes + CopyPiece.DataBytesMax + FrameHeader.SizeBytes)
            return false;
        // A slow flush is not overtaken by more than one other's worth: that much is copied again when the session is lost.
        if (_resyncFlushes && _resyncUnflushedBytes >= _options.ResyncFlushBytes)
            return false;
        return IsWithin(ref _resyncLimit);
    }

    private bool IsWithin(ref RateLimit limit)
    {
        var waitMs = limit.WaitMs(_nowMs);
        if (waitMs > 0)
            _watchDueMs = Math.Min(_watchDueMs, _nowMs + waitMs);
        return waitMs == 0;
    }

    private bool NextRun(out ObjectRange run)
    {
        run = default;
        if (_expectsHole && _copies > 0)
            return false;
        var bytesMax = _expectsHole ? HoleBytesMax : CopyPiece.DataBytesMax;
        if (_marks.Map.NextDirtyRun(ref _cursor, bytesMax, out run))
            return true;
        // Behind the cursor more may have become dirty. What is being copied is dirty still.
        if (_copies > 0)
            return false;
        _cursor = default;
        return _marks.Map.NextDirtyRun(ref _cursor, bytesMax, out run);
    }

    private bool TryStartCopy(in ObjectRange run, Purpose purpose)
    {
        var slot = _ledger.Enter(OperationKind.Copy, guest: false, run.Object, run.OffsetBytes, run.EndBytes, 0, 0, ++_operationNumber);
        if (slot < 0)
            return false;
        _operations[slot] = new Operation
        {
            Kind = OperationKind.Copy, Purpose = purpose, Step = Step.Range, Link = _link, Object = run.Object, StartBytes = run.OffsetBytes, EndBytes = run.EndBytes,
        };
        if (purpose == Purpose.Copy)
        {
            _copies++;
            _copyReservedBytes += CopyPiece.DataBytesMax;
            _longRunRuns = _expectsHole;
        }
        Advance(slot);
        return true;
    }

    /// <returns>False: it waits.</returns>
    private bool AdvanceCopy(int slot)
    {
        ref var operation = ref _operations[slot];
        var over = _stopping || operation.Link != _link || _link == 0;
        switch (operation.Step)
        {
            case Step.Range:
                if (over)
                    return DropUndone(slot);
                if (!_ledger.MayProceed(slot) || IsRepaired(operation.Object) || !IsStableEnoughToClip(operation.Purpose))
                    return false;
                return Look(slot);
            case Step.Compare:
                if (over)
                    return operation.HashedHere && DropUndone(slot);
                return operation is { HashedHere: true, HashedThere: true } && Compared(slot);
            case Step.Send:
                if (over)
                    return DropCopy(slot);
                if (!MaySend((int)(operation.Piece.Kind == CopyPieceKind.Data ? operation.Piece.LengthBytes : sizeof(long))))
                    return false;
                SendCopy(slot);
                return true;
            default:
                return true;
        }
    }

    private bool Look(int slot)
    {
        ref var operation = ref _operations[slot];
        operation.Step = Step.Local;
        var length = operation.EndBytes - operation.StartBytes;
        switch (operation.Purpose)
        {
            case Purpose.Clip:
                _effects.LocalStat(slot, operation.Object);
                return true;
            case Purpose.Verify:
                BeginCompare(slot, (int)Math.Min(length, CopyPiece.DataBytesMax));
                return false;
            default:
                _effects.LocalCopyRead(slot, operation.Object, operation.StartBytes, length);
                return true;
        }
    }

    /// <summary>The first piece of a range was read for a copy.</summary>
    /// <param name="data">Of <see cref="CopyPiece.LengthBytes"/> bytes, for data only.</param>
    public void LocalCopyRead(int slot, int errno, in CopyPiece piece, DataRef data)
    {
        ref var operation = ref Running(slot, OperationKind.Copy);
        operation.Data = data;
        // An object that was released meanwhile is released on the peer too.
        operation.Piece = LinuxError.IsGone(errno) ? new CopyPiece(CopyPieceKind.Nothing, operation.EndBytes - operation.StartBytes, 0) : piece;
        _changed = true;
        if (_stopping || operation.Link != _link || _link == 0)
        {
            DropCopy(slot);
        }
        else if (errno != 0 && !LinuxError.IsGone(errno))
        {
            var obj = operation.Object;
            DropCopy(slot);
            RaiseLocalFault($"reading object {obj:x} for the peer failed ({LinuxError.Describe(errno)})");
            LoseSession("the source cannot read its copy");
        }
        else
        {
            Looked(slot);
        }
        Settle();
    }

    private void Looked(int slot)
    {
        ref var operation = ref _operations[slot];
        if (_longRunRuns)
            (_longRunRuns, _cursor) = (false, new DirtyCursor(operation.Object, operation.StartBytes + operation.Piece.CoveredBytes));
        _expectsHole = operation.Piece.Kind != CopyPieceKind.Data;
        operation.Step = Step.Send;
        if (operation.Piece.Kind == CopyPieceKind.Data && IsWorthComparing(operation.Object))
            BeginCompare(slot, (int)operation.Piece.LengthBytes);
        Advance(slot);
    }

    /// <summary>In a full resync the peer may have the same already, unless the file is new there. Where comparisons find differences only, one
    /// in sixteen is made.</summary>
    private bool IsWorthComparing(ulong obj)
    {
        const int DifferentMax = 32;
        if (!_resyncFull || _resync is not (ResyncStep.Copying or ResyncStep.Joining) || (_newThere?.Contains(obj) ?? false))
            return false;
        return _comparedDifferent < DifferentMax || _comparisonsPassedOver++ % 16 == 15;
    }

    /// <summary>Asks both hosts for the hash of a range, which is locked and, by the order of frames, equally old on both.</summary>
    private void BeginCompare(int slot, int lengthBytes)
    {
        ref var operation = ref _operations[slot];
        (operation.Step, operation.LogSinceMs) = (Step.Compare, _nowMs);
        Span<byte> payload = stackalloc byte[8];
        var writer = new WireWriter(payload);
        writer.Int32(lengthBytes);
        writer.Int32(slot);
        _effects.Send(
            _link, new FrameHeader(FrameKind.HashRequest, FrameFlags.None, payload.Length, _epoch, 0, operation.Object, operation.StartBytes), payload);
        _effects.LocalHash(slot, operation.Object, operation.StartBytes, lengthBytes);
    }

    public void LocalHashed(int slot, int errno, in RangeHash hash)
    {
        ref var operation = ref Running(slot, OperationKind.Copy);
        (operation.HashedHere, operation.HashHere, operation.Errno) = (true, hash, errno);
        Advance(slot);
        if (errno != 0 && !LinuxError.IsGone(errno))
        {
            RaiseLocalFault($"reading for a comparison failed ({LinuxError.Describe(errno)})");
            LoseSession("the source cannot read its copy");
        }
        _changed = true;
        Settle();
    }

    private bool TakeHash(ReadOnlySpan<byte> payload)
    {
        if (payload.Length != sizeof(int) + RangeHash.EncodedBytes)
            return false;
        var slot = new WireReader(payload).Int32();
        if (slot is < 0 or >= WriteLedger.Slots)
            return false;
        ref var operation = ref _operations[slot];
        if (operation is not { Kind: OperationKind.Copy, Step: Step.Compare, HashedThere: false } || operation.Link != _link)
            return false;
        (operation.HashedThere, operation.HashThere) = (true, RangeHash.Read(payload[sizeof(int)..]));
        Advance(slot);
        _changed = true;
        return true;
    }

    private bool Compared(int slot)
    {
        ref var operation = ref _operations[slot];
        var equal = operation.Errno == 0 && operation.HashHere == operation.HashThere;
        if (operation.Purpose == Purpose.Verify)
            return Verified(slot, equal);
        if (!equal)
        {
            _comparedDifferent++;
            operation.Step = Step.Send;
            return AdvanceCopy(slot);
        }
        _comparedDifferent = 0;
        _resyncSkippedBytes += operation.Piece.CoveredBytes;
        EndCopy(slot, sentBytes: 0);
        return true;
    }

    private void SendCopy(int slot)
    {
        ref var operation = ref _operations[slot];
        var sentBytes = 0L;
        if (operation.Piece.Kind == CopyPieceKind.Data)
        {
            sentBytes = operation.Piece.LengthBytes;
            _effects.Send(_link, NumberCopy(operation, FrameKind.ResyncData, (int)sentBytes), operation.Data);
        }
        else if (operation.Piece.Kind == CopyPieceKind.Hole)
        {
            Span<byte> payload = stackalloc byte[sizeof(long)];
            new WireWriter(payload).Int64(operation.Piece.LengthBytes);
            _effects.Send(_link, NumberCopy(operation, FrameKind.ResyncHole, payload.Length), payload);
        }
        EndCopy(slot, sentBytes);
    }

    private FrameHeader NumberCopy(in Operation operation, FrameKind kind, int payloadBytes) =>
        Number(-1, kind, payloadBytes) with { Object = operation.Object, OffsetBytes = operation.StartBytes };

    /// <summary>The peer has the piece, or gets it by what was just queued.</summary>
    private void EndCopy(int slot, long sentBytes)
    {
        ref readonly var operation = ref _operations[slot];
        var coveredBytes = operation.Piece.CoveredBytes;
        _marks.Map.Copied(operation.Object, operation.StartBytes, coveredBytes);
        _resyncLimit.Take(sentBytes);
        _resyncSentBytes += sentBytes;
        DropCopy(slot);
        CountCopied(coveredBytes, sentBytes);
    }

    /// <summary>Gives up a copy or comparison over a link that is gone, or that has no room. What stayed dirty is copied again; what a verify
    /// has not compared is compared again if it goes on.</summary>
    private bool DropUndone(int slot)
    {
        ref readonly var operation = ref _operations[slot];
        if (operation.Purpose == Purpose.Verify && _verify.Running)
            _verify.Closer!.Enqueue(new VerifyPart(operation.Object, operation.StartBytes, operation.EndBytes));
        return DropCopy(slot);
    }

    /// <summary>Opens the range again.</summary>
    private bool DropCopy(int slot)
    {
        ref var operation = ref _operations[slot];
        if (operation.Data.Length > 0)
            _effects.ReleaseData(operation.Data);
        if (operation.Purpose == Purpose.Copy)
        {
            _copies--;
            _copyReservedBytes -= CopyPiece.DataBytesMax;
        }
        else if (operation.Purpose == Purpose.Verify)
        {
            _verify.Comparisons--;
        }
        else
        {
            (_clipRuns, _clipFlushWanted, _clipFlushes, _clipFlushed) = (false, false, false, false);
        }
        operation = default;
        _ledger.Abandon(slot);
        _changed = true;
        return true;
    }

    private void ResetCopies() =>
        (_cursor, _expectsHole, _longRunRuns, _comparedDifferent, _changed) = (default, false, false, 0, true);
}
