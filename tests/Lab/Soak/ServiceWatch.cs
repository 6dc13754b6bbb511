using System.Diagnostics;
using Pollux.Lab.Product;

namespace Pollux.Lab.Soak;

/// <summary>For how long the guest of a module acknowledged nothing: the longest such time since the last question.</summary>
public sealed class ServiceWatch : IAsyncDisposable
{
    private const int PeriodMs = 20;

    private readonly WritingModule _module;
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lock = new();
    private readonly Task _loop;
    private long _progressAt = Stopwatch.GetTimestamp();
    private TimeSpan _longest;

    public ServiceWatch(WritingModule module)
    {
        _module = module;
        _loop = Task.Run(WatchAsync);
    }

    public TimeSpan TakeLongest()
    {
        lock (_lock)
        {
            var longest = Longer(_longest, Stopwatch.GetElapsedTime(_progressAt));
            _longest = TimeSpan.Zero;
            return longest;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        _stop.Dispose();
    }

    private async Task WatchAsync()
    {
        var last = 0ul;
        while (!_stop.IsCancellationRequested)
        {
            if (_module.AcknowledgedMax is var now && now != last)
            {
                last = now;
                lock (_lock)
                {
                    _longest = Longer(_longest, Stopwatch.GetElapsedTime(_progressAt));
                    _progressAt = Stopwatch.GetTimestamp();
                }
            }
            await Task.Delay(PeriodMs, CancellationToken.None);
        }
    }

    private static TimeSpan Longer(TimeSpan one, TimeSpan other) => one > other ? one : other;
}
