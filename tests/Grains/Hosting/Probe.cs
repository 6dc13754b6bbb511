using System.Collections.Concurrent;

namespace Pollux.Tests.Grains.Hosting;

/// <summary>
/// Barriers and a log that test grains and tests share inside the process, so that no test sleeps. Every wait has a
/// deadline, and a wait that ends by it names what did not happen.
/// </summary>
public sealed class Probe
{
    private static readonly TimeSpan WaitMax = TimeSpan.FromSeconds(20);

    private readonly ConcurrentDictionary<string, TaskCompletionSource> _events = new();
    private readonly ConcurrentDictionary<string, int> _counts = new();
    private readonly ConcurrentQueue<string> _log = new();

    public IReadOnlyList<string> Log => [.. _log];

    public void Write(string entry) => _log.Enqueue(entry);

    /// <summary>Lets everybody pass who waits for the event, now or later.</summary>
    public void Signal(string name) => Event(name).TrySetResult();

    public async Task WaitAsync(string name)
    {
        try
        {
            await Event(name).Task.WaitAsync(WaitMax);
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"'{name}' did not happen within {WaitMax}. Log: {string.Join(" | ", Log)}");
        }
    }

    /// <summary>Passes when <paramref name="participants"/> have arrived.</summary>
    public Task MeetAsync(string name, int participants)
    {
        if (Count(name) >= participants)
            Signal(name);
        return WaitAsync(name);
    }

    /// <summary>Counts one up and returns the new number.</summary>
    public int Count(string name) => _counts.AddOrUpdate(name, 1, (_, count) => count + 1);

    public int CountOf(string name) => _counts.GetValueOrDefault(name);

    private TaskCompletionSource Event(string name) =>
        _events.GetOrAdd(name, _ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
}
