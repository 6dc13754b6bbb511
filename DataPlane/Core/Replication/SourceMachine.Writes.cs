namespace Pollux.DataPlane.Core.Replication;

// Admission, and the way of a write. Nothing here allocates once the tables have grown.
public sealed partial class SourceMachine
{
    private enum Step : byte
    {
        /// <summary>Mutations: until it is their turn.</summary>
        Line,

        /// <summary>Until no earlier operation overlaps, and the volume goes on.</summary>
        Range,

        /// <summary>Cuts: the length of the file is asked for.</summary>
        Stat,

        /// <summary>Until the extents are in the durable log.</summary>
        Log,

        /// <summary>Until it can be numbered and sent, and done locally.</summary>
        Begin,

        /// <summary>The local copy works on it.</summary>
        Local,

        /// <summary>Done locally, not sent yet: mutations, copies.</summary>
        Send,

        /// <summary>A write that failed: until the length of its file is certain; then what is really there is read and sent.</summary>
        Repair,
        RepairSend,

        /// <summary>Compared by hash: this host's or the peer's is awaited.</summary>
        Compare,

        /// <summary>Nothing more is to be done but to wait for the peer.</summary>
        Done,
    }

    /// <summary>What an operation of the engine itself is for.</summary>
    private enum Purpose : byte
    {
        Guest,

        /// <summary>A mutation of the engine: the storage of an object goes that nobody uses.</summary>
        Release,
        QuiesceFlush,

        /// <summary>Makes removals stable, so that the marks of what was removed may go.</summary>
        GoneFlush,
        ResyncFlush,
        FinalFlush,

        /// <summary>Makes lengths stable, so that marks behind the end of an object may go.</summary>
        ClipFlush,

        /// <summary>What a verify has repaired becomes stable.</summary>
        VerifyFlush,

        /// <summary>Settles what no front end flushes, so that the activity log gets room; proves what others have confirmed.</summary>
        SettlingFlush,

        /// <summary>Nobody has asked for it yet.</summary>
        Expected,
        Copy,
        Clip,
        Verify,
    }

    /// <summary>Writes; the front end has checked that the object is there. Ends with <see cref="IFrontEnd.Complete"/>.</summary>
    public void Write(OperationTag tag, ulong obj, long offsetBytes, DataRef data)
    {
        var errno = offsetBytes < 0 || data.Length > FrameHeader.DataBytesMax ? LinuxError.Invalid
            : offsetBytes > long.MaxValue - data.Length ? LinuxError.FileTooBig
            : _stopping ? LinuxError.InputOutput
            : 0;
        if (errno != 0 || data.Length == 0)
            _effects.Complete(tag, errno, 0);
        else
            Submit(new Request { Kind = OperationKind.Write, Tag = tag, Object = obj, OffsetBytes = offsetBytes, Data = data });
    }

    /// <summary>Makes all writes to the object (0: to the volume) that were completed before the call stable on every member.</summary>
    public void Flush(OperationTag tag, ulong obj, bool dataOnly)
    {
        if (_stopping)
            _effects.Complete(tag, LinuxError.InputOutput, 0);
        else
            Submit(new Request { Kind = OperationKind.Flush, Tag = tag, Object = obj, DataOnly = dataOnly });
    }

    private void Submit(in Request request)
    {
        if (_admissionCount == 0 && TryEnter(request))
        {
            if (_changed)
                Settle();
            return;
        }
        if (_admissionCount == AdmissionMax)
            throw new InvalidOperationException("An operation was given although none can be admitted.");
        _admission[(_admissionFirst + _admissionCount++) % AdmissionMax] = request;
    }

    private void Admit()
    {
        while (_admissionCount > 0 && TryEnter(NextRequest()))
        {
            DropRequest();
            _changed = true;
        }
    }

    private ref readonly Request NextRequest() => ref _admission[_admissionFirst];

    private void DropRequest()
    {
        _admission[_admissionFirst] = default;
        _admissionFirst = (_admissionFirst + 1) % AdmissionMax;
        _admissionCount--;
    }

    private void Answer(in Request request, int errno)
    {
        if (request is { Kind: OperationKind.Mutation, Mutation.Kind: MutationKind.Release })
            return;
        if (request.Kind == OperationKind.Mutation)
            _effects.CompleteMutation(request.Tag, errno, default);
        else
            _effects.Complete(request.Tag, errno, 0);
    }

    /// <returns>False: the volume is not open, or a limit is reached.</returns>
    private bool TryEnter(in Request request)
    {
        if (!IsOpen || _stopping)
            return false;
        var (start, end) = request.Kind switch
        {
            OperationKind.Write => (request.OffsetBytes, request.OffsetBytes + request.Data.Length),
            OperationKind.Mutation => ContentRange(request.Mutation!),
            _ => (0, 0),
        };
        var slot = _ledger.Enter(request.Kind, guest: true, request.Object, start, end, request.Tag.Unique, request.Tag.Device, ++_operationNumber);
        if (slot < 0)
            return false;
        _operations[slot] = new Operation
        {
            Kind = request.Kind, Object = request.Object, StartBytes = start, EndBytes = end, Data = request.Data, DataOnly = request.DataOnly,
            Mutation = request.Mutation, Purpose = request.Kind == OperationKind.Mutation && request.Mutation!.Kind == MutationKind.Release ? Purpose.Release : Purpose.Guest,
            Step = request.Kind switch { OperationKind.Mutation => Step.Line, OperationKind.Write => Step.Range, _ => Step.Begin },
        };
        NoteCompany();
        if (request.Kind != OperationKind.Flush || BeginCoverage(slot))
            Advance(slot);
        return true;
    }

