using System.Security.Cryptography;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

// This host's copy. Writes and holes are done in place, in their order; the rest by the disk lane.
internal abstract unsafe partial class EngineShell
{
    private readonly List<LocalOperation> _local = [];
    private readonly Queue<(int Slot, ulong Object, long OffsetBytes, long LengthBytes, bool Repair)> _readsToStart = new();
    private readonly FlushWork?[] _flushes = new FlushWork?[WriteLedger.Slots];
    private int _flushesRunning;

    public void LocalWrite(int slot, ulong obj, long offsetBytes, DataRef data)
    {
        if (data.Buffer >= 0)
            Place.Buffers.AddReference(data.Buffer);
        _local.Add(new LocalOperation(LocalKind.Write, slot, obj, offsetBytes, data.Length, (nint)Pointer(data), data.Buffer));
    }

    public void LocalHole(int slot, ulong obj, long offsetBytes, long lengthBytes) =>
        _local.Add(new LocalOperation(LocalKind.Hole, slot, obj, offsetBytes, lengthBytes, 0, -1));

    public void LocalHash(int slot, ulong obj, long offsetBytes, int lengthBytes) =>
        _local.Add(new LocalOperation(LocalKind.Hash, slot, obj, offsetBytes, lengthBytes, 0, -1));

    public void LocalFlush(int slot, ulong obj, bool dataOnly) =>
        _local.Add(new LocalOperation(dataOnly ? LocalKind.DataFlush : LocalKind.Flush, slot, obj, 0, 0, 0, -1));

    public void LocalMutation(int slot, Mutation mutation) => Begin(
        () =>
        {
            var error = Store.Apply(mutation, out var attributes, out var orphan);
            if (error == 0)
                Mutated(mutation, attributes);
            return (Error: error, Attributes: attributes, Orphan: orphan);
        },
        ended => LocalMutated(slot, ended.Error, ended.Attributes, ended.Orphan));

    public void LocalStat(int slot, ulong obj) => Begin(
        () => (Error: Store.GetAttributes(obj, out var attributes), Attributes: attributes),
        stat => LocalStatted(slot, stat.Error, stat.Attributes));

    public void LocalRepairRead(int slot, ulong obj, long offsetBytes, int lengthBytes) =>
        _readsToStart.Enqueue((slot, obj, offsetBytes, lengthBytes, true));

    public void LocalCopyRead(int slot, ulong obj, long offsetBytes, long lengthBytes) =>
        _readsToStart.Enqueue((slot, obj, offsetBytes, lengthBytes, false));

    public void TakeManifest() => Begin<(string? Fault, IReadOnlyList<ManifestEntry> Entries)>(
        () =>
        {
            try
            {
                return (null, Manifest.Snapshot(Store));
            }
            catch (StorageException e)
            {
                return (e.Message, []);
            }
        },
        taken => ManifestTaken(taken.Fault, taken.Entries));

    public void LocalDescribe(int batch, IReadOnlyList<ulong> objects) => Begin(
        () => (Error: Store.DescribeEntries(objects, out var entries), Entries: entries),
        described => EntriesDescribed(batch, described.Error, described.Entries));

    public void ApplyManifest(IReadOnlyList<ManifestEntry> entries) => Begin<(int Error, string? Fault, IReadOnlyList<ulong> Whole, IReadOnlyList<ulong> New)>(
        () =>
        {
            var known = entries.Select(static entry => entry.Object).Where(Store.Exists).ToHashSet();
            try
            {
                var whole = ManifestApplier.Apply(Store, [.. entries]);
                return (0, null, whole, [.. whole.Where(obj => !known.Contains(obj))]);
            }
            catch (StorageException e)
            {
                return (ErrnoOf(e), e.Message, [], []);
            }
        },
        applied => ManifestApplied(applied.Error, applied.Fault, applied.Whole, applied.New));

