namespace Pollux.DataPlane.Core.Replication;

// What operators see, and the end of the machine.
public sealed partial class SourceMachine
{
    private long _stopDueMs;
    private long _closingCheckpoint;
    private bool _logEmptied;
    private bool _stopped;

    public EngineStatus Status
    {
        get
        {
            var rate = _resyncRate.BytesPerSecond(_nowMs);
            var leftBytes = _resyncTotalBytes - _resyncDoneBytes;
            return new EngineStatus(
                _link != 0, _marks.Map.DirtyBytes, _marks.Map.UnflushedBytes, _ledger.HeldCount + _waiting.Count + _admissionCount, _replicatedBytes,
                _replicatedOperations, 0, WaitingFor)
            {
                Resync = new ResyncStatus(
                    _resync is not (ResyncStep.None or ResyncStep.Done), _resyncFull, _resyncResumed, StepText, _resyncTotalBytes, _resyncDoneBytes,
                    _resyncSkippedBytes, rate, rate > 0 ? leftBytes / rate : null)
                {
                    BytesPerSecondMin = _resyncBytesPerSecondMin, BytesPerSecondMax = _resyncLimit.BytesPerSecondMax, SentBytes = _resyncSentBytes,
                    BelowMinimumMs = _resyncSlowSinceMs > 0 ? _nowMs - _resyncSlowSinceMs : 0,
                },
                Verify = VerifyStatusNow,
            };
        }
    }

    private string? WaitingFor =>
        _stopping ? "being shut"
        : _frozen ? "frozen: no right to execute"
        : _quiescing ? "quiescing: operations are held"
        : _peer == PeerPart.Member && _link == 0 ? $"the peer or the record: {_waitingFor ?? "no session yet"}"
        : _marks.WaitingFor ?? (_roomShort ? "the peer: the link takes no more data at the moment" : SlowPeer ?? _waitingFor);

    /// <summary>The limits of what may be unacknowledged (<see cref="WriteLedger"/>) hold operations back, or nothing is acknowledged for a while.</summary>
    private string? SlowPeer =>
        _link != 0 && _ledger.LastSent > _ledger.LastApplied && (_admissionCount > 0 || _nowMs - _progressMs > 2 * WatchIntervalMs)
            ? $"the peer: it is slow, and owes acknowledgements of {_ledger.LastSent - _ledger.LastApplied} frames ({_ledger.UnacknowledgedBytes} bytes)"
            : null;

    /// <summary>When nothing runs any more, the marks are stored for the next session, which then needs no suspicion of the log's extents.</summary>
    private void AdvanceStop()
    {
        if (!_stopping || _stopped)
            return;
        if (_nowMs > _stopDueMs)
        {
            // The files stay as they are, as after a crash: extents of writes that hang are in the log.
            RaiseLocalFault($"local operations did not end within {_options.StopDeadlineMs} ms");
            End();
        }
        else if (_ledger.Count > 0 || _manifestRuns || _idsRequested || _verify.Describes)
        {
            return;
        }
        else if (_fault || _marks.Failure is not null)
        {
            // The files stay as they are, as after a crash: what a failed disk called stable shortly before may be lost.
            if (_marks.Idle)
                End();
        }
        else if (_closingCheckpoint == 0)
        {
            _closingCheckpoint = _marks.AskCheckpoint();
        }
        else if (_marks.CheckpointsStored >= _closingCheckpoint && _marks.Idle && !_logEmptied)
        {
            _logEmptied = true;
            _marks.EmptyLog();
        }
        else if (_logEmptied && _marks.Idle)
        {
            End();
        }
    }

    private void End()
    {
        _stopped = true;
        _effects.Stopped();
    }
}