    /// <summary>Takes an operation as far as it gets.</summary>
    private void Advance(int slot)
    {
        var goesOn = _operations[slot].Kind switch
        {
            OperationKind.Write => AdvanceWrite(slot),
            OperationKind.Flush => AdvanceFlush(slot),
            OperationKind.Mutation => AdvanceMutation(slot),
            _ => AdvanceCopy(slot),
        };
        if (goesOn)
        {
            _waiting.Remove(slot);
        }
        else
        {
            _waiting.Add(slot);
        }
    }

    private void AdvanceWaiting()
    {
        _roomShort = false;
        for (var slot = _waiting.First; slot >= 0;)
        {
            var next = _waiting.After(slot);
            Advance(slot);
            slot = next;
        }
    }

    /// <returns>False: it waits.</returns>
    private bool AdvanceWrite(int slot)
    {
        ref var operation = ref _operations[slot];
        if (operation.Step >= Step.Repair)
            return AdvanceRepair(slot);
        if (_stopping && operation.Step < Step.Local)
            return EndWrite(slot, LinuxError.InputOutput, 0);
        if (operation.Step == Step.Range)
        {
            if (!MayGoOn || !_ledger.MayProceed(slot))
                return false;
            (operation.Step, operation.LogSinceMs) = (Step.Log, _nowMs);
        }
        if (operation.Step == Step.Log)
        {
            if (!IsActive(slot, operation.StartBytes, operation.EndBytes, out var errno))
                return errno != 0 && EndWrite(slot, errno, 0);
            operation.Step = Step.Begin;
        }
        if (operation.Step != Step.Begin)
            return true;
        if (!MayGoOn || IsRepaired(operation.Object))
            return false;
        if (_mirrorsWrites && !_orphans.Contains(operation.Object))
        {
            if (!MaySend(operation.Data.Length))
                return false;
            var header = Number(slot, FrameKind.Write, operation.Data.Length) with { OffsetBytes = operation.StartBytes };
            operation.Link = _link;
            Mark(operation);
            _effects.Send(_link, header, operation.Data);
        }
        else
        {
            Mark(operation);
        }
        _ledger.Start(slot);
        operation.Step = Step.Local;
        _effects.LocalWrite(slot, operation.Object, operation.StartBytes, operation.Data);
        return true;
    }

    /// <summary>The local part of a write has ended.</summary>
    public void LocalWritten(int slot, int errno)
    {
        ref var operation = ref Running(slot, OperationKind.Write);
        if (errno == 0)
        {
            EndWrite(slot, 0, operation.Data.Length);
            ExpectFlush(operation.Object);
        }
        else if (LinuxError.IsDiskFault(errno))
        {
            // What can be read here may be anything; the peer's copy is the good one, so nothing of this one goes there any more.
            RaiseLocalFault($"a write of object {operation.Object:x} failed ({LinuxError.Describe(errno)})");
            EndWrite(slot, errno, 0);
        }
        else if (operation.Link == 0 || operation.Link != _link)
        {
            // The peer may have applied it: the copies are equal no more.
            if (Resuming && operation.Link == _brokenLink)
                GiveUpResuming($"a write that the peer may have failed here ({LinuxError.Describe(errno)})");
            EndWrite(slot, errno, 0);
        }
        else
        {
            // The disk refused a write whose frame is on its way: what is really there is sent after it, so that both copies stay equal.
            operation.Errno = errno;
            operation.Step = Step.Repair;
            _ledger.Repairs(slot);
            Advance(slot);
        }
        _changed = true;
        Settle();
    }

    /// <summary>The local part is over: marks the range again, because a flush that began meanwhile does not cover it.</summary>
    private bool EndWrite(int slot, int errno, int count)
    {
        ref var operation = ref _operations[slot];
        if (_ledger.Started(slot))
            Mark(operation);
        operation.Change = _coverage.Applied(operation.Object);
        operation.Step = Step.Done;
        _ledger.LocalDone(slot, errno, count);
        _marks.Release(slot);
        _changed = true;
        return true;
    }

    /// <summary>Written: on its way to the peer, or nothing that it will ever need; not flushed on both. Dirty: the peer lacks it.</summary>
    private void Mark(in Operation operation)
    {
        if (IsSent(operation) || (_mirrorsWrites && _orphans.Contains(operation.Object)))
            _marks.Map.MarkWritten(operation.Object, operation.StartBytes, operation.EndBytes - operation.StartBytes);
        else
            _marks.Map.MarkDirty(operation.Object, operation.StartBytes, operation.EndBytes - operation.StartBytes);
    }

