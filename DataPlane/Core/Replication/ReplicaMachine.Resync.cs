namespace Pollux.DataPlane.Core.Replication;

// The target's side of a resync.
public sealed partial class ReplicaMachine
{
    private ManifestReader? _manifest;
    private List<ObjectRange> _marksToTell = [];
    private int _marksTold;
    private Guid _syncBase;
    private bool _resyncing;
    private bool _resyncFull;
    private bool _resumed;
    private bool _phaseWorkRuns;
    private long _claimStoredAt;
    private IReadOnlyList<ulong>? _wholeToTell;
    private int _wholeTold;
    private long _stepDueMs;
    private bool _finalFlushed;
    private FinalStep _final;
    private long _clearedAt;

    private enum FinalStep : byte
    {
        None,
        Flushing,
        Settling,

        /// <summary>Until this host has stored that it is up to date.</summary>
        Confirming,

        /// <summary>The marks go: first the checkpoint is stored without them, then the log.</summary>
        Clearing,
        EmptyingLog,
    }

    /// <summary>An older copy is kept, or cannot be.</summary>
    public void CopyPreserved()
    {
        _phaseWorkRuns = false;
        if (_link != 0 && _phase == Phase.Preserving)
        {
            Await(Phase.Asked, "this host to store that it is inconsistent");
            _effects.ResyncStarting(_syncBase);
        }
        Settle();
    }

    /// <summary>The role machine has stored that this copy is inconsistent.</summary>
    public void AllowResync(Guid syncBase)
    {
        if (_link == 0 || _phase != Phase.Asked || syncBase != _syncBase)
            return;
        var claim = _resyncFull || _resumed ? new ResyncClaim(ResyncPart.Target, syncBase) : ResyncClaim.None;
        _claimStoredAt = claim == _marks.Claim ? 0 : _marks.SetClaim(claim);
        Await(Phase.Claiming, "this host to store which resync it is in");
        Settle();
    }

    /// <summary>The role machine has stored that this copy is up to date.</summary>
    public void ConfirmResynced(Guid syncBase)
    {
        if (_link == 0 || _final != FinalStep.Confirming || syncBase != _syncBase)
            return;
        _marks.Map.Clear();
        (_final, _clearedAt) = (FinalStep.Clearing, _marks.Repaired());
        Settle();
    }

    private bool TakeResync(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        switch (header.Kind)
        {
            case FrameKind.ResyncBegin when _phase == Phase.Greeted && _hello!.Mode == SessionMode.Resync:
                _syncBase = new WireReader(payload).Guid();
                if (_syncBase == Guid.Empty)
                    return false;
                _resyncFull = header.Flags.HasFlag(FrameFlags.Full);
                _resumed = header.Flags.HasFlag(FrameFlags.Resumed);
                // Both hosts must claim the same: a source that is mistaken is refused.
                if (_resumed && _marks.Claim != new ResyncClaim(ResyncPart.Target, _syncBase))
                    return false;
                Await(Phase.Preserving, "an older copy to be kept");
                _phaseWorkRuns = true;
                _effects.PreserveCopy();
                return true;
            case FrameKind.ManifestChunk when _phase == Phase.Tree:
                return TakeManifest(header, payload);
            case FrameKind.ResyncFinal when _phase == Phase.Applying && _resyncing && _final == FinalStep.None && new WireReader(payload).Guid() == _syncBase:
                _final = FinalStep.Flushing;
                _flushes.Add(new FlushRequest(_received, 0, false, FlushRequest.FinalSlot, -1));
                return true;
            default:
                return false;
        }
    }

    private bool TakeManifest(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        try
        {
            _manifest!.Append(payload);
        }
        catch (MalformedManifestException)
        {
            return false;
        }
        if (!header.Flags.HasFlag(FrameFlags.Last))
            return true;
        if (!_manifest.Complete)
            return false;
        var entries = _manifest.Entries;
        _manifest = null;
        _phaseWorkRuns = true;
        Await(Phase.Planting, "making the tree equal");
        _effects.ApplyManifest(entries);
        return true;
    }

    /// <summary>The tree is equal, or could not be made so.</summary>
    /// <param name="fault">Why not, or null.</param>
    /// <param name="wholeObjects">Files whose whole content must come: new ones, and those of earlier manifests that were never settled.</param>
    /// <param name="newObjects">Of these, the ones that this manifest has made.</param>
    public void ManifestApplied(int errno, string? fault, IReadOnlyList<ulong> wholeObjects, IReadOnlyList<ulong> newObjects)
    {
        _phaseWorkRuns = false;
        if (_link != 0 && _phase == Phase.Planting)
        {
            if (fault is not null)
            {
                Fail(0, errno, fault);
            }
            else
            {
                // A resync that goes on has copied of the older ones what its source's marks do not name.
                (_wholeToTell, _wholeTold) = (_resumed ? newObjects : wholeObjects, 0);
                (_phase, _waitingFor) = (Phase.Applying, null);
            }
        }
        Settle();
    }

