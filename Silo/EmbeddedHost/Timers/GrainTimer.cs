using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// A timer whose ticks are turns of its activation. The system timer is one-shot and is armed again at the end of each
/// tick, so at most one tick of a timer is waiting or running. <see cref="_gate"/> owns the state.
/// </summary>
internal sealed class GrainTimer : IGrainTimer
{
    private readonly Lock _gate = new();
    private readonly Activation _activation;
    private readonly Func<CancellationToken, Task> _callback;
    private readonly CancellationTokenSource _stop = new();
    private readonly ITimer _timer;
    private TimeSpan _period;
    private TimeSpan? _changedDueTime;
    private bool _ticking;
    private bool _disposed;

    public GrainTimer(Activation activation, Func<CancellationToken, Task> callback, GrainTimerCreationOptions options)
    {
        Validate(options.DueTime, options.Period);
        _activation = activation;
        _callback = callback;
        _period = options.Period;
        Interleave = options.Interleave;
        KeepAlive = options.KeepAlive;
        using (CleanFlow.Enter())
            _timer = activation.Runtime.Time.CreateTimer(static timer => ((GrainTimer)timer!).Fire(), this, options.DueTime, Timeout.InfiniteTimeSpan);
    }

    public bool Interleave { get; }

    public bool KeepAlive { get; }

    public void Change(TimeSpan dueTime, TimeSpan period)
    {
        Validate(dueTime, period);
        lock (_gate)
        {
            _period = period;
            if (_ticking)
                _changedDueTime = dueTime;
            else if (!_disposed)
                _timer.Change(dueTime, Timeout.InfiniteTimeSpan);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
                return;
            _disposed = true;
        }

        _timer.Dispose();
        _stop.Cancel();
        _activation.RemoveTimer(this);
    }

    public async Task TickAsync()
    {
        try
        {
            if (!_stop.IsCancellationRequested)
                await _callback(_stop.Token);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The tick obeyed the disposal of its timer.
        }
        catch (Exception exception)
        {
            _activation.Runtime.Logger.LogWarning(exception, "A timer tick of {Grain} failed; the timer goes on.", _activation.GrainId);
        }
        finally
        {
            Rearm();
        }
    }

    private void Fire()
    {
        lock (_gate)
        {
            if (_disposed)
                return;
            _ticking = true;
        }

        if (!_activation.TryReceiveTick(new TimerTurn(this)))
            Rearm();
    }

    private void Rearm()
    {
        lock (_gate)
        {
            _ticking = false;
            var dueTime = _changedDueTime ?? _period;
            _changedDueTime = null;
            if (!_disposed)
                _timer.Change(dueTime, Timeout.InfiniteTimeSpan);
        }
    }

    // The bounds are those of System.Threading.Timer: -1 ms (never) to 0xfffffffe ms.
    private static void Validate(TimeSpan dueTime, TimeSpan period)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan((long)dueTime.TotalMilliseconds, -1, nameof(dueTime));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)dueTime.TotalMilliseconds, 0xfffffffe, nameof(dueTime));
        ArgumentOutOfRangeException.ThrowIfLessThan((long)period.TotalMilliseconds, -1, nameof(period));
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)period.TotalMilliseconds, 0xfffffffe, nameof(period));
    }
}
