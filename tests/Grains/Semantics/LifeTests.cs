using Orleans.Runtime;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

public sealed class LifeTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    private Probe Probe => host.Probe;

    [Fact]
    public async Task A_deactivation_waits_for_the_running_call_and_later_calls_get_a_new_activation()
    {
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ILifeGrain>(key);
        var ending = grain.EndAfterAsync($"{key} go");
        await Probe.WaitAsync($"{key} asked");
        var next = grain.GenerationAsync();
        Probe.Signal($"{key} go");
        await ending;
        Assert.Equal(2, await next);
        Assert.Equal(
            [$"{key} returns", $"{key} ends: ApplicationRequested"],
            Probe.Log.Where(entry => entry.StartsWith(key, StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Calls_that_race_with_deactivations_run_once_or_are_rejected_before_they_run()
    {
        const int Callers = 16;
        const int CallsEach = 50;
        var key = SemanticsHost.NewKey();
        var grain = host.Grains.GetGrain<ILifeGrain>(key);
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(caller => Task.Run(async () =>
        {
            for (var call = 0; call < CallsEach; call++)
                await UntilAcceptedAsync(() => grain.CountAsync(thenEnd: (caller + call) % 10 == 0));
        })));
        Assert.Equal(Callers * CallsEach, Probe.CountOf($"{key} calls"));
        Assert.Equal(0, Probe.CountOf($"{key} overlaps"));
    }

    /// <summary>Orleans rejects a call that two deactivations in a row have turned away; it has not run then, so the count tells if this is wrong.</summary>
    private static async Task UntilAcceptedAsync(Func<Task> call)
    {
        const int RejectionsMax = 20;
        for (var rejections = 0; ; rejections++)
        {
            try
            {
                await call();
                return;
            }
            catch (OrleansMessageRejectionException) when (rejections < RejectionsMax)
            {
            }
        }
    }

    [Fact]
    public async Task A_failed_activation_fails_the_call_and_the_next_call_tries_again()
    {
        var key = $"flawed-{SemanticsHost.NewKey()}";
        var grain = host.Grains.GetGrain<ILifeGrain>(key);
        var failure = await Assert.ThrowsAnyAsync<Exception>(grain.GenerationAsync);
        Assert.Contains("cannot wake yet", failure.ToString(), StringComparison.Ordinal);
        Assert.Equal(2, await grain.GenerationAsync());
    }

    [Fact]
    public async Task An_idle_activation_is_collected()
    {
        var probe = new Probe();
        await using var own = await OwnHost.StartAsync(probe, options => options.CollectionAge = TimeSpan.FromSeconds(1));
        var grain = own.Grains.GetGrain<ILifeGrain>("idle");
        Assert.Equal(1, await grain.GenerationAsync());
        await probe.WaitAsync("idle ended");
        Assert.Contains("idle ends: ActivationIdle", probe.Log);
        Assert.Equal(2, await grain.GenerationAsync());
    }

    [Fact]
    public async Task A_stop_of_the_host_deactivates_what_is_active()
    {
        var probe = new Probe();
        await using var own = await OwnHost.StartAsync(probe);
        await own.Grains.GetGrain<ILifeGrain>("last").GenerationAsync();
        await own.StopAsync();
        Assert.Contains("last ends: ShuttingDown", probe.Log);
    }
}
