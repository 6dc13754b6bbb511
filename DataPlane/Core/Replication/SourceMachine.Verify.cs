namespace Pollux.DataPlane.Core.Replication;

// Verify: compares both copies online.
//
//   list of objects ─► entries, batch by batch (.VerifyTree) ─► content, range by range ─┬────────────────────────────────────► completed
//                                                                                       └─(repair) copies ─► flush on both ──► completed
//
// Content is compared by SHA-256 under the range lock: everything that was written to the range before is applied on both hosts, so a
// difference is one. A range that differs is looked at again in smaller parts. The last range of a file reaches to infinity, so that nobody
// makes the file longer meanwhile: there the sizes are compared. On request what differs is marked and copied in the direction that the
// record names, from here to the peer; a tree that differs is made equal by a resync, for which the session ends (rule S7).
//
// A verify goes on with its session over another link (.Resumption): what was being compared when the link ended is compared again.
public sealed partial class SourceMachine
{
    private const int ComparisonsMax = 4;

    /// <summary>Smallest part that is told apart, bytes: a page.</summary>
    private const long VerifyPartBytesMin = 4096;

    private VerifyRun _verify;
    private RateLimit _verifyLimit = new() { BytesPerSecondMax = long.MaxValue };

    /// <summary>A verify runs.</summary>
    public bool IsVerifying => _verify.Running;

