namespace Pollux.DataPlane.Core.Replication;

// The source's side of a resync.
//
//   starting ──AllowResync──► asking ──Ready──► tree ──ManifestApplied──► copying ──nothing dirty, flushed──► joining ──ReplicaUpToDate──► done
//        (pending base stored)     (target Inconsistent)   (mutations mirrored)  (writes mirrored)    (acknowledgements wait)        (member)
//
// The session's end stops it at any step; only after the last one may the peer be a member. What was flushed on both hosts by then need
// not be copied again. A full resync that is cut off goes on by marks if both hosts can prove that they are about it: see ResyncClaim.
public sealed partial class SourceMachine
{
    private readonly List<ulong> _wholeObjects = [];
    private readonly List<(int Slot, long Number)> _unsent = [];
    private readonly Throughput _resyncRate = new();
    private ResyncStep _resync;
    private Guid _syncBase;
    private bool _resyncFull;
    private bool _resyncResumed;
    private long _resyncDueMs;
    private long _resyncTotalBytes;
    private long _resyncDoneBytes;
    private long _resyncSkippedBytes;
    private long _resyncUnflushedBytes;
    private long _resyncSentBytes;
    private long _resyncSlowSinceMs;
    private bool _resyncFlushes;
    private bool _manifestWanted;
    private IReadOnlyList<ManifestEntry>? _manifest;
    private IEnumerator<ReadOnlyMemory<byte>>? _manifestChunks;
    private bool _flushedHere;
    private bool _upToDateThere;
    private FlushToken _finalToken;
    private HashSet<ulong>? _newThere;

    private enum ResyncStep : byte
    {
        None,

        /// <summary>Until this host has stored the pending base.</summary>
        Starting,

        /// <summary>Until the peer has stored that it is inconsistent.</summary>
        Asking,

        /// <summary>Until no mutation runs, the tree is listed and sent.</summary>
        Tree,

        /// <summary>Until the peer has made its tree equal.</summary>
        TreeSent,
        Copying,

        /// <summary>A flush takes most of the work off the last one, for which guests wait.</summary>
        Flushing,

        /// <summary>Acknowledgements wait for the peer; what is dirty still is copied.</summary>
        Joining,

        /// <summary>Until both hosts are flushed and the peer has stored that it is up to date.</summary>
        Final,
        Done,
    }

    /// <summary>Acknowledged by the role machine: the pending base is stored.</summary>
    public void AllowResync(Guid syncBase)
    {
        if (_resync != ResyncStep.Starting || syncBase != _syncBase)
            return;
        AllowSilence(_options.ResyncStepDeadlineMs);
        Await(ResyncStep.Asking);
        SendBase(FrameKind.ResyncBegin, _resyncFull ? FrameFlags.Full : _resyncResumed ? FrameFlags.Resumed : FrameFlags.None);
    }

    private void BeginResync(HelloAnswer answer)
    {
        var state = _surroundings.State;
        var claim = _marks.Claim;
        // A base that was changed meanwhile (a full resync by command) ends what an earlier resync had begun.
        _resyncResumed = claim.Part == ResyncPart.Source && answer.ResyncBase == claim.Base && claim.Base != Guid.Empty && claim.Base == state.PendingSyncBase;
        _resyncFull = !_resyncResumed && (answer.MarksDamaged || _marks.EverythingMayDiffer || answer.SyncBase == Guid.Empty
            || (answer.SyncBase != state.SyncBase && answer.SyncBase != state.PendingSyncBase));
        // A target that already carries the pending base of an earlier resync keeps matching if this one is cut off too.
        _syncBase = _resyncResumed ? claim.Base
            : answer.SyncBase == state.PendingSyncBase && state.PendingSyncBase != Guid.Empty ? state.PendingSyncBase
            : _surroundings.NewGuid();
        _wholeObjects.Clear();
        (_resyncTotalBytes, _resyncDoneBytes, _resyncSkippedBytes, _resyncUnflushedBytes) = (0, 0, 0, 0);
        (_resyncFlushes, _flushedHere, _upToDateThere, _newThere) = (false, false, false, null);
        _resyncRate.Reset(_nowMs);
        Await(ResyncStep.Starting);
        _effects.ResyncStarting(_syncBase);
    }

    private void Await(ResyncStep step) => (_resync, _resyncDueMs, _changed) = (step, _nowMs + _options.ResyncStepDeadlineMs, true);

    /// <summary>The session is over, or never was.</summary>
    private void EndResync()
    {
        _resync = ResyncStep.None;
        _resyncSlowSinceMs = 0;
        _manifestChunks = null;
        _manifest = null;
        // A listing that runs still holds the line until it comes.
        if (_inLine == ManifestInLine && !_manifestRuns)
            _inLine = NobodyInLine;
        _manifestWanted = false;
        ResetCopies();
    }

