namespace Pollux.Tests.Lab.Scenes;

/// <summary>Hosts and witness go one after the other and come back in every order.</summary>
[Collection(PairCollection.Name)]
public sealed class LossAndReturnTests(PairStage stage)
{
    /// <summary>"Host lost then witness lost" is FaultTests.Control_plane_killed_in_the_middle_of_a_failover_….</summary>
    [LabFact]
    [Trait("Length", "Long")]
    public async Task Witness_lost_then_host_lost_waits_for_the_witness()
    {
        var scene = await stage.ReadyAsync();
        await scene.Pair.Server.KillAsync();
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 200);
        var since = await scene.Primary.PowerOffAsync();
        await scene.NeverRunsAsync(scene.Secondary, 2 * SceneSteps.Detection);
        await scene.Pair.StartServerAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        await scene.Pair.BootAsync(scene.Primary);
        await scene.JudgeRunningAsync();
    }

    [LabFact]
    [Trait("Length", "Long")]
    public async Task Secondary_leaves_cleanly_primary_changes_much_primary_lost_secondary_returns_and_refuses_to_run()
    {
        var scene = await stage.ReadyAsync();
        var leaver = scene.Pair.DataPlanes[scene.Secondary.Name];
        leaver.Terminate();
        await leaver.WaitForEndAsync(SceneSteps.DecidedMax);
        await scene.AloneAsync(scene.Primary);
        await scene.WriteMuchAsync(scene.Primary, megabytes: 64);
        await scene.Primary.PowerOffAsync();
        await scene.Pair.StartDataPlaneAsync(scene.Secondary);
        await scene.Module.WaitForLocalAsync("it says why it does not run", scene.Secondary, SceneSteps.DecidedMax, module => module.Code is "wait.not-in-sync");
        await scene.NeverRunsAsync(scene.Secondary, 2 * SceneSteps.Detection);
        var since = DateTimeOffset.UtcNow;
        await scene.Pair.BootAsync(scene.Primary);
        await scene.Module.WaitForBootAsync(scene.Primary.Name, since);
        await scene.RemoveMuchAsync();
        await scene.JudgeRunningAsync();
    }

    [LabFact]
    [Trait("Length", "Long")]
    public async Task Both_lose_power_and_return_one_by_one_in_both_orders()
    {
        foreach (var recordedFirst in new[] { true, false })
        {
            var scene = await stage.ReadyAsync();
            await scene.Primary.PowerOffAsync();
            await scene.Secondary.PowerOffAsync();
            var (first, second) = recordedFirst ? (scene.Primary, scene.Secondary) : (scene.Secondary, scene.Primary);
            var since = DateTimeOffset.UtcNow;
            await scene.Pair.BootAsync(first);
            await scene.Module.WaitForBootAsync(first.Name, since);
            await scene.Pair.BootAsync(second);
            await scene.InSyncAsync();
        }

        await (await stage.ReadyAsync()).JudgeRunningAsync();
    }

    /// <summary>Three scenarios: a brief cut during a resync; its source dies in the middle; the target becomes the source.</summary>
    [LabFact]
    [Trait("Length", "Long")]
    public async Task Brief_cut_during_resync_source_dies_in_mid_resync_and_target_becomes_source()
    {
        var scene = await stage.ReadyAsync();
        await scene.LimitResyncAsync(32);
        await scene.Secondary.PowerOffAsync();
        await scene.AloneAsync(scene.Primary);
        await scene.WriteMuchAsync(scene.Primary, megabytes: 256);
        await scene.Pair.BootAsync(scene.Secondary);
        await scene.ResyncRunsAsync();
        await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name);
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
        await scene.Network.HealAllAsync();
        await scene.Module.WaitForAsync("the resync goes on", SceneSteps.DecidedMax, status => status.On(scene.Primary.Name)?.Replication is { SessionUp: true, Resyncing: true });

        await scene.Primary.PowerOffAsync();
        await scene.NeverRunsAsync(scene.Secondary, 2 * SceneSteps.Detection);
        var since = DateTimeOffset.UtcNow;
        await scene.Pair.BootAsync(scene.Primary);
        await scene.Module.WaitForBootAsync(scene.Primary.Name, since);
        await scene.LimitResyncAsync(0);
        await scene.InSyncAsync();

        since = await scene.Primary.PowerOffAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        await scene.Pair.BootAsync(scene.Primary);
        await scene.RemoveMuchAsync();
        await scene.JudgeAsync();
    }

    /// <summary>Two takeovers around power-offs in the middle of writes and flushes: own-flush-unfinished-power-off, target-power-off-after-last-copy,
    /// secondary-reboots-inside-detection.</summary>
    [LabFact]
    [Trait("Length", "Long")]
    public async Task Power_off_amid_flushes_of_a_target_just_joined_and_of_a_secondary_that_reboots_at_once()
    {
        var scene = await stage.ReadyAsync();
        var since = await scene.Primary.PowerOffAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        var alone = await scene.EpochAsync();
        await scene.Pair.BootAsync(scene.Primary);
        await scene.RecordedInSyncAsync(alone);
        await scene.Primary.PowerOffAsync();
        await scene.Pair.BootAsync(scene.Primary);
        await scene.Module.WaitForRecordsAsync(scene.Secondary.Name, more: 50);
        await scene.InSyncAsync();

        since = await scene.Secondary.PowerOffAsync();
        await scene.Module.WaitForBootAsync(scene.Primary.Name, since);
        await scene.Pair.BootAsync(scene.Secondary);
        await scene.JudgeAsync();
    }
}