    /// <summary>No file waits for its whole content any more, or that could not be stored.</summary>
    public void ContentSettled(int errno, string? fault)
    {
        _phaseWorkRuns = false;
        if (_link != 0 && _final == FinalStep.Settling)
        {
            if (fault is not null)
            {
                Fail(0, errno, fault);
            }
            else
            {
                _final = FinalStep.Confirming;
                (_waitingFor, _stepDueMs) = ("this host to store that it is up to date", _nowMs + _options.ResyncStepDeadlineMs);
                _effects.ReplicaFlushed(_syncBase);
            }
        }
        Settle();
    }

    private void Await(Phase phase, string what) =>
        (_phase, _waitingFor, _stepDueMs) = (phase, what, _nowMs + _options.ResyncStepDeadlineMs);

    private void AdvanceSession()
    {
        AdvanceMutation();
        AdvanceFlushes();
        switch (_phase)
        {
            case Phase.Answering:
                TellMarks();
                break;
            case Phase.Claiming when _marks.CheckpointsStored >= _claimStoredAt:
                (_phase, _waitingFor, _resyncing, _manifest) = (Phase.Tree, null, true, new ManifestReader());
                Send(FrameKind.Ready, FrameFlags.None, 0, 0, []);
                break;
            case Phase.Applying when _wholeToTell is not null:
                TellWholeObjects();
                break;
        }
        AdvanceFinal();
    }

    private void AdvanceFinal()
    {
        switch (_final)
        {
            case FinalStep.Flushing when _finalFlushed:
                (_final, _phaseWorkRuns) = (FinalStep.Settling, true);
                _effects.SettleContent();
                break;
            case FinalStep.Clearing when _marks.CheckpointsStored >= _clearedAt && _marks.Idle:
                _final = FinalStep.EmptyingLog;
                _marks.EmptyLog();
                break;
            case FinalStep.EmptyingLog when _marks.Idle:
                (_final, _resyncing, _waitingFor) = (FinalStep.None, false, null);
                _effects.DropPreserved(noRoom: false);
                Span<byte> payload = stackalloc byte[16];
                new WireWriter(payload).Guid(_syncBase);
                Send(FrameKind.ReplicaUpToDate, FrameFlags.None, 0, 0, payload);
                break;
        }
    }

    private void TellMarks()
    {
        while (_marksTold < _marksToTell.Count)
        {
            var count = Math.Min(MarksCodec.ChunkRangesMax, _marksToTell.Count - _marksTold);
            var payload = PayloadOf(count * ObjectRange.EncodedBytes);
            if (_effects.SendRoomBytes(_link) < payload.Length + FrameHeader.SizeBytes)
                return;
            MarksCodec.Write(_marksToTell, _marksTold, payload);
            Send(FrameKind.MarksChunk, FrameFlags.None, 0, 0, payload);
            _marksTold += count;
        }
        _marksToTell = [];
        _phase = _hello!.Mode == SessionMode.Resync ? Phase.Greeted : Phase.Applying;
        Send(FrameKind.Ready, FrameFlags.None, 0, 0, []);
    }

    private void TellWholeObjects()
    {
        const int ChunkMax = 8192;
        do
        {
            var count = Math.Min(ChunkMax, _wholeToTell!.Count - _wholeTold);
            var payload = PayloadOf(count * sizeof(ulong));
            if (_effects.SendRoomBytes(_link) < payload.Length + FrameHeader.SizeBytes)
                return;
            var writer = new WireWriter(payload);
            for (var i = 0; i < count; i++)
                writer.UInt64(_wholeToTell[_wholeTold + i]);
            _wholeTold += count;
            Send(FrameKind.ManifestApplied, _wholeTold == _wholeToTell.Count ? FrameFlags.Last : FrameFlags.None, 0, 0, payload);
        }
        while (_wholeTold < _wholeToTell.Count);
        _wholeToTell = null;
    }

    private void ResetResync()
    {
        (_marksTold, _syncBase, _resyncing, _resyncFull, _resumed) = (0, Guid.Empty, false, false, false);
        (_wholeToTell, _finalFlushed, _final) = (null, false, FinalStep.None);
    }

    private void ForgetResync() => (_manifest, _marksToTell, _wholeToTell, _resyncing, _final) = (null, [], null, false, FinalStep.None);
}
