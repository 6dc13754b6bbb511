using Orleans;
using Orleans.Runtime;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

[GrainInterfaceType("test.timers"), Alias("test.ITimersGrain")]
public interface ITimersGrain : IGrainWithStringKey
{
    /// <summary>Starts a timer that is due at once, holds the call until another, interleaving, timer has ticked three
    /// times, and returns how often the first has ticked until then.</summary>
    [Alias("TicksWhileBusy")]
    Task<int> TicksWhileBusyAsync();

    /// <summary>A timer whose first tick throws; signals the third.</summary>
    [Alias("StartFlawed")]
    Task StartFlawedAsync();

    /// <summary>A single tick, by an infinite period; then the timer is changed to tick once more.</summary>
    [Alias("StartOnce")]
    Task StartOnceAsync();

    /// <summary>A timer that disposes itself in its second tick.</summary>
    [Alias("StartSelfEnding")]
    Task StartSelfEndingAsync();

    /// <summary>How many ticks the named timer has had, after a round of an unrelated timer.</summary>
    [Alias("TicksAfterRound")]
    Task<int> TicksAfterRoundAsync(string name);

    [Alias("Deactivate")]
    Task DeactivateAsync();
}

[GrainType("test.timers")]
public sealed class TimersGrain(Probe probe) : Grain, ITimersGrain
{
    private static readonly TimeSpan Soon = TimeSpan.FromMilliseconds(5);

    private string Key => this.GetPrimaryKeyString();

    public async Task<int> TicksWhileBusyAsync()
    {
        var busyTicks = 0;
        var ticks = 0;
        this.RegisterGrainTimer(
            () =>
            {
                ticks++;
                probe.Signal($"{Key} ticked after the call");
                return Task.CompletedTask;
            },
            TimeSpan.Zero,
            Soon);
        this.RegisterGrainTimer(
            () =>
            {
                if (++busyTicks == 3)
                    probe.Signal($"{Key} enough");
                return Task.CompletedTask;
            },
            new GrainTimerCreationOptions(Soon, Soon) { Interleave = true });
        await probe.WaitAsync($"{Key} enough");
        return ticks;
    }

    public Task StartFlawedAsync()
    {
        this.RegisterGrainTimer(
            _ =>
            {
                var tick = probe.Count($"{Key} flawed");
                if (tick == 3)
                    probe.Signal($"{Key} third tick");
                return tick == 1 ? throw new InvalidOperationException("flawed tick") : Task.CompletedTask;
            },
            new GrainTimerCreationOptions(Soon, Soon));
        return Task.CompletedTask;
    }

    public Task StartOnceAsync()
    {
        IGrainTimer? timer = null;
        timer = this.RegisterGrainTimer(
            () =>
            {
                if (probe.Count($"{Key} once") == 1)
                    timer!.Change(Soon, Timeout.InfiniteTimeSpan);
                else
                    probe.Signal($"{Key} once more");
                return Task.CompletedTask;
            },
            Soon,
            Timeout.InfiniteTimeSpan);
        return Task.CompletedTask;
    }

    public Task StartSelfEndingAsync()
    {
        IGrainTimer? timer = null;
        timer = this.RegisterGrainTimer(
            token =>
            {
                if (probe.Count($"{Key} self-ending") < 2)
                    return Task.CompletedTask;
                timer!.Dispose();
                probe.Write($"{Key} cancelled:{token.IsCancellationRequested}");
                probe.Signal($"{Key} self-ended");
                return Task.CompletedTask;
            },
            Soon,
            Soon);
        return Task.CompletedTask;
    }

    public async Task<int> TicksAfterRoundAsync(string name)
    {
        var rounds = 0;
        using var round = this.RegisterGrainTimer(
            () =>
            {
                if (++rounds == 4)
                    probe.Signal($"{Key} round after {name}");
                return Task.CompletedTask;
            },
            new GrainTimerCreationOptions(Soon, Soon) { Interleave = true });
        await probe.WaitAsync($"{Key} round after {name}");
        return probe.CountOf($"{Key} {name}");
    }

    public Task DeactivateAsync()
    {
        DeactivateOnIdle();
        return Task.CompletedTask;
    }
}