    public void SettleContent() => Begin<(int Error, string? Fault)>(
        () =>
        {
            try
            {
                ManifestApplier.ContentArrived(Store);
                return (0, null);
            }
            catch (StorageException e)
            {
                return (ErrnoOf(e), e.Message);
            }
        },
        settled => ContentSettled(settled.Error, settled.Fault));

    public void PreserveCopy()
    {
        // Half of what the source waits for; the rest is for storing that this copy is inconsistent.
        var deadline = Options.ResyncStepDeadline / 2;
        Begin(
            () => Older.Preserve(Options.Bases.Current, deadline, () => Stopping.IsCompleted ? "this host no longer follows" : null),
            _ => CopyPreserved());
    }

    public void DropPreserved(bool noRoom) => Begin(
        () =>
        {
            if (noRoom)
                Older.GiveUp("the disk has no room left for the resync");
            else
                Older.Drop();
            return true;
        },
        static _ => { });

    public void ReserveIds(ulong upTo) => Begin(() => Store.ReserveIds(upTo), IdsReserved);

    public void ReleaseData(DataRef data)
    {
        if (data.Buffer >= 0)
            Place.Buffers.Release(data.Buffer);
    }

    protected abstract void LocalWritten(int slot, int errno);

    protected abstract void LocalFlushed(int slot, int errno);

    protected abstract void LocalMutated(int slot, int errno, in ObjectAttributes attributes, ulong orphan);

    protected abstract void LocalHashed(int slot, int errno, in RangeHash hash);

    protected abstract void EntriesDescribed(int batch, int errno, IReadOnlyList<EntryDigest> entries);

    protected virtual void LocalStatted(int slot, int errno, in ObjectAttributes attributes) => throw Unasked();

    protected virtual void LocalRepairRead(int slot, int errno, long sizeBytes, DataRef data) => throw Unasked();

    protected virtual void LocalCopyRead(int slot, int errno, in CopyPiece piece, DataRef data) => throw Unasked();

    protected virtual void ManifestTaken(string? fault, IReadOnlyList<ManifestEntry> entries) => throw Unasked();

    protected virtual void ManifestApplied(int errno, string? fault, IReadOnlyList<ulong> wholeObjects, IReadOnlyList<ulong> newObjects) => throw Unasked();

    protected virtual void ContentSettled(int errno, string? fault) => throw Unasked();

    protected virtual void CopyPreserved() => throw Unasked();

    protected virtual void IdsReserved(int errno) => throw Unasked();

    /// <summary>A mutation has succeeded here; the machine does not know yet. On a thread of the lane.</summary>
    protected virtual void Mutated(Mutation mutation, in ObjectAttributes attributes)
    {
    }

    /// <summary>A failed flush is a fault of the disk, a full one included: what it has dropped is never written.</summary>
    private static int ErrnoOf(StorageException e) => e.Fault == StorageFault.FlushFailed ? Errno.EIO : e.Errno;

    private static InvalidOperationException Unasked() => new("An answer came that this machine does not ask for.");

    /// <summary>Does what was queued for the local copy, in its order.</summary>
    private bool ExecuteLocally()
    {
        if (_local.Count == 0)
            return false;
        // Answers may queue more: that belongs to the same order.
        for (var i = 0; i < _local.Count; i++)
        {
            var operation = _local[i];
            switch (operation.Kind)
            {
                case LocalKind.Write:
                    var error = Store.Write(operation.Object, operation.OffsetBytes, new ReadOnlySpan<byte>((void*)operation.Data, (int)operation.LengthBytes));
                    if (operation.Buffer >= 0)
                        Place.Buffers.Release(operation.Buffer);
                    LocalWritten(operation.Slot, error);
                    break;
                case LocalKind.Hole:
                    LocalWritten(operation.Slot, MakeHole(operation.Object, operation.OffsetBytes, operation.LengthBytes));
                    break;
                case LocalKind.Hash:
                    BeginHash(operation.Slot, operation.Object, operation.OffsetBytes, (int)operation.LengthBytes);
                    break;
                default:
                    Flush(operation, last: i == _local.Count - 1);
                    break;
            }
        }
        _local.Clear();
        return true;
    }

