using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

public sealed class TurnTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    private Probe Probe => host.Probe;

    [Fact]
    public async Task A_call_that_awaits_holds_off_the_next_one()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITurnsGrain>(key);
        var first = grain.WorkAsync($"{key} first", $"{key} go");
        await Probe.WaitAsync($"{key} first starts");
        var second = grain.WorkAsync($"{key} second", $"{key} go");
        await grain.PeekAsync();
        Probe.Signal($"{key} go");
        await Task.WhenAll(first, second);
        Assert.Equal(["first starts", "first ends", "second starts", "second ends"], LogOf(key));
    }

    [Fact]
    public async Task Turns_never_overlap_even_when_they_yield()
    {
        var grain = host.Grains.GetGrain<ITurnsGrain>(SemanticsHost.NewKey());
        var sums = await Task.WhenAll(Enumerable.Range(0, 200).Select(_ => grain.AddSlowlyAsync()));
        Assert.Equal(Enumerable.Range(1, 200), sums.Order());
    }

    [Fact]
    public async Task Continuations_stay_in_the_turn_and_Task_Run_leaves_it()
    {
        var grain = host.Grains.GetGrain<ITurnsGrain>(SemanticsHost.NewKey());
        Assert.Equal("default:False yield:True Task.Run:False after:True", await grain.WhereDoIRunAsync());
    }

    [Fact]
    public async Task Read_only_calls_run_side_by_side()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITurnsGrain>(key);
        await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => grain.LookTogetherAsync(key, 3)));
    }

    [Fact]
    public async Task A_read_only_call_waits_for_one_that_writes()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITurnsGrain>(key);
        var write = grain.WorkAsync($"{key} write", $"{key} go");
        await Probe.WaitAsync($"{key} write starts");
        var look = grain.LookAsync($"{key} look", $"{key} go");
        await grain.PeekAsync();
        Probe.Signal($"{key} go");
        await Task.WhenAll(write, look);
        Assert.Equal(["write starts", "write ends", "look starts", "look ends"], LogOf(key));
    }

    [Fact]
    public async Task An_always_interleaving_call_passes_one_that_awaits()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITurnsGrain>(key);
        var work = grain.WorkAsync($"{key} work", $"{key} go");
        await Probe.WaitAsync($"{key} work starts");
        Assert.Equal(key, await grain.PeekAsync());
        Assert.False(work.IsCompleted);
        Probe.Signal($"{key} go");
        await work;
    }

    [Fact]
    public async Task Calls_of_a_reentrant_class_interleave()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<IReentrantGrain>(key);
        await Task.WhenAll(grain.MeetAsync(key, 2), grain.MeetAsync(key, 2));
    }

    [Fact]
    public async Task A_one_way_call_returns_before_it_has_run()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ITurnsGrain>(key);
        await grain.TellAsync($"{key} tell", $"{key} go");
        Probe.Signal($"{key} go");
        await Probe.WaitAsync($"{key} tell ends");
    }

    private string[] LogOf(string key) =>
        Probe.Log.Where(entry => entry.StartsWith(key, StringComparison.Ordinal)).Select(entry => entry[(key.Length + 1)..]).ToArray();
}
