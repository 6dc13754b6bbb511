using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class ForceTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Fact]
    public async Task With_the_word_that_the_other_host_is_off_an_outdated_copy_is_declared_to_be_the_module()
    {
        var (pair, module, left) = await LeftOutAsync();
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { Role = "ALONE", Replication = new ReplicationReport(false, false, false, 4_096, 0, 0, 0, 0, null) });
        await SayOutdatedAsync(pair);
        Assert.Equal("force.other-connected", (await module.ForceAsync("b", left.Epoch)).Problem!.Code);
        await pair.A.CloseAsync();
        // Away from the control plane only: the other one hears it still.
        Assert.Equal("force.other-connected", (await module.ForceAsync("b", left.Epoch)).Problem!.Code);
        pair.B.HearsPeer = false;
        await SayOutdatedAsync(pair);

        var preview = (await module.PreviewForceAsync("b"))!;
        Assert.Equal((pair.B.Key, pair.A.Key, left.Epoch, "Outdated", left.Epoch, 4_096L, null as Problem),
            (preview.Host, preview.Other, preview.Epoch, preview.DataState, preview.LeftEpoch!.Value, preview.OtherMarkedBytes!.Value, preview.WhyNot));
        Assert.InRange(preview.LeftUnixMs!.Value, 1, preview.OtherSeenUnixMs);

        Assert.Equal("force.record-moved", (await module.ForceAsync("b", left.Epoch - 1)).Problem!.Code);
        Assert.Null((await module.ForceAsync("b", left.Epoch)).Problem);
        Assert.Null((await module.ForceAsync("b", left.Epoch)).Problem); // Repeated: the same.
        var order = Assert.Single((await pair.B.DesiredAsync()).Modules);
        Assert.Equal((left.Epoch + 1, pair.B.Key, pair.B.Key), (order.Record.Epoch, order.Record.Primary!, order.Record.Declared!));
        Assert.Equal(pair.B.Key, Assert.Single(order.Record.InSync));
        Assert.Single((await module.ReadAsync()).History, entry => entry.Change == "force-promote");

        // What the other host asked before is void; the declared one takes over as any host does.
        Assert.False((await module.ArbitrateAsync(pair.Call(pair.A, "takeover", left))).Granted);
        var taken = await module.ArbitrateAsync(pair.Call(pair.B, "takeover", order.Record));
        Assert.Equal((true, null as string), (taken.Granted, taken.Record!.Declared));
    }

    [Fact]
    public async Task Nothing_is_declared_without_need_or_of_a_copy_that_is_torn_or_not_seen()
    {
        var (pair, module, left) = await LeftOutAsync();
        await pair.A.CloseAsync();
        await pair.B.CloseAsync();
        Assert.Equal("force.host-silent", (await module.PreviewForceAsync("b"))!.WhyNot!.Code);
        await pair.B.ConnectAsync();
        pair.A.HearsPeer = pair.B.HearsPeer = false;
        await pair.B.SayAsync(order => PlayedHost.Report(order) with { Role = "WAIT", DataState = "Inconsistent" });
        Assert.Equal("force.copy-torn", (await module.ForceAsync("b", left.Epoch)).Problem!.Code);
        Assert.Equal("place.foreign", (await module.PreviewForceAsync("c"))!.WhyNot!.Code);
        await pair.A.ConnectAsync();
        await pair.A.SayAsync(PlayedHost.Report);
        await pair.B.CloseAsync();
        Assert.Equal("force.not-needed", (await module.PreviewForceAsync("a"))!.WhyNot!.Code);
    }

    [Fact]
    public async Task A_member_that_has_promised_to_leave_may_be_declared()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var record = await MirroredAsync(pair, module);
        await pair.A.CloseAsync();
        pair.B.HearsPeer = false;
        await pair.B.SayAsync(order => PlayedHost.Report(order) with { Role = "WAIT", Code = "wait.left" });
        Assert.Null((await module.PreviewForceAsync("b"))!.WhyNot);
        Assert.Null((await module.ForceAsync("b", record.Epoch)).Problem);
    }

    private static Task SayOutdatedAsync(Pair pair) => pair.B.SayAsync(order => PlayedHost.Report(order) with { Role = "WAIT", DataState = "Outdated", Code = "wait.not-in-sync" });

    /// <summary>a runs alone; b has been left out.</summary>
    private async Task<(Pair Pair, IMirrorModuleGrain Module, RecordView Record)> LeftOutAsync()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var both = await MirroredAsync(pair, module);
        return (pair, module, (await module.ArbitrateAsync(pair.Call(pair.A, "exclude", both))).Record!);
    }

    private static async Task<RecordView> MirroredAsync(Pair pair, IMirrorModuleGrain module)
    {
        await module.SetRunAsync(true);
        var record = (await module.ReadAsync()).Record!;
        record = (await module.ArbitrateAsync(pair.Call(pair.A, "takeover", record))).Record!;
        return (await module.ArbitrateAsync(pair.Call(pair.A, "join", record))).Record!;
    }
}
