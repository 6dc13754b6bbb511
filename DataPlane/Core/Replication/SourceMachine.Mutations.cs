namespace Pollux.DataPlane.Core.Replication;

// Mutations: one at a time is applied and numbered, so both namespaces see the same order. The next one is applied while the peer still
// works on the last.
public sealed partial class SourceMachine
{
    /// <summary>Object ids that one durable write reserves.</summary>
    private const uint IdsReservedAtOnce = 4096;

    private const int NobodyInLine = -1;
    private const int ManifestInLine = -2;

    /// <summary>Removed objects with marks at which the engine flushes by itself; and at which no further object is removed before that has
    /// ended. An entry takes 16 bytes, its marks some hundred.</summary>
    private const int GoneFlushedAt = 4_096;
    private const int GoneMax = 4 * GoneFlushedAt;

    // Orphans whose storage may go; one entry for each time one was found unused.
    private readonly Queue<ulong> _releases = new();

    // Removed objects that still have marks, in the order of their removal. Until the removal is stable here a loss of power may bring an
    // object back on both hosts, each with what it had flushed of it (rule S6).
    private readonly Queue<(ulong Object, long Number)> _gone = new();
    private long _goneNumber;
    private bool _goneFlushes;

    private byte[] _payload = new byte[4096];
    private int _inLine = NobodyInLine;
    private ulong _idLast;
    private ulong _idReserved;
    private bool _idsRequested;
    private int _idErrno;

    /// <summary>Applies a mutation on every member. For the kinds that create an object <see cref="Mutation.Object"/> is 0: the machine chooses
    /// the id. Of an object that a creation or a link gave to a front end, the shell counts the reference before it gives LocalMutated.</summary>
    public void Mutate(OperationTag tag, Mutation mutation)
    {
        if (_stopping)
            _effects.CompleteMutation(tag, LinuxError.InputOutput, default);
        else if (!MutationCodec.Fits(mutation))
            _effects.CompleteMutation(
                tag, mutation.Name.Length > 255 || mutation.NewName.Length > 255 ? LinuxError.NameTooLong : LinuxError.ArgumentTooLong, default);
        else
            Submit(new Request { Kind = OperationKind.Mutation, Tag = tag, Object = mutation.Object, Mutation = mutation });
    }

    /// <summary>No front end uses the object any more (<see cref="IEngineSurroundings.IsReferenced"/> says so too).</summary>
    public void Unreferenced(ulong obj)
    {
        if (!_orphans.Contains(obj))
            return;
        _releases.Enqueue(obj);
        _changed = true;
        Settle();
    }

    /// <summary>The bytes of its object that a mutation may change; other operations on them wait.</summary>
    private static (long StartBytes, long EndBytes) ContentRange(Mutation mutation) => mutation.Kind switch
    {
        MutationKind.SetAttributes when mutation.Mask.HasFlag(AttributeMask.Size) => (0, long.MaxValue),
        MutationKind.Allocate when mutation.OffsetBytes >= 0 && mutation.LengthBytes > 0
            && mutation.OffsetBytes <= long.MaxValue - mutation.LengthBytes => (mutation.OffsetBytes, mutation.OffsetBytes + mutation.LengthBytes),
        _ => (0, 0),
    };

    private static bool CreatesObject(MutationKind kind) =>
        kind is MutationKind.CreateFile or MutationKind.MakeDirectory or MutationKind.MakeNode or MutationKind.Symlink;