    private void WatchResync()
    {
        // The rate is that of some seconds: a resync that has just begun has none yet.
        if (_resync == ResyncStep.Copying && _resyncRate.BytesPerSecond(_nowMs) < _resyncBytesPerSecondMin)
            _resyncSlowSinceMs = _resyncSlowSinceMs > 0 ? _resyncSlowSinceMs : _nowMs;
        else
            _resyncSlowSinceMs = 0;
        if (_resync is ResyncStep.None or ResyncStep.Done or ResyncStep.Copying or ResyncStep.Joining || _nowMs <= _resyncDueMs)
            return;
        LoseSession($"waited {_options.ResyncStepDeadlineMs / 1000} s for {StepText}");
    }

    private string StepText => _resync switch
    {
        ResyncStep.Starting => "this host to store the pending base",
        ResyncStep.Asking => "the peer to store that it is inconsistent",
        ResyncStep.Tree => "the tree to be listed and sent",
        ResyncStep.TreeSent => "the peer to make its tree equal",
        ResyncStep.Copying => "what differs to be copied",
        ResyncStep.Flushing => "both hosts to flush what was copied",
        ResyncStep.Joining => "the rest of what differs to be copied",
        ResyncStep.Final => "the peer to store that it is up to date",
        _ => "",
    };

    /// <summary>Takes a frame of the replica.</summary>
    private bool TakeResync(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        switch (header.Kind)
        {
            case FrameKind.Ready when _resync == ResyncStep.Asking:
                _manifestWanted = true;
                Await(ResyncStep.Tree);
                return true;
            case FrameKind.ManifestApplied when _resync == ResyncStep.TreeSent:
                while (reader.RestBytes >= sizeof(ulong))
                    _wholeObjects.Add(reader.UInt64());
                if (!reader.Complete)
                    return false;
                if (header.Flags.HasFlag(FrameFlags.Last))
                    MirrorWrites();
                return true;
            case FrameKind.ReplicaUpToDate when _resync == ResyncStep.Final && reader.Guid() == _syncBase:
                _upToDateThere = true;
                return true;
            default:
                return false;
        }
    }

    private void AdvanceResync()
    {
        FlushWhatWasCopied();
        switch (_resync)
        {
            case ResyncStep.Tree:
                AdvanceTree();
                break;
            case ResyncStep.Copying when CopyOn() && UnsentHaveEnded() && !_resyncFlushes:
                // A flush that is due anyway is the one before joining.
                if (TryFlushEverything(Purpose.ResyncFlush, withPeer: true))
                    Await(ResyncStep.Flushing);
                break;
            case ResyncStep.Joining when CopyOn() && !_resyncFlushes:
                FlushForTheLastTime();
                break;
            case ResyncStep.Final when _flushedHere && _upToDateThere:
                EndWell();
                break;
            case ResyncStep.None or ResyncStep.Done when _peer == PeerPart.Member:
                // What a refused mutation or a verify has marked.
                CopyOn();
                break;
        }
    }

    private bool _manifestRuns;

    private void AdvanceTree()
    {
        if (_manifestWanted && _inLine == NobodyInLine)
        {
            (_inLine, _manifestWanted, _manifestRuns) = (ManifestInLine, false, true);
            _effects.TakeManifest();
        }
        if (_manifestChunks is null)
            return;
        while (_effects.SendRoomBytes(_link) >= FrameHeader.SizeBytes + ManifestWriter.ChunkBytesMax)
        {
            var chunk = _manifestChunks.Current;
            var last = !_manifestChunks.MoveNext();
            SendControl(FrameKind.ManifestChunk, last ? FrameFlags.Last : FrameFlags.None, chunk.Span);
            if (!last)
                continue;
            // Every mutation that comes after the list goes to the peer.
            _manifestChunks = null;
            _mirrorsMutations = true;
            _inLine = NobodyInLine;
            AllowSilence(_options.ResyncStepDeadlineMs);
            Await(ResyncStep.TreeSent);
            return;
        }
    }

    /// <summary>The tree is listed.</summary>
    /// <param name="fault">Why it is not, or null.</param>
    public void ManifestTaken(string? fault, IReadOnlyList<ManifestEntry> entries)
    {
        _manifestRuns = false;
        _changed = true;
        if (_verify.WaitsForTree)
        {
            TakeVerifyTree(fault, entries);
        }
        else if (_resync != ResyncStep.Tree || _manifestWanted)
        {
            // Of a session that is over.
            _inLine = NobodyInLine;
        }
        else if (fault is not null)
        {
            _inLine = NobodyInLine;
            RaiseLocalFault($"the tree could not be read for a resync: {fault}");
            LoseSession("the source cannot read its tree");
        }
        else
        {
            foreach (var entry in entries)
            {
                if (_resyncFull && entry.IsRegular && entry.SizeBytes > 0)
                    _marks.Map.MarkDirty(entry.Object, 0, entry.SizeBytes);
            }
            _manifest = entries;
            _manifestChunks = ManifestWriter.Write(entries).GetEnumerator();
            _manifestChunks.MoveNext();
        }
        Settle();
    }