    private bool IsActive(int slot, long startBytes, long endBytes, out int errno)
    {
        errno = _marks.Failure is null ? 0 : LinuxError.InputOutput;
        return errno == 0 && _marks.Activate(slot, _operations[slot].Object, startBytes, endBytes) == MarksMachine.Activity.Active;
    }

    /// <summary>There is room for a frame with data, and nobody came first who waits for some.</summary>
    private bool MaySend(int payloadBytes)
    {
        if (!_roomShort && _ledger.CanSend && _effects.SendRoomBytes(_link) >= FrameHeader.SizeBytes + payloadBytes)
            return true;
        _roomShort = true;
        return false;
    }

    /// <summary>Gives a frame of an operation its sequence. The operation waits for the peer as far as acknowledgements do.</summary>
    private FrameHeader Number(int slot, FrameKind kind, int payloadBytes, bool waits = false)
    {
        var sequence = _ledger.Sent(slot, FrameHeader.SizeBytes + payloadBytes, waits || (slot >= 0 && _peer is PeerPart.Member or PeerPart.Joining));
        _replicatedBytes += payloadBytes;
        _replicatedOperations++;
        return new FrameHeader(kind, FrameFlags.None, payloadBytes, _epoch, sequence, slot >= 0 ? _operations[slot].Object : 0, 0);
    }

    /// <summary>The operation whose answer came.</summary>
    private ref Operation Running(int slot, OperationKind kind)
    {
        ref var operation = ref _operations[slot];
        if (operation.Kind != kind || operation.Step is not (Step.Local or Step.Stat or Step.Repair or Step.Compare))
            throw new InvalidOperationException($"Slot {slot} expects no such answer: it is a {operation.Kind} at {operation.Step}.");
        return ref operation;
    }

    /// <summary>Delivers what has ended. Nothing is acknowledged any more once the volume is being shut.</summary>
    private void DeliverEnded()
    {
        if (_stopping)
        {
            _ledger.Hold = false;
            _ledger.EndAll(LinuxError.InputOutput);
        }
        while (_ledger.TryTakeEnded(out var ended))
        {
            _changed = true;
            ref var operation = ref _operations[ended.Slot];
            var errno = _stopping ? LinuxError.InputOutput : ended.ErrorNumber;
            if (ended.Kind == OperationKind.Flush)
                EndFlush(ended, errno, operation.Purpose);
            else if (ended.Kind == OperationKind.Mutation && operation.Purpose == Purpose.Guest)
                EndGuestMutation(ended, errno, operation.Attributes);
            else if (ended.Kind == OperationKind.Write && errno == 0)
                EndGuestWrite(ended, operation.Change);
            else if (ended.Kind == OperationKind.Write)
                EndFailedWrite(ended, errno, operation.Change);
            operation = default;
        }
    }

    private void EndGuestMutation(in EndedOperation ended, int errno, in ObjectAttributes attributes)
    {
        AnswerAwaiting(0);
        _effects.CompleteMutation(new OperationTag(ended.TagUnique, ended.TagDevice), errno, attributes);
    }

    private void EndFailedWrite(in EndedOperation ended, int errno, long change)
    {
        // It may have written a part.
        _coverage.Completed(ended.Object, change);
        _effects.Complete(new OperationTag(ended.TagUnique, ended.TagDevice), errno, 0);
    }

    private struct Request
    {
        public OperationKind Kind;
        public bool DataOnly;
        public OperationTag Tag;
        public ulong Object;
        public long OffsetBytes;
        public DataRef Data;
        public Mutation? Mutation;
    }

    /// <summary>What the machine knows of an operation beside the ledger.</summary>
    private struct Operation
    {
        public OperationKind Kind;
        public Step Step;
        public Purpose Purpose;
        public bool DataOnly;
        public bool WithPeer;

        /// <summary>Of a comparison: this host's hash has come; the peer's has.</summary>
        public bool HashedHere;
        public bool HashedThere;
        public int Errno;

        /// <summary>The link on which it was sent; 0 if it was not.</summary>
        public int Link;

        /// <summary>Of the engine's own flushes: the link of the session for which it is.</summary>
        public int Session;
        public ulong Object;
        public long StartBytes;
        public long EndBytes;

        /// <summary>The guest's bytes, or those that were read for a copy.</summary>
        public DataRef Data;

        /// <summary>What a failed write left; the length of its file.</summary>
        public DataRef RepairData;
        public long SizeBytes;
        public Mutation? Mutation;
        public ObjectAttributes Attributes;
        public ulong Orphan;
        public FlushToken? FlushToken;
        public long FlushDueMs;

        /// <summary>Of a flush of everything: what was removed up to this number is stably gone when it has ended well.</summary>
        public long GoneBefore;
        public long LogSinceMs;

        /// <summary>Of a write: see <see cref="FlushCoverage.Applied"/>.</summary>
        public long Change;
        public CopyPiece Piece;
        public RangeHash HashHere;
        public RangeHash HashThere;
    }
}