    /// <returns>False: it waits.</returns>
    private bool AdvanceMutation(int slot)
    {
        ref var operation = ref _operations[slot];
        if (_stopping && operation.Step < Step.Local)
            return EndMutation(slot, LinuxError.InputOutput, sent: false);
        if (operation.Step == Step.Line)
        {
            if (_inLine != NobodyInLine || _manifestWanted || !IsNextInLine(slot))
                return false;
            _inLine = slot;
            operation.Step = Step.Range;
        }
        if (operation.Step == Step.Range)
        {
            if (!MayGoOn || !_ledger.MayProceed(slot) || IsRepaired(operation.Object))
                return false;
            operation.Step = Step.Stat;
            if (CutsContent(operation.Mutation!))
            {
                // How much a cut takes away is known only now that no write runs.
                _effects.LocalStat(slot, operation.Object);
                return true;
            }
            (operation.StartBytes, operation.EndBytes) = operation.Mutation!.Kind == MutationKind.Allocate ? ContentRange(operation.Mutation) : (0, 0);
            (operation.Step, operation.LogSinceMs) = (Step.Log, _nowMs);
        }
        if (operation.Step == Step.Log)
        {
            if (CreatesObject(operation.Mutation!.Kind) && operation.Mutation.Object == 0 && !TryGiveId(ref operation, out var idErrno))
                return idErrno != 0 && EndMutation(slot, idErrno, sent: false);
            if (operation.EndBytes > operation.StartBytes && !IsActive(slot, operation.StartBytes, operation.EndBytes, out var errno))
                return errno != 0 && EndMutation(slot, errno, sent: false);
            operation.Step = Step.Local;
            _ledger.Start(slot);
            _effects.LocalMutation(slot, operation.Mutation!);
            return true;
        }
        return operation.Step != Step.Send || AdvanceMutationSend(slot);
    }

    /// <summary>Nobody came before. Who overtook one that overlaps would hold the line and wait for it for ever.</summary>
    private bool IsNextInLine(int slot)
    {
        for (var waits = _waiting.First; waits >= 0; waits = _waiting.After(waits))
        {
            if (_operations[waits] is { Kind: OperationKind.Mutation, Step: Step.Line })
                return waits == slot;
        }
        return true;
    }

    private static bool CutsContent(Mutation mutation) => mutation.Kind == MutationKind.SetAttributes && mutation.Mask.HasFlag(AttributeMask.Size);

    private bool TryGiveId(ref Operation operation, out int errno)
    {
        (errno, _idErrno) = (_idErrno, 0);
        if (errno != 0)
            return false;
        if (_idLast < _idReserved)
        {
            operation.Mutation = operation.Mutation! with { Object = ++_idLast };
            return true;
        }
        if (!_idsRequested)
        {
            _idsRequested = true;
            _effects.ReserveIds(_idReserved + IdsReservedAtOnce);
        }
        return false;
    }

    public void IdsReserved(int errno)
    {
        _idsRequested = false;
        _idErrno = errno;
        if (errno == 0)
            _idReserved += IdsReservedAtOnce;
        _changed = true;
        Settle();
    }

    public void LocalStatted(int slot, int errno, in ObjectAttributes attributes)
    {
        ref var operation = ref _operations[slot];
        if (operation.Kind == OperationKind.Copy)
        {
            ClipStatted(slot, errno, attributes);
        }
        else
        {
            operation = ref Running(slot, OperationKind.Mutation);
            var size = operation.Mutation!.SizeBytes;
            (operation.StartBytes, operation.EndBytes) = errno == 0 && attributes.SizeBytes > size && size >= 0 ? (size, attributes.SizeBytes) : (0, 0);
            (operation.Step, operation.LogSinceMs) = (Step.Log, _nowMs);
            Advance(slot);
        }
        _changed = true;
        Settle();
    }

    /// <summary>A mutation was applied here, or refused.</summary>
    /// <param name="orphan">An object that lost its last name by it; 0 if none.</param>
    public void LocalMutated(int slot, int errno, in ObjectAttributes attributes, ulong orphan)
    {
        ref var operation = ref Running(slot, OperationKind.Mutation);
        if (LinuxError.IsDiskFault(errno))
            RaiseLocalFault($"{operation.Mutation!.Kind} of object {operation.Mutation.Object:x} failed ({LinuxError.Describe(errno)})");
        operation.Attributes = attributes;
        if (errno == 0 && orphan != 0)
        {
            operation.Orphan = orphan;
            _orphans.Add(orphan);
        }
        operation.Step = Step.Send;
        if (errno != 0)
            EndMutation(slot, errno, sent: false);
        else
            Advance(slot);
        _changed = true;
        Settle();
    }

