using System.Diagnostics;

namespace Pollux.Lab;

/// <summary>Waits for something that real processes do, with a deadline and a reason.</summary>
public static class Eventually
{
    /// <summary>The pause between two looks: long enough to leave the two cores of a small machine to the lab.</summary>
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    /// <summary>Looks until <paramref name="look"/> returns something, and returns it.</summary>
    /// <exception cref="LabException">The deadline passed; the message ends with what was last seen.</exception>
    public static async Task<T> GetAsync<T>(
        string what, TimeSpan deadline, Func<Task<T?>> look, Func<string>? lastSeen = null, TimeSpan? pause = null) where T : class
    {
        var watch = Stopwatch.StartNew();
        for (; ; )
        {
            if (await look() is { } found)
                return found;
            if (watch.Elapsed > deadline)
                throw new LabException(
                    $"Not within {deadline.TotalSeconds:0.#} s: {what}.{(lastSeen is null ? "" : $" Last seen: {lastSeen()}")}");
            await Task.Delay(pause ?? Pause);
        }
    }

    public static Task TrueAsync(
        string what, TimeSpan deadline, Func<Task<bool>> look, Func<string>? lastSeen = null, TimeSpan? pause = null) =>
        GetAsync(what, deadline, async () => await look() ? what : null, lastSeen, pause);

    public static Task TrueAsync(string what, TimeSpan deadline, Func<bool> look, Func<string>? lastSeen = null) =>
        GetAsync(what, deadline, () => Task.FromResult(look() ? what : null), lastSeen);
}