    /// <summary>In place if the loop has nothing else to do meanwhile: waking a thread twice costs as much as a fast disk's flush.</summary>
    private void Flush(in LocalOperation operation, bool last)
    {
        var dataOnly = operation.Kind == LocalKind.DataFlush;
        FlushBegins(operation.Slot);
        if (last && _flushesRunning == 0 && operation.Object != 0 && IsOnlyOperation)
        {
            // What was done before it is told before it.
            FinishTurn();
            SendAll();
            Deliver();
            LocalFlushed(operation.Slot, Store.Flush(operation.Object, dataOnly));
            return;
        }
        var work = _flushes[operation.Slot] ??= new FlushWork(this, operation.Slot);
        (work.Object, work.DataOnly) = (operation.Object, dataOnly);
        _flushesRunning++;
        Begin(work);
    }

    /// <summary>A flush of this copy begins; its end is LocalFlushed.</summary>
    protected virtual void FlushBegins(int slot)
    {
    }

    /// <summary>Nobody waits for anything else that this loop does.</summary>
    protected virtual bool IsOnlyOperation => false;

    private int MakeHole(ulong obj, long offsetBytes, long lengthBytes)
    {
        var error = Store.MakeHole(obj, offsetBytes, lengthBytes);
        if (error != Errno.EOPNOTSUPP)
            return error;
        // A file system without holes gets zeros.
        var zeros = new byte[Math.Min(lengthBytes, FrameHeader.DataBytesMax)];
        for (var done = 0L; done < lengthBytes; done += zeros.Length)
        {
            error = Store.Write(obj, offsetBytes + done, zeros.AsSpan(0, (int)Math.Min(zeros.Length, lengthBytes - done)));
            if (error != 0)
                return error;
        }
        return Errno.None;
    }

    /// <summary>What was queued before is done, and nothing that overlaps is queued before this has ended: the source holds the range.</summary>
    private void BeginHash(int slot, ulong obj, long offsetBytes, int lengthBytes) => Begin(
        () => (Error: Hash(obj, offsetBytes, lengthBytes, out var hash), Hash: hash),
        hashed => LocalHashed(slot, hashed.Error, hashed.Hash));

    private int Hash(ulong obj, long offsetBytes, int lengthBytes, out RangeHash hash)
    {
        hash = default;
        var content = System.Buffers.ArrayPool<byte>.Shared.Rent(lengthBytes);
        var error = Store.Read(obj, offsetBytes, content.AsSpan(0, lengthBytes), out var count);
        if (error == 0)
        {
            Span<byte> sum = stackalloc byte[SHA256.HashSizeInBytes];
            SHA256.HashData(content.AsSpan(0, count), sum);
            hash = RangeHash.From(count, sum);
        }
        System.Buffers.ArrayPool<byte>.Shared.Return(content);
        return error;
    }

    /// <summary>Reads need a buffer each; without one they wait.</summary>
    private bool StartWaitingReads()
    {
        while (_readsToStart.Count > 0 && Place.Buffers.TryRent(out var buffer))
            StartRead(_readsToStart.Dequeue(), buffer);
        return false;
    }

    private void StartRead((int Slot, ulong Object, long OffsetBytes, long LengthBytes, bool Repair) read, int buffer)
    {
        var bytesMax = (int)Math.Min(read.LengthBytes, Loop.BufferPool.PayloadBytesMax);
        Place.Buffers.Touched(buffer, bytesMax);
        var memory = (nint)Place.Buffers.Payload(buffer);
        if (read.Repair)
            Begin(() => ReadForRepair(read.Object, read.OffsetBytes, bytesMax, memory), ended => RepairReadEnded(read.Slot, buffer, bytesMax, ended));
        else
            Begin(() => ReadForCopy(new ObjectRange(read.Object, read.OffsetBytes, read.LengthBytes), memory), ended => CopyReadEnded(read.Slot, buffer, ended));
    }

