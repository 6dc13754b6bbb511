using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

// What the role machine's effects and the session do to the volume.
internal sealed partial class ServingVolume
{
    /// <summary>The volume is never waited for longer than this when it is shut: local disk calls end or the disk is broken.</summary>
    private static readonly TimeSpan StopDeadline = TimeSpan.FromSeconds(20);

    private int _faults;

    // By ledger slot.
    private readonly TaskCompletionSource<FlushOutcome>?[] _internalFlushes = new TaskCompletionSource<FlushOutcome>?[WriteLedger.Slots];

    public long Epoch
    {
        get
        {
            lock (_gate)
                return _epoch;
        }
    }

    public bool PeerMayBeMember
    {
        get
        {
            lock (_gate)
                return _peer == PeerPart.Member;
        }
    }

    /// <summary>The session goes on where an equal copy stands: everything is sent and waited for from now on.</summary>
    public void BeginInSync(SourceSession session)
    {
        lock (_gate)
        {
            StartSession(session);
            _peer = PeerPart.Member;
            _mirrorsMutations = _mirrorsWrites = true;
            _waitingFor = null;
            WakeAll();
        }
    }

    /// <summary>A session that will resync: nothing is sent yet but what the resync sends.</summary>
    public void BeginSyncing(SourceSession session)
    {
        lock (_gate)
        {
            StartSession(session);
            _peer = PeerPart.Syncing;
            _waitingFor = null;
        }
    }

    private void StartSession(SourceSession session)
    {
        _session = session;
        _ledger.NewSession();
        _mirrorsMutations = _mirrorsWrites = false;
    }

    /// <summary>Acknowledgements of operations that are sent from now on wait for the peer; on false they no longer do.</summary>
    public bool BeginJoining(SourceSession session)
    {
        lock (_gate)
        {
            if (_session != session)
                return false;
            _peer = PeerPart.Joining;
            return true;
        }
    }

    /// <summary>The session is over. A peer that may be a member keeps its part: what waits for it is held until <see cref="PeerOut"/>.</summary>
    /// <returns>True if the peer may be a member.</returns>
    public bool SessionEnded(SourceSession session, string reason)
    {
        bool member;
        lock (_gate)
        {
            _waitingFor = reason;
            if (_session != session)
                return _peer == PeerPart.Member;
            _session = null;
            _mirrorsMutations = _mirrorsWrites = false;
            member = _peer == PeerPart.Member;
            if (!member)
                LosePeer();
            WakeAll();
        }
        DeliverEnded();
        return member;
    }

    /// <summary>No session could be had.</summary>
    /// <returns>True if the peer may be a member.</returns>
    public bool NotReached(string reason)
    {
        lock (_gate)
        {
            _waitingFor = reason;
            return _peer == PeerPart.Member;
        }
    }

    /// <summary>The peer is out of the record, confirmed: what it may lack is marked, what waited for it is released.</summary>
    public void PeerOut()
    {
        lock (_gate)
        {
            _session = null;
            _mirrorsMutations = _mirrorsWrites = false;
            _waitingFor = null;
            LosePeer();
            WakeAll();
        }
        DeliverEnded();
    }

    /// <summary>Needs the gate.</summary>
    private void LosePeer()
    {
        _peer = PeerPart.Out;
        for (var slot = 0; slot < _flushTokens.Length; slot++)
        {
            if (_flushTokens[slot] is { } token)
            {
                _marks.EndFlush(token, onBoth: false);
                _flushTokens[slot] = null;
            }
        }
        _marks.PeerLost();
        _ledger.PeerConfirmedOut();
    }

    public void SetEpoch(long epoch)
    {
        SourceSession? session;
        lock (_gate)
        {
            if (epoch <= _epoch)
                return;
            _epoch = epoch;
            session = _session;
        }
        session?.Link.Send(FrameKind.EpochChanged, FrameFlags.None, epoch, 0, 0, 0, default);
    }

    /// <returns>False: the peer acknowledges what was never sent.</returns>
    public bool PeerApplied(SourceSession session, ulong upTo)
    {
        lock (_gate)
        {
            if (_session != session)
                return true;
            if (!_ledger.Applied(upTo))
                return false;
            WakeAll();
        }
        DeliverEnded();
        return true;
    }

    public bool PeerFlushed(SourceSession session, ulong sequence, long slot)
    {
        lock (_gate)
        {
            if (_session != session)
                return true;
            if (slot is < 0 or > int.MaxValue || !_ledger.Flushed(sequence, (int)slot))
                return false;
        }
        DeliverEnded();
        return true;
    }

    /// <summary>How much the peer owes: frames sent, frames applied, bytes of frames not applied.</summary>
    public (ulong Sent, ulong Applied, long UnacknowledgedBytes) Progress()
    {
        lock (_gate)
            return (_ledger.LastSent, _ledger.LastApplied, _ledger.UnacknowledgedBytes);
    }

