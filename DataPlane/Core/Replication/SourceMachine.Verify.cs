namespace Pollux.DataPlane.Core.Replication;

// Verify: compares both copies online, range by range under the range lock, by SHA-256. Since a range is locked, everything that was
// written to it before is applied on both hosts, so a difference is one. On request it is marked and copied in the direction that the record
// names: from here to the peer.
public sealed partial class SourceMachine
{
    private const int ComparisonsMax = 4;

    private VerifyRun _verify;
    private RateLimit _verifyLimit = new() { BytesPerSecondMax = long.MaxValue };

    /// <param name="repair">What differs is copied to the peer.</param>
    /// <param name="bytesPerSecondMax">Compared at most; long.MaxValue: no limit.</param>
    /// <param name="refusal">Why nothing was begun.</param>
    public bool StartVerify(bool repair, long bytesPerSecondMax, out string? refusal)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytesPerSecondMax);
        refusal = _verify.Running ? "a verify runs already"
            : _verify.Comparisons > 0 ? "comparisons of an earlier verify have not ended yet"
            : _link == 0 || _peer != PeerPart.Member ? "the copies can be compared only while they are kept equal: the module is not mirrored at the moment"
            : null;
        if (refusal is not null)
            return false;
        _verify = new VerifyRun { Running = true, Repairs = repair, WantsTree = true, Different = [] };
        _verifyLimit = new RateLimit { BytesPerSecondMax = bytesPerSecondMax };
        _changed = true;
        Settle();
        return true;
    }

    public void StopVerify()
    {
        EndVerify("stopped");
        Settle();
    }

    private void EndVerify(string end)
    {
        if (!_verify.Running)
            return;
        _verify.Running = _verify.WantsTree = false;
        _verify.Objects = null;
        _verify.End = end;
        _changed = true;
    }

    private void AdvanceVerify()
    {
        if (!_verify.Running || _stopping)
            return;
        if (_verify.WantsTree && _inLine == NobodyInLine)
        {
            (_inLine, _verify.WantsTree, _verify.WaitsForTree) = (ManifestInLine, false, true);
            _manifestRuns = true;
            _effects.TakeManifest();
        }
        while (_verify is { Objects: not null, Comparisons: < ComparisonsMax } && _ledger.CanSend && IsWithin(ref _verifyLimit) && NextToVerify(out var range))
        {
            if (!TryStartCopy(range, Purpose.Verify))
                return;
            _verify.Comparisons++;
            _verify.OffsetBytes += range.LengthBytes;
            _verifyLimit.Take(range.LengthBytes);
        }
        if (_verify is { Objects: not null, Comparisons: 0 } && !NextToVerify(out _) && (!_verify.Repairs || (_copies == 0 && _marks.NothingDirty)))
            EndVerify("completed");
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
        _verify.Objects = [.. entries.Where(static entry => entry is { IsRegular: true, SizeBytes: > 0 }).Select(static entry => (entry.Object, entry.SizeBytes))];
        _verify.TotalBytes = _verify.Objects.Sum(static entry => entry.SizeBytes);
    }

    private bool NextToVerify(out ObjectRange range)
    {
        range = default;
        while (_verify.Next < _verify.Objects!.Count)
        {
            var (obj, sizeBytes) = _verify.Objects[_verify.Next];
            if (_verify.OffsetBytes < sizeBytes)
            {
                range = new ObjectRange(obj, _verify.OffsetBytes, Math.Min(CopyPiece.DataBytesMax, sizeBytes - _verify.OffsetBytes));
                return true;
            }
            (_verify.Next, _verify.OffsetBytes) = (_verify.Next + 1, 0);
        }
        return false;
    }

    private bool Verified(int slot, bool equal)
    {
        ref readonly var operation = ref _operations[slot];
        var range = new ObjectRange(operation.Object, operation.StartBytes, operation.EndBytes - operation.StartBytes);
        _verify.DoneBytes += range.LengthBytes;
        // Gone here: it was removed since the list was made, and the peer may or may not know yet.
        if (operation.Errno != 0 || _orphans.Contains(operation.Object))
        {
            _verify.SkippedBytes += range.LengthBytes;
        }
        else if (!equal)
        {
            _verify.DifferentBytes += range.LengthBytes;
            if (_verify.Different!.Count < VerifyStatus.RangesMax)
                _verify.Different.Add(range);
            if (_verify is { Repairs: true, Running: true })
            {
                _marks.Map.MarkDirty(range.Object, range.OffsetBytes, range.LengthBytes);
                _marks.AskCheckpoint();
            }
        }
        return DropCopy(slot);
    }

    private struct VerifyRun
    {
        public bool Running;
        public bool Repairs;
        public bool WantsTree;
        public bool WaitsForTree;
        public List<(ulong Object, long SizeBytes)>? Objects;
        public int Next;
        public long OffsetBytes;
        public int Comparisons;
        public long TotalBytes;
        public long DoneBytes;
        public long SkippedBytes;
        public long DifferentBytes;
        public List<ObjectRange>? Different;
        public string? End;
    }
}
