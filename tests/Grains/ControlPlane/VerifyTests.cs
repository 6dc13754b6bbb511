using Pollux.Grains.Abstractions;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class VerifyTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Fact]
    public async Task A_verify_is_offered_to_the_primary_of_its_time_and_can_be_stopped()
    {
        var (pair, module, record) = await MirroredAsync();
        var operation = Guid.NewGuid();
        Assert.Null((await module.VerifyAsync(operation, repair: true, 5_000_000)).Problem);
        Assert.Null((await module.VerifyAsync(operation, repair: true, 5_000_000)).Problem);
        var wish = new VerifyWish(operation, pair.A.Key, true, 5_000_000, Stop: false);
        Assert.Equal(wish, Assert.Single((await pair.A.DesiredAsync()).Modules).Verify);
        Assert.True((await module.ArbitrateAsync(pair.Call(pair.A, "handover", record))).Granted);
        Assert.Equal(pair.A.Key, Assert.Single((await pair.B.DesiredAsync()).Modules).Verify!.Host);
        Assert.Null((await module.StopVerifyAsync()).Problem);
        Assert.Equal(wish with { Stop = true }, Assert.Single((await pair.A.DesiredAsync()).Modules).Verify);
    }

    [Fact]
    public async Task A_second_verify_is_refused_while_the_primary_says_that_one_runs()
    {
        var (pair, module, _) = await MirroredAsync();
        var operation = Guid.NewGuid();
        Assert.Null((await module.VerifyAsync(operation, repair: false, 0)).Problem);
        await pair.A.SayAsync(order => Primary(order, operation, "running"));
        Assert.Equal("verify.open", (await module.VerifyAsync(Guid.NewGuid(), repair: false, 0)).Problem!.Code);
        await pair.A.SayAsync(order => Primary(order, operation, "completed"));
        Assert.Null((await module.VerifyAsync(Guid.NewGuid(), repair: false, 0)).Problem);
    }

    [Fact]
    public async Task A_verify_needs_a_mirrored_module_and_a_limit_that_is_one()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        Assert.Equal("verify.not-running", (await module.VerifyAsync(Guid.NewGuid(), false, 0)).Problem!.Code);
        Assert.Equal("verify.none", (await module.StopVerifyAsync()).Problem!.Code);
        await module.SetRunAsync(true);
        await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        Assert.Equal("verify.not-mirrored", (await module.VerifyAsync(Guid.NewGuid(), false, 0)).Problem!.Code);
        Assert.Equal("verify.limit", (await module.VerifyAsync(Guid.NewGuid(), false, -1)).Problem!.Code);
    }

    [Fact]
    public async Task Limits_of_a_resync_are_policy_of_the_module_on_both_hosts()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        Assert.Null(Assert.Single((await pair.A.DesiredAsync()).Modules).Spec.Resync);
        var limits = new ResyncPolicy(10_000_000, 50_000_000);
        Assert.Null((await module.SetResyncLimitsAsync(limits)).Problem);
        Assert.Equal(limits, Assert.Single((await pair.A.DesiredAsync()).Modules).Spec.Resync);
        Assert.Equal(limits, Assert.Single((await pair.B.DesiredAsync()).Modules).Spec.Resync);
        Assert.Equal("resync.limits", (await module.SetResyncLimitsAsync(new ResyncPolicy(10, 5))).Problem!.Code);
        Assert.Equal("resync.limits", (await module.SetResyncLimitsAsync(new ResyncPolicy(-1, 0))).Problem!.Code);
        Assert.Equal(limits, (await module.ReadAsync()).Spec!.Resync);
    }

    private static ModuleReport Primary(ModuleOrder order, Guid operation, string state) => PlayedHost.Report(order) with
    {
        Role = "PRIM", Verify = new VerifyReport(operation, state, false, 1, null, null, 0, 10, 5, 0, 0, 0, 2, 1, 0, false, false, [], 0),
    };

    private async Task<(Pair, IMirrorModuleGrain, RecordView)> MirroredAsync()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        await module.SetRunAsync(true);
        var alone = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        return (pair, module, (await module.ArbitrateAsync(pair.Call(pair.A, "join", alone.Record!))).Record!);
    }
}
