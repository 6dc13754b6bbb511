using Pollux.Lab.Product;

namespace Pollux.Tests.Lab.Scenes;

/// <summary>Cuts of one direction, or of one kind of traffic.</summary>
[Collection(PairCollection.Name)]
public sealed class CutTests(PairStage stage)
{
    [LabFact]
    public async Task Cut_in_one_direction_only_leaves_one_host_running()
    {
        foreach (var fromPrimary in new[] { true, false })
        {
            var scene = await stage.ReadyAsync();
            var (from, to) = fromPrimary ? (scene.Primary, scene.Secondary) : (scene.Secondary, scene.Primary);
            await scene.Network.CutOneWayAsync(from.Name, to.Name);
            await scene.Module.WaitForAsync("one of them runs alone", SceneSteps.DecidedMax, status => status.Hosts!.Any(host => host is { Role: "ALONE", Ready: true }));
            await scene.WritesSomewhereAsync();
        }

        await (await stage.ReadyAsync()).JudgeRunningAsync();
    }

    [LabFact]
    [Trait("Length", "Long")]
    public async Task One_way_cut_and_arbiter_away_must_fail_over()
    {
        foreach (var fromPrimary in new[] { true, false })
        {
            var scene = await stage.ReadyAsync();
            var since = DateTimeOffset.UtcNow;
            var (from, to) = fromPrimary ? (scene.Primary, scene.Secondary) : (scene.Secondary, scene.Primary);
            await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Pair.Machines.Control.Name);
            await scene.Network.CutOneWayAsync(from.Name, to.Name);
            await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        }

        await (await stage.ReadyAsync()).JudgeRunningAsync();
    }

    [LabFact]
    public async Task Replication_dead_beacons_alive_and_the_reverse()
    {
        var scene = await stage.ReadyAsync();
        var boots = scene.Boots();
        await scene.Network.CutTcpAsync(scene.Primary.Name, scene.Secondary.Name, PolluxPair.ReplicationPort);
        await scene.AloneAsync(scene.Primary);
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 50);
        Assert.Equal(boots, scene.Boots());

        scene = await stage.ReadyAsync();
        await scene.Network.CutTcpAsync(scene.Primary.Name, scene.Secondary.Name, PolluxPair.BeaconPort);
        await scene.Module.WaitForAsync("one of them runs alone", SceneSteps.DecidedMax, status => status.Hosts!.Any(host => host is { Role: "ALONE", Ready: true }));
        await scene.WritesSomewhereAsync();
        await (await stage.ReadyAsync()).JudgeAsync();
    }

    [LabFact]
    public async Task Secondary_restarts_inside_lease_link_cut()
    {
        var scene = await stage.ReadyAsync();
        var since = DateTimeOffset.UtcNow;
        // In this order: told by a broken session, the primary would have its peer left out at once.
        await scene.Network.CutCableAsync(scene.Primary.Name);
        await scene.Pair.DataPlanes[scene.Secondary.Name].KillAsync();
        await scene.Pair.StartDataPlaneAsync(scene.Secondary);
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        await scene.Network.HealAllAsync();
        await scene.JudgeRunningAsync();
    }
}