    /// <param name="repair">What differs is made equal to this copy.</param>
    /// <param name="bytesPerSecondMax">Compared at most; long.MaxValue: no limit.</param>
    /// <param name="refusal">Why nothing was begun.</param>
    public bool StartVerify(bool repair, long bytesPerSecondMax, out string? refusal)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytesPerSecondMax);
        refusal = _verify.Running ? "a verify runs already"
            : _verify.Comparisons > 0 || _verify.Describes ? "comparisons of an earlier verify have not ended yet"
            : _link == 0 || _peer != PeerPart.Member ? "the copies can be compared only while they are kept equal: the module is not mirrored at the moment"
            : null;
        if (refusal is not null)
            return false;
        _verify = new VerifyRun
        {
            Running = true, Repairs = repair, WantsTree = true, Different = [], DifferentEntries = [], Closer = new(), Batch = _verify.Batch,
        };
        _verifyLimit = new RateLimit { BytesPerSecondMax = bytesPerSecondMax };
        _changed = true;
        Settle();
        return true;
    }

    /// <summary>Takes effect at once.</summary>
    public void SetVerifyLimit(long bytesPerSecondMax)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytesPerSecondMax);
        _verifyLimit.BytesPerSecondMax = bytesPerSecondMax;
        _changed = true;
        Settle();
    }

    public void StopVerify()
    {
        EndVerify(VerifyStatus.Stopped);
        Settle();
    }

    private void EndVerify(string end)
    {
        if (!_verify.Running)
            return;
        _verify.Running = _verify.WantsTree = false;
        (_verify.Objects, _verify.Files, _verify.Closer) = (null, null, null);
        _verify.End = end;
        LeaveEntries();
        _changed = true;
    }

    /// <summary>The link is gone. What was asked over it is asked again when the session goes on; else <see cref="EndVerify"/> follows.</summary>
    private void InterruptVerify()
    {
        // A description that still runs here belongs to no batch any more: mutations may have had their turn when it ends.
        _verify.Batch++;
        LeaveEntries();
    }

    private void AdvanceVerify()
    {
        if (!_verify.Running || _stopping || _link == 0)
            return;
        if (_verify.WantsTree && _inLine == NobodyInLine)
        {
            (_inLine, _verify.WantsTree, _verify.WaitsForTree) = (ManifestInLine, false, true);
            _manifestRuns = true;
            _effects.TakeManifest();
        }
        if (_verify.Objects is null || !AdvanceEntries())
            return;
        // Beside guests one at a time: each reads up to a mebibyte on both hosts.
        while (_verify.Comparisons < (_ledger.GuestCount > 0 ? 1 : ComparisonsMax) && _ledger.CanSend && IsWithin(ref _verifyLimit) && NextToVerify(out var part))
        {
            if (!TryStartCopy(part.Range, Purpose.Verify))
                return;
            if (!_verify.Closer!.TryDequeue(out _))
                Pass();
            _verify.Comparisons++;
            _verifyLimit.Take(part.LengthBytes);
        }
        if (_verify.Comparisons == 0 && !NextToVerify(out _))
            FinishVerify();
    }

    private void TakeVerifyTree(string? fault, IReadOnlyList<ManifestEntry> entries)
    {
        (_inLine, _verify.WaitsForTree) = (NobodyInLine, false);
        if (!_verify.Running)
            return;
        if (fault is not null)
        {
            EndVerify($"the tree could not be read: {fault}");
            return;
        }
        _verify.Objects = [.. entries.Select(static entry => entry.Object)];
        _verify.TotalEntries = _verify.Objects.Count;
        _verify.Files = [.. entries.Where(static entry => entry.IsRegular).Select(static entry => (entry.Object, entry.SizeBytes))];
        _verify.TotalBytes = _verify.Files.Sum(static file => file.SizeBytes);
    }

    private bool NextToVerify(out VerifyPart part)
    {
        if (_verify.Closer!.TryPeek(out part))
            return true;
        for (; _verify.NextFile < _verify.Files!.Count; (_verify.NextFile, _verify.OffsetBytes) = (_verify.NextFile + 1, 0))
        {
            var (obj, sizeBytes) = _verify.Files[_verify.NextFile];
            if (_verify.OffsetBytes > sizeBytes)
                continue;
            // The last one begins at the end of the file or before it, and ends behind it.
            var last = _verify.OffsetBytes + CopyPiece.DataBytesMax > sizeBytes;
            part = new VerifyPart(obj, _verify.OffsetBytes, last ? long.MaxValue : _verify.OffsetBytes + CopyPiece.DataBytesMax);
            return true;
        }
        return false;
    }

    /// <summary>The next part of the list is being compared.</summary>
    private void Pass()
    {
        _verify.DoneBytes += Math.Min(CopyPiece.DataBytesMax, _verify.Files![_verify.NextFile].SizeBytes - _verify.OffsetBytes);
        _verify.OffsetBytes += CopyPiece.DataBytesMax;
    }

    /// <summary>Both hashes have come.</summary>
    private bool Verified(int slot, bool equal)
    {
        ref var operation = ref _operations[slot];
        var part = new VerifyPart(operation.Object, operation.StartBytes, operation.EndBytes);
        // Gone here: it was removed since the list was made, and the peer may or may not know yet.
        if (operation.Errno != 0 || _orphans.Contains(operation.Object))
            _verify.SkippedBytes = Math.Min(_verify.SkippedBytes + part.LengthBytes, _verify.TotalBytes);
        else if (!equal && _verify.Running)
            return Differs(slot, part);
        return DropCopy(slot);
    }

    private bool Differs(int slot, in VerifyPart part)
    {
        ref var operation = ref _operations[slot];
        var (here, there) = (operation.HashHere.HashedBytes, operation.HashThere.HashedBytes);
        if (there < 0)
        {
            // The peer does not have the file: its entry has told so before, or it was removed since the request was sent.
            _verify.SkippedBytes = Math.Min(_verify.SkippedBytes + part.LengthBytes, _verify.TotalBytes);
            return DropCopy(slot);
        }
        if (here != there)
        {
            // How long the files are is certain only while nobody can make this one longer.
            if (!part.IsOpen)
                _verify.Closer!.Enqueue(part with { EndBytes = long.MaxValue });
            else if (Math.Min(here, there) is > 0 and var common)
                _verify.Closer!.Enqueue(part with { EndBytes = part.OffsetBytes + common });
            return part.IsOpen ? SizesDiffer(slot, part) : DropCopy(slot);
        }
        var lengthBytes = (long)here;
        var partBytes = lengthBytes > DirtyMap.BlockBytes ? DirtyMap.BlockBytes : VerifyPartBytesMin;
        if (lengthBytes <= VerifyPartBytesMin || _verify.Different!.Count + _verify.Closer!.Count >= VerifyStatus.RangesMax)
            Found(new ObjectRange(part.Object, part.OffsetBytes, lengthBytes));
        else
            for (var offset = part.OffsetBytes; offset < part.OffsetBytes + lengthBytes; offset += partBytes)
                _verify.Closer.Enqueue(new VerifyPart(part.Object, offset, Math.Min(offset + partBytes, part.OffsetBytes + lengthBytes)));
        return DropCopy(slot);
    }

    private bool SizesDiffer(int slot, in VerifyPart part)
    {
        if (!_verify.Repairs)
        {
            FoundSizes(slot);
            return DropCopy(slot);
        }
        _operations[slot].Step = Step.Local;
        _effects.LocalStat(slot, part.Object);
        return true;
    }

    private void FoundSizes(int slot)
    {
        ref readonly var operation = ref _operations[slot];
        var (here, there) = (operation.HashHere.HashedBytes, operation.HashThere.HashedBytes);
        if (_verify.SizedObject != operation.Object)
            Found(new EntryDifference(operation.Object, EntryAspects.Size));
        _verify.SizedObject = operation.Object;
        Found(new ObjectRange(operation.Object, operation.StartBytes + Math.Min(here, there), Math.Abs(here - there)));
    }

    private void Found(in ObjectRange range)
    {
        _verify.DifferentBytes += range.LengthBytes;
        if (_verify.Different!.Count < VerifyStatus.RangesMax)
            _verify.Different.Add(range);
        if (!_verify.Repairs)
            return;
        _marks.Map.MarkDirty(range.Object, range.OffsetBytes, range.LengthBytes);
        _marks.AskCheckpoint();
        _changed = true;
    }

    private void Found(in EntryDifference difference)
    {
        _verify.EntriesDifferent++;
        if (_verify.DifferentEntries!.Count < VerifyStatus.RangesMax)
            _verify.DifferentEntries.Add(difference);
        _verify.TreeDiffers |= difference.Aspects != EntryAspects.Size;
    }

    /// <summary>The peer's file is cut or made longer; what it lacks of the content follows by its marks. The range is locked to infinity.</summary>
    private void SizeForVerify(int slot, int errno, long sizeBytes)
    {
        ref readonly var operation = ref _operations[slot];
        if (_stopping || operation.Link != _link || _link == 0 || !_verify.Running)
        {
            DropUndone(slot);
            return;
        }
        if (errno != 0)
        {
            FoundSizes(slot);
            DropCopy(slot);
            return;
        }
        var cut = new Mutation(MutationKind.SetAttributes) { Object = operation.Object, Mask = AttributeMask.Size, SizeBytes = sizeBytes };
        var payload = PayloadOf(MutationCodec.SizeOf(cut));
        MutationCodec.Write(cut, payload);
        if (!MaySend(payload.Length))
        {
            DropUndone(slot);
            return;
        }
        FoundSizes(slot);
        _effects.Send(_link, Number(-1, FrameKind.Mutation, payload.Length) with { Object = operation.Object }, payload);
        DropCopy(slot);
    }

    private void FinishVerify()
    {
        if (_verify.Repairs && (_copies > 0 || !_marks.NothingDirty))
            return;
        if (_verify is { Repairs: true, DifferentBytes: > 0, Flushed: false })
        {
            if (!_verify.Flushes)
                _verify.Flushes = TryFlushEverything(Purpose.VerifyFlush, withPeer: true);
            return;
        }
        var resyncs = _verify is { Repairs: true, TreeDiffers: true };
        EndVerify(VerifyStatus.Completed);
        if (resyncs)
            LoseSession("a verify found that the trees differ; a resync makes them equal");
    }

    /// <summary>A range counts as equal again when its copy is stable on both hosts.</summary>
    private void VerifyFlushed(bool confirmed)
    {
        if (!_verify.Running)
            return;
        if (!confirmed)
            EndVerify("the flush after the repair was not confirmed");
        (_verify.Flushed, _verify.RepairedBytes, _changed) = (confirmed, confirmed ? _verify.DifferentBytes : 0, true);
    }

    private VerifyStatus VerifyStatusNow => new()
    {
        Running = _verify.Running, Repairs = _verify.Repairs, TotalBytes = _verify.TotalBytes, DoneBytes = _verify.DoneBytes,
        SkippedBytes = _verify.SkippedBytes, DifferentBytes = _verify.DifferentBytes, RepairedBytes = _verify.RepairedBytes,
        Different = _verify.Different ?? [], TotalEntries = _verify.TotalEntries, DoneEntries = _verify.NextEntry,
        EntriesDifferent = _verify.EntriesDifferent, DifferentEntries = _verify.DifferentEntries ?? [], End = _verify.End,
        ResyncFollows = _verify is { Repairs: true, TreeDiffers: true, Running: false, End: VerifyStatus.Completed },
    };

    /// <param name="EndBytes">Exclusive; long.MaxValue: nobody makes the file longer meanwhile.</param>
    private readonly record struct VerifyPart(ulong Object, long OffsetBytes, long EndBytes)
    {
        public bool IsOpen => EndBytes == long.MaxValue;

        public int LengthBytes => (int)Math.Min(EndBytes - OffsetBytes, CopyPiece.DataBytesMax);

        public ObjectRange Range => new(Object, OffsetBytes, EndBytes - OffsetBytes);
    }

    private struct VerifyRun
    {
        public bool Running;
        public bool Repairs;
        public bool WantsTree;
        public bool WaitsForTree;
        public List<ulong>? Objects;
        public int TotalEntries;
        public int NextEntry;

        /// <summary>Number of the batch whose entries are described on both hosts.</summary>
        public int Batch;
        public int BatchCount;
        public bool Describes;
        public EntryDigest[]? EntriesHere;
        public EntryDigest[]? EntriesThere;
        public int EntriesDifferent;
        public List<EntryDifference>? DifferentEntries;
        public bool TreeDiffers;

        /// <summary>The last one whose sizes were found to differ.</summary>
        public ulong SizedObject;
        public List<(ulong Object, long SizeBytes)>? Files;
        public int NextFile;
        public long OffsetBytes;

        /// <summary>Parts of ranges that differ, which are compared before the rest.</summary>
        public Queue<VerifyPart>? Closer;
        public int Comparisons;
        public long TotalBytes;
        public long DoneBytes;
        public long SkippedBytes;
        public long DifferentBytes;
        public long RepairedBytes;
        public List<ObjectRange>? Different;
        public bool Flushes;
        public bool Flushed;
        public string? End;
    }
}