    public void Freeze()
    {
        lock (_gate)
        {
            _frozen = true;
            _ledger.Hold = true;
        }
    }

    /// <summary>Ends a freeze and a quiesce.</summary>
    public void Unfreeze()
    {
        lock (_gate)
        {
            _frozen = _quiescing = false;
            _ledger.Hold = false;
            WakeAll();
        }
        DeliverEnded();
    }

    /// <summary>Holds new operations; then, when those that have entered are done, flushes on both hosts.</summary>
    /// <returns>True when all is stable; false if the volume was shut or opened again before.</returns>
    public bool Quiesce()
    {
        lock (_gate)
        {
            _quiescing = true;
            while (_ledger.GuestCount > 0 && _quiescing && !_stopping)
                Wait();
            if (!_quiescing || _stopping)
                return false;
        }
        return FlushEverything(withPeer: false) is { ErrorNumber: 0 };
    }

    /// <summary>A flush of the volume by the engine itself, on the peer too if acknowledgements need it.</summary>
    /// <param name="withPeer">On the peer even if they do not.</param>
    public FlushOutcome FlushEverything(bool withPeer)
    {
        var done = new TaskCompletionSource<FlushOutcome>(TaskCreationOptions.RunContinuationsAsynchronously);
        int slot;
        lock (_gate)
        {
            while ((slot = _ledger.Enter(OperationKind.Flush, guest: false, 0, 0, 0, 0, 0, 0)) < 0)
            {
                if (_stopping)
                    return new FlushOutcome(Errno.EIO, false);
                Wait();
            }
            _internalFlushes[slot] = done;
        }
        RunFlush(slot, 0, dataOnly: false, withPeer);
        return done.Task.GetAwaiter().GetResult();
    }

    /// <summary>Ends every operation with EIO, those that are held included, and waits for local disk calls that run.</summary>
    public void Stop()
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        lock (_gate)
        {
            _stopping = true;
            _session = null;
            _mirrorsMutations = _mirrorsWrites = false;
            _marks.PeerLost();
            Monitor.PulseAll(_gate);
        }
        while (true)
        {
            lock (_gate)
            {
                _ledger.Hold = false;
                _ledger.EndAll(Errno.EIO);
            }
            DeliverEnded();
            lock (_gate)
            {
                if (_ledger.Count == 0)
                    return;
                var left = StopDeadline - clock.Elapsed;
                if (left <= TimeSpan.Zero)
                    break;
                _waiters++;
                Monitor.Wait(_gate, TimeSpan.FromMilliseconds(Math.Min(100, left.TotalMilliseconds)));
                _waiters--;
            }
        }
        RaiseLocalFault($"local operations did not end within {StopDeadline.TotalSeconds:0} s");
    }

    /// <summary>After <see cref="Stop"/>, and when no session runs: stores the marks for the next session and lets the local copy go.</summary>
    public void Close()
    {
        try
        {
            _marks.Close();
        }
        catch (StorageException e)
        {
            RaiseLocalFault($"the marks could not be stored: {e.Message}");
        }
        _store.Dispose();
    }

    public ReplicationStatus Status(SourceSession? session)
    {
        lock (_gate)
        {
            var resync = session?.Resync;
            return new ReplicationStatus(
                _session is not null, resync is { Running: true }, resync is { Full: true }, _marks.DirtyBytes, resync?.TotalBytes ?? 0,
                resync?.DoneBytes ?? 0, resync?.BytesPerSecond ?? 0, _ledger.HeldCount + _waiters, _replicatedBytes, _replicatedOperations,
                WaitingFor());
        }
    }

    /// <summary>Needs the gate.</summary>
    private string? WaitingFor() =>
        _frozen ? "frozen: no right to execute"
        : _quiescing ? "quiescing: operations are held"
        : _peer == PeerPart.Member && _session is null ? $"the peer or the record: {_waitingFor ?? "no session yet"}"
        : _marks.WaitingFor ?? _waitingFor;

    /// <summary>This copy has failed: nothing of it counts as stable any more.</summary>
    private bool HasFault => Volatile.Read(ref _faults) != 0;

    public void RaiseLocalFault(string reason)
    {
        // One report is enough: the role machine gives up this primacy.
        if (Interlocked.Exchange(ref _faults, 1) == 0)
            ThreadPool.QueueUserWorkItem(static state => state.Events.LocalFault(state.Reason), (_options.Events, Reason: reason), preferLocal: false);
    }
}

/// <summary>How a flush ended, and whether the peer has confirmed it.</summary>
internal readonly record struct FlushOutcome(int ErrorNumber, bool PeerConfirmed);