    /// <summary>The peer's tree is equal: every write goes to it from now on.</summary>
    private void MirrorWrites()
    {
        if (_wholeObjects.Count > 0)
        {
            // What became longer since the list was made was marked by the write that did it.
            _newThere = [.. _wholeObjects];
            foreach (var entry in _manifest!)
            {
                if (entry.IsRegular && entry.SizeBytes > 0 && _newThere.Contains(entry.Object))
                    _marks.Map.MarkDirty(entry.Object, 0, entry.SizeBytes);
            }
        }
        _manifest = null;
        _mirrorsWrites = true;
        _unsent.Clear();
        _ledger.CollectUnsent(_unsent);
        if (_resyncFull)
            _marks.SetClaim(new ResyncClaim(ResyncPart.Source, _syncBase));
        ExpectProgress();
        Await(ResyncStep.Copying);
        _resyncTotalBytes = _marks.Map.DirtyBytes;
        _resyncRate.Reset(_nowMs);
    }

    /// <summary>Operations that ran unsent when mirroring began: what they wrote is marked when they have ended.</summary>
    private bool UnsentHaveEnded()
    {
        _unsent.RemoveAll(operation => !_ledger.Runs(operation.Slot, operation.Number));
        return _unsent.Count == 0;
    }

    private void CountCopied(long coveredBytes, long unflushedBytes)
    {
        _resyncDoneBytes += coveredBytes;
        _resyncTotalBytes = Math.Max(_resyncTotalBytes, _resyncDoneBytes + _marks.Map.DirtyBytes);
        _resyncRate.Add(_nowMs, coveredBytes);
        _resyncUnflushedBytes += unflushedBytes;
    }

    /// <summary>What is flushed on both hosts need not be copied again when the session is lost.</summary>
    private void FlushWhatWasCopied()
    {
        if (_resyncUnflushedBytes < _options.ResyncFlushBytes || _resyncFlushes || _resync is not (ResyncStep.Copying or ResyncStep.Joining))
            return;
        _resyncFlushes = TryFlushEverything(Purpose.ResyncFlush, withPeer: true);
        if (_resyncFlushes)
            _resyncUnflushedBytes = 0;
    }

    private void ResyncFlushed(bool confirmed)
    {
        _resyncFlushes = false;
        if (_resync is not (ResyncStep.Copying or ResyncStep.Flushing or ResyncStep.Joining))
            return;
        if (!confirmed)
        {
            LoseSession("a flush of the resync was not confirmed");
            return;
        }
        if (_resync == ResyncStep.Flushing)
        {
            _peer = PeerPart.Joining;
            Await(ResyncStep.Joining);
        }
    }

    /// <summary>What was written and copied before is flushed on both hosts, and its marks go. Here first: the target forgets its marks when it has
    /// flushed, and those that it has told are in memory only here. This flush also shows that the one before told the truth.</summary>
    private void FlushForTheLastTime()
    {
        var slot = _ledger.Enter(OperationKind.Flush, guest: false, 0, 0, 0, 0, 0, ++_operationNumber);
        if (slot < 0)
            return;
        // Marks that are set after the token was taken stay, and everything marked before is in the stream before the frame.
        _finalToken = _marks.Map.BeginFlush(0, []);
        Await(ResyncStep.Final);
        _operations[slot] = new Operation { Kind = OperationKind.Flush, Purpose = Purpose.FinalFlush, Step = Step.Local, Session = _link, GoneBefore = _goneNumber };
        _effects.LocalFlush(slot, 0, dataOnly: false);
    }

    private void FinalFlushed(int errno)
    {
        if (_resync != ResyncStep.Final)
            return;
        _flushedHere = errno == 0;
        if (errno == 0)
            SendBase(FrameKind.ResyncFinal, FrameFlags.None);
        else
            LoseSession("the flush at the end of the resync failed here");
    }

    private void EndWell()
    {
        _marks.Map.FlushConfirmed(_finalToken);
        _peer = PeerPart.Member;
        (_resync, _newThere, _changed) = (ResyncStep.Done, null, true);
        _marks.Repaired();
        _effects.PeerCaughtUp(_syncBase);
    }

    private void SendBase(FrameKind kind, FrameFlags flags)
    {
        Span<byte> payload = stackalloc byte[16];
        new WireWriter(payload).Guid(_syncBase);
        SendControl(kind, flags, payload);
    }
}