    private bool AdvanceMutationSend(int slot)
    {
        ref var operation = ref _operations[slot];
        var mutation = operation.Mutation!;
        // Of what died with its last name the peer needs to know only that its storage may go.
        if (_orphans.Contains(mutation.Object) && mutation.Kind != MutationKind.Release)
            return EndMutation(slot, 0, sent: false);
        if (_stopping)
            return EndMutation(slot, 0, sent: false);
        if (!_mirrorsMutations)
        {
            // It is in line, so the order stays.
            if (Resuming)
                return false;
            // A member that is out of reach: the operation is done here and held until the record says what the peer is.
            if (_peer == PeerPart.Member)
                _ledger.NeedsPeer(slot);
            return EndMutation(slot, 0, sent: false);
        }
        var payloadBytes = MutationCodec.SizeOf(mutation);
        if (!MaySend(payloadBytes))
            return false;
        operation.Link = _link;
        var header = Number(slot, FrameKind.Mutation, payloadBytes) with { Object = mutation.Object };
        var payload = PayloadOf(payloadBytes);
        MutationCodec.Write(mutation, payload);
        _effects.Send(_link, header, payload);
        return EndMutation(slot, 0, sent: true);
    }

    private bool EndMutation(int slot, int errno, bool sent)
    {
        ref var operation = ref _operations[slot];
        var mutation = operation.Mutation!;
        if (operation.Step == Step.Send)
        {
            if (errno == 0)
            {
                _coverage.Changed(mutation.Object != 0 ? mutation.Object : operation.Attributes.Object);
                _coverage.Changed(mutation.Parent);
                _coverage.Changed(mutation.NewParent);
            }
            // A refused one may have been done in part: the peer lacks that.
            if (operation.EndBytes > operation.StartBytes)
                Mark(operation);
        }
        operation.Step = Step.Done;
        _ledger.LocalDone(slot, errno, 0);
        _marks.Release(slot);
        if (_inLine == slot)
            _inLine = NobodyInLine;
        if (mutation.Kind == MutationKind.Release)
        {
            _orphans.Remove(mutation.Object);
            if (errno == 0 && _marks.Map.HasMarks(mutation.Object, 0, long.MaxValue))
                _gone.Enqueue((mutation.Object, ++_goneNumber));
        }
        if (operation.Orphan != 0 && !_surroundings.IsReferenced(operation.Orphan))
            _releases.Enqueue(operation.Orphan);
        _changed = true;
        return true;
    }

    /// <summary>Lets the storage of objects go that have neither a name nor a user. What is left without a name when the volume is shut is
    /// removed when the store is next opened.</summary>
    private void ReleaseOrphans()
    {
        if (_gone.Count >= GoneFlushedAt && !_goneFlushes && MayGoOn && !_stopping && !_fault)
            _goneFlushes = TryFlushEverything(Purpose.GoneFlush, withPeer: false);
        while (_releases.Count > 0 && _gone.Count < GoneMax && IsOpen && !_stopping && CanAdmit)
        {
            var obj = _releases.Dequeue();
            if (_orphans.Contains(obj) && !_surroundings.IsReferenced(obj))
                Submit(new Request { Kind = OperationKind.Mutation, Object = obj, Mutation = new Mutation(MutationKind.Release) { Object = obj } });
        }
    }

    /// <summary>Everything that was removed up to this number is stably gone here: the list of objects tells the peer.</summary>
    private void ForgetGone(long upTo)
    {
        while (_gone.TryPeek(out var gone) && gone.Number <= upTo)
            _marks.Map.Forget(_gone.Dequeue().Object);
    }

    private bool IsBeingRemoved(ulong obj) => _orphans.Contains(obj) || _gone.Any(gone => gone.Object == obj);

    /// <summary>A buffer for payloads that are made here; valid until it is asked for again.</summary>
    private Span<byte> PayloadOf(int bytes)
    {
        if (_payload.Length < bytes)
            _payload = new byte[Math.Max(bytes, 4096)];
        return _payload.AsSpan(0, bytes);
    }
}
