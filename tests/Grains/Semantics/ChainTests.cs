using System.Diagnostics;
using Orleans.Runtime;

namespace Pollux.Tests.Grains.Semantics;

public sealed class ChainTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    [Fact]
    public async Task A_call_that_comes_back_to_its_caller_times_out()
    {
        var (first, second) = (SemanticsHost.NewKey(), SemanticsHost.NewKey());
        var grain = host.Grains.GetGrain<IChainGrain>(first);
        var timeout = await Assert.ThrowsAsync<TimeoutException>(() => grain.ThereAndBackAsync(second, allowReentrancy: false));
        Assert.Contains(first, timeout.Message, StringComparison.Ordinal);
        Assert.Contains(second, timeout.Message, StringComparison.Ordinal);
        Assert.Equal(first, await grain.NameAsync());
    }

    [Fact]
    public async Task A_call_that_comes_back_may_enter_where_the_caller_allows_it()
    {
        var (first, second) = (SemanticsHost.NewKey(), SemanticsHost.NewKey());
        var grain = host.Grains.GetGrain<IChainGrain>(first);
        Assert.Equal(first, await grain.ThereAndBackAsync(second, allowReentrancy: true));
    }

    [Fact]
    public async Task Opening_the_call_chain_lets_no_other_call_in()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<IOpenChainGrain>(key);
        var open = grain.HoldOpenAsync($"{key} go");
        await host.Probe.WaitAsync($"{key} open");
        var stranger = grain.EnterAsync();
        Assert.Equal("while open: 0", await grain.PeekAsync());
        host.Probe.Signal($"{key} go");
        Assert.Equal("while open: 0", await open);
        Assert.Equal(1, await stranger);
    }

    [Fact]
    public async Task Request_context_travels_to_the_callee_and_not_back()
    {
        var grain = host.Grains.GetGrain<IChainGrain>(SemanticsHost.NewKey());
        Assert.Equal("callee saw 'from caller', caller has 'from caller'", await grain.PassContextAsync(SemanticsHost.NewKey()));
        Assert.Null(RequestContext.Get("note"));
    }

    [Fact]
    public async Task A_trace_goes_on_through_calls()
    {
        using var source = new ActivitySource("Pollux.Tests.Grains");
        using var listener = new ActivityListener
        {
            ShouldListenTo = _ => true,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
        };
        ActivitySource.AddActivityListener(listener);
        using var activity = source.StartActivity("outside");
        Assert.NotNull(activity);
        var seen = await host.Grains.GetGrain<IChainGrain>(SemanticsHost.NewKey()).TraceOfAsync(SemanticsHost.NewKey());
        Assert.Equal(activity.TraceId.ToString(), seen);
    }
}
