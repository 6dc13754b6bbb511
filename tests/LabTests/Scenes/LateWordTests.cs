using Pollux.Lab;
using Pollux.Lab.Machines;

namespace Pollux.Tests.Lab.Scenes;

/// <summary>Requests that are decided late, answers that are lost, hosts and a witness that are frozen. The exact moments are those of
/// CounterexampleScenarios in tests/Simulation; here is the nearest thing that real processes can be made to do.</summary>
[Collection(PairCollection.Name)]
public sealed class LateWordTests(PairStage stage)
{
    [LabFact]
    public async Task Frozen_primary_with_its_vm_thawed_after_takeover()
    {
        var scene = await stage.ReadyAsync();
        var since = DateTimeOffset.UtcNow;
        var (dataPlane, vm) = (scene.Pair.DataPlanes[scene.Primary.Name], scene.VmOn(scene.Primary)!.Value);
        Signals.Send(vm, Signals.Stop);
        await dataPlane.FreezeAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        dataPlane.Thaw();
        // As a hypervisor that stalled would; the guard has killed it by then, or does at once.
        if (scene.VmOn(scene.Primary) is not null)
            Signals.Send(vm, Signals.Continue);
        await Eventually.TrueAsync("the deposed host has ended its VM", SceneSteps.DecidedMax, () => scene.VmOn(scene.Primary) is null);
        await scene.JudgeRunningAsync();
    }

    /// <summary>The nearest to joined-but-not-told-source-dies and join-lands-late-link-cut: a host asks only right after an answer of the
    /// witness, so that the answer to a join alone cannot be cut off. What happens, happens as soon as the record names both.</summary>
    [LabFact]
    [Trait("Length", "Long")]
    public async Task Joined_but_not_told_source_dies_and_join_lands_late_link_cut()
    {
        var scene = await stage.ReadyAsync();
        await JoinAsync(scene);
        var since = await scene.Primary.PowerOffAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);

        scene = await stage.ReadyAsync();
        await JoinAsync(scene);
        await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name);
        await scene.WritesSomewhereAsync();
        await (await stage.ReadyAsync()).JudgeAsync();
    }

    /// <summary>The witness stands still while the handover is asked for, and decides when the pair is parted.</summary>
    [LabFact]
    public async Task Swap_request_late_then_peer_excludes()
    {
        var scene = await stage.ReadyAsync();
        (await scene.Pair.CliAsync("module", "swap", scene.Module.Key)).OrThrow();
        await Eventually.TrueAsync("the VM is stopped", SceneSteps.DecidedMax, () => scene.VmOn(scene.Primary) is null);
        await scene.Pair.Server.FreezeAsync();
        await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name);
        await Task.Delay(SceneSteps.Detection);
        scene.Pair.Server.Thaw();
        await scene.WritesSomewhereAsync();
        await (await stage.ReadyAsync()).JudgeRunningAsync();
    }

    [LabFact]
    [Trait("Length", "Long")]
    public async Task Swap_with_the_peer_dying_at_its_steps()
    {
        foreach (var step in new[] { "it is asked", "the VM is stopped", "it is handed over" })
        {
            var scene = await stage.ReadyAsync();
            var epoch = await scene.EpochAsync();
            var peer = scene.Pair.DataPlanes[scene.Secondary.Name];
            (await scene.Pair.CliAsync("module", "swap", scene.Module.Key)).OrThrow();
            if (step == "the VM is stopped")
                await Eventually.TrueAsync(step, SceneSteps.DecidedMax, () => scene.VmOn(scene.Primary) is null);
            else if (step == "it is handed over")
                await scene.Module.WaitForAsync(step, SceneSteps.DecidedMax, status => status.Record!.Epoch > epoch);
            await peer.KillAsync();
            await scene.Module.WaitForAsync($"the former primary runs when the peer died as {step}", SceneSteps.DecidedMax + SceneSteps.DecidedMax,
                status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
            await scene.WritesSomewhereAsync();
        }

        await (await stage.ReadyAsync()).JudgeRunningAsync();
    }

    /// <summary>The witness stands still while the secondary asks to take over; beacons of the primary come again meanwhile.</summary>
    [LabFact]
    public async Task Beacon_during_takeover_request()
    {
        var scene = await stage.ReadyAsync();
        await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Pair.Machines.Control.Name);
        await scene.Network.CutOneWayAsync(scene.Primary.Name, scene.Secondary.Name);
        await Task.Delay(0.9 * SceneSteps.Detection);
        await scene.Pair.Server.FreezeAsync();
        await Task.Delay(0.4 * SceneSteps.Detection);
        await scene.Network.HealBetweenAsync(scene.Primary.Name, scene.Secondary.Name);
        await Task.Delay(0.3 * SceneSteps.Detection);
        scene.Pair.Server.Thaw();
        await scene.WritesSomewhereAsync();
        await (await stage.ReadyAsync()).JudgeRunningAsync();
    }

    /// <summary>The witness stands still, so the record goes on naming a secondary that has left and comes back.</summary>
    [LabFact]
    [Trait("Length", "Long")]
    public async Task Leaver_returns_while_record_stale()
    {
        var scene = await stage.ReadyAsync();
        await scene.Pair.Server.FreezeAsync();
        var leaver = scene.Pair.DataPlanes[scene.Secondary.Name];
        leaver.Terminate();
        await leaver.WaitForEndAsync(SceneSteps.DecidedMax);
        await Task.Delay(SceneSteps.Detection);
        await scene.Pair.StartDataPlaneAsync(scene.Secondary, waitUntilReady: false);
        var since = await scene.Primary.PowerOffAsync();
        await scene.NeverRunsAsync(scene.Secondary, SceneSteps.Detection);
        scene.Pair.Server.Thaw();
        // With all that was acknowledged it may run; with a promise to leave, and writes without it since, it may not: then the other does.
        await scene.Pair.BootAsync(scene.Primary);
        await scene.WritesSomewhereAsync();
        Assert.Contains(scene.Module.Serials.Values, serial => serial.Last?.FirstOutputAt >= since);
        await scene.JudgeAsync();
    }

    /// <summary>The secondary leaves, comes back, is resynced, and is recorded as in sync in this moment.</summary>
    private static async Task JoinAsync(Scene scene)
    {
        await scene.Secondary.PowerOffAsync();
        await scene.AloneAsync(scene.Primary);
        var epoch = await scene.EpochAsync();
        await scene.Pair.BootAsync(scene.Secondary);
        await scene.RecordedInSyncAsync(epoch);
    }
}
