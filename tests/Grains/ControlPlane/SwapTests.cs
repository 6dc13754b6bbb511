using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class SwapTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Fact]
    public async Task A_swap_is_offered_to_the_hosts_until_the_record_names_the_peer()
    {
        var (pair, module, record) = await MirroredAsync();
        var operation = Guid.NewGuid();
        Assert.Null((await module.SwapAsync(operation)).Problem);
        Assert.Equal(new CommandOrder(operation, SwapCommand.Kind), Assert.Single((await pair.A.DesiredAsync()).Modules).Command);
        Assert.True((await module.ArbitrateAsync(pair.Call(pair.A, "handover", record))).Granted);
        Assert.True((await EndAsync(module, operation)).Succeeded);
        Assert.Null(Assert.Single((await pair.A.DesiredAsync()).Modules).Command);
    }

    [Fact]
    public async Task A_swap_that_the_primary_gives_up_ends_with_its_reason()
    {
        var (pair, module, _) = await MirroredAsync();
        var operation = Guid.NewGuid();
        await module.SwapAsync(operation);
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { CommandResults = [new CommandReport(operation, false, "The guest did not stop.")] });
        var end = await EndAsync(module, operation);
        Assert.Equal((false, "The guest did not stop."), (end.Succeeded, end.Reason));
    }

    [Fact]
    public async Task Repeating_a_swap_is_harmless_and_a_second_one_is_refused_while_it_goes_on()
    {
        var (_, module, _) = await MirroredAsync();
        var operation = Guid.NewGuid();
        Assert.Null((await module.SwapAsync(operation)).Problem);
        Assert.Null((await module.SwapAsync(operation)).Problem);
        Assert.Equal("module.command-open", (await module.SwapAsync(Guid.NewGuid())).Problem!.Code);
    }

    [Fact]
    public async Task A_swap_without_a_peer_in_sync_is_refused()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        Assert.Equal("module.not-running", (await module.SwapAsync(Guid.NewGuid())).Problem!.Code);
        await module.SetRunAsync(true);
        Assert.Equal("swap.no-primary", (await module.SwapAsync(Guid.NewGuid())).Problem!.Code);
        await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        Assert.Equal("swap.not-in-sync", (await module.SwapAsync(Guid.NewGuid())).Problem!.Code);
    }

    private async Task<(Pair, IMirrorModuleGrain, RecordView)> MirroredAsync()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        await module.SetRunAsync(true);
        var alone = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        return (pair, module, (await module.ArbitrateAsync(pair.Call(pair.A, "join", alone.Record!))).Record!);
    }

    private static Task<CommandEnd> EndAsync(IMirrorModuleGrain module, Guid operation) => Until.FoundAsync(
        async () => (await module.ReadAsync()).CommandEnds.FirstOrDefault(end => end.OperationId == operation), "the swap ended");
}