    private void RepairReadEnded(int slot, int buffer, int lengthBytes, (int Error, long SizeBytes) ended)
    {
        // From now on the machine keeps it, until it says ReleaseData.
        if (ended.Error != 0)
            Place.Buffers.Release(buffer);
        LocalRepairRead(slot, ended.Error, ended.SizeBytes, ended.Error == 0 ? new DataRef(buffer, 0, lengthBytes) : default);
    }

    private void CopyReadEnded(int slot, int buffer, (int Error, CopyPiece Piece) ended)
    {
        var holdsData = ended.Error == 0 && ended.Piece.Kind == CopyPieceKind.Data;
        if (!holdsData)
            Place.Buffers.Release(buffer);
        LocalCopyRead(slot, ended.Error, ended.Piece, holdsData ? new DataRef(buffer, 0, (int)ended.Piece.LengthBytes) : default);
    }

    private (int Error, long SizeBytes) ReadForRepair(ulong obj, long offsetBytes, int lengthBytes, nint memory)
    {
        var count = 0;
        var error = Store.GetAttributes(obj, out var attributes);
        var content = new Span<byte>((void*)memory, lengthBytes);
        if (error == 0)
            error = Store.Read(obj, offsetBytes, content, out count);
        content[count..].Clear();
        return (error, attributes.SizeBytes);
    }

    private (int Error, CopyPiece Piece) ReadForCopy(ObjectRange range, nint memory)
    {
        var known = Store.GetAttributes(range.Object, out var attributes) == 0;
        var seeked = known ? Store.Seek(range.Object, range.OffsetBytes, Libc.SeekData, out var dataOffset) : Nowhere(out dataOffset);
        var piece = CopyPiece.Plan(
            range, known ? attributes.Links : 0, attributes.SizeBytes,
            seeked switch { 0 => dataOffset, Errno.ENXIO => long.MaxValue, _ => range.OffsetBytes });
        if (piece.Kind != CopyPieceKind.Data)
            return (0, piece);
        // No further than the data goes: a block of zeros that is written is a hole no more.
        if (seeked == 0 && Store.Seek(range.Object, dataOffset, Libc.SeekHole, out var hole) == 0)
        {
            var end = (hole + DirtyMap.BlockBytes - 1) / DirtyMap.BlockBytes * DirtyMap.BlockBytes;
            if (end < range.OffsetBytes + piece.CoveredBytes)
                piece = new CopyPiece(CopyPieceKind.Data, end - range.OffsetBytes, Math.Min(piece.LengthBytes, end - range.OffsetBytes));
        }
        var content = new Span<byte>((void*)memory, (int)piece.LengthBytes);
        var error = Store.Read(range.Object, range.OffsetBytes, content, out var count);
        content[count..].Clear();
        return (error, piece);
    }

    private static int Nowhere(out long offset)
    {
        offset = 0;
        return Errno.ENXIO;
    }

    private enum LocalKind : byte
    {
        Write,
        Hole,
        Hash,
        Flush,
        DataFlush,
    }

    private readonly record struct LocalOperation(LocalKind Kind, int Slot, ulong Object, long OffsetBytes, long LengthBytes, nint Data, int Buffer);

    private sealed class FlushWork(EngineShell shell, int slot) : LocalWork(shell)
    {
        private int _error;

        public ulong Object { get; set; }
        public bool DataOnly { get; set; }

        protected override void Perform() => _error = Object == 0 ? Shell.Store.FlushAll() : Shell.Store.Flush(Object, DataOnly);

        protected override void Answer()
        {
            Shell._flushesRunning--;
            Shell.LocalFlushed(slot, _error);
        }
    }
}
