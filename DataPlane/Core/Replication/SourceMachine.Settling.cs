namespace Pollux.DataPlane.Core.Replication;

// A guest that never flushes would keep every extent it has ever written active, and a crash would have them all copied. So the engine flushes by
// itself, on both hosts, what has been unflushed for a while and no guest is in the way of. The same proves what the last flush of a burst
// has confirmed (UnprovenFlushes), as soon as the module is quiet, or before there is no room for more of it. What is settled and was not
// used for a while leaves the activity log.
public sealed partial class SourceMachine
{
    /// <summary>Nothing was asked for so long: the module is quiet. A guest that flushes now and then is not, so it gets no more flushes than its own.</summary>
    private const long QuietMs = 1_000;

    /// <summary>A guest that is never quiet waits for a flush of everything this many times as seldom.</summary>
    private const int BusyFactor = 4;

    private bool _settlingFlushes;
    private long _trimmedMs;
    private long _settledMs;
    private long _quietSinceMs;
    private long _quietOperation;

    private bool MaySettle =>
        _phase == SessionPhase.Up && _peer == PeerPart.Member && _resync is ResyncStep.None or ResyncStep.Done && IsOpen && !_stopping && !_fault && !_settlingFlushes;

    private void WatchSettling()
    {
        if (_quietOperation != _operationNumber || _ledger.GuestCount > 0)
            (_quietOperation, _quietSinceMs) = (_operationNumber, _nowMs);
        if (_nowMs - _trimmedMs >= _options.SettleAfterMs)
        {
            _trimmedMs = _nowMs;
            _marks.Trim();
        }
        var map = _marks.Map;
        if (!MaySettle || map is { UnflushedBytes: 0, UnprovenPages: 0 })
        {
            _settledMs = _nowMs;
            return;
        }
        var unsettledMs = _nowMs - _settledMs;
        var quiet = _nowMs - _quietSinceMs >= QuietMs;
        var due = quiet && map.UnflushedBytes == 0
            || unsettledMs >= _options.SettleAfterMs * (quiet ? 1 : BusyFactor)
            || map.UnprovenPages > UnprovenFlushes.PagesMax / 2 && unsettledMs >= QuietMs;
        if (due && TryFlushEverything(Purpose.SettlingFlush, withPeer: false))
            (_settlingFlushes, _changed) = (true, true);
    }
}
