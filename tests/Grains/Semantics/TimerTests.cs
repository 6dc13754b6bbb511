using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

public sealed class TimerTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    private Probe Probe => host.Probe;

    [Fact]
    public async Task A_timer_does_not_tick_while_a_call_awaits()
    {
        var key = SemanticsHost.NewKey();
        Assert.Equal(0, await host.Grains.GetGrain<ITimersGrain>(key).TicksWhileBusyAsync());
        await Probe.WaitAsync($"{key} ticked after the call");
    }

    [Fact]
    public async Task A_timer_goes_on_after_a_tick_that_throws()
    {
        var key = SemanticsHost.NewKey();
        await host.Grains.GetGrain<ITimersGrain>(key).StartFlawedAsync();
        await Probe.WaitAsync($"{key} third tick");
    }

    [Fact]
    public async Task A_timer_with_an_infinite_period_ticks_once_per_change()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITimersGrain>(key);
        await grain.StartOnceAsync();
        await Probe.WaitAsync($"{key} once more");
        Assert.Equal(2, await grain.TicksAfterRoundAsync("once"));
    }

    [Fact]
    public async Task A_disposed_timer_ticks_no_more_and_its_token_is_cancelled()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITimersGrain>(key);
        await grain.StartSelfEndingAsync();
        await Probe.WaitAsync($"{key} self-ended");
        Assert.Equal(2, await grain.TicksAfterRoundAsync("self-ending"));
        Assert.Contains($"{key} cancelled:True", Probe.Log);
    }

    [Fact]
    public async Task Timers_end_with_their_activation()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITimersGrain>(key);
        await grain.StartFlawedAsync();
        await Probe.WaitAsync($"{key} third tick");
        await grain.DeactivateAsync();
        var afterEnd = await grain.TicksAfterRoundAsync("flawed");
        Assert.Equal(afterEnd, Probe.CountOf($"{key} flawed"));
    }
}
