namespace Pollux.Tests.Simulation.Model;

/// <summary>True time, and what is to happen in it. Events of the same millisecond run in the order in which they were planned.</summary>
internal sealed class Schedule
{
    private readonly PriorityQueue<Action, (long AtMs, long Order)> events = new();
    private long order;

    public long NowMs { get; private set; }

    public void At(long atMs, Action action) => events.Enqueue(action, (Math.Max(atMs, NowMs), order++));

    public void After(long delayMs, Action action) => At(NowMs + delayMs, action);

    public void RunUntil(long endMs)
    {
        while (events.TryPeek(out _, out var key) && key.AtMs <= endMs)
        {
            var action = events.Dequeue();
            NowMs = key.AtMs;
            action();
        }

        NowMs = endMs;
    }
}
