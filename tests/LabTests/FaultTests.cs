using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>One fault each, with the writing guest, on the real product. After every one of them: at no moment two hosts ran
/// the VM, no acknowledged record is lost, and after healing both copies are equal.</summary>
[Collection(PairCollection.Name)]
public sealed class FaultTests(PairStage stage)
{
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    /// <summary>With a detection time of 3 s, from the power-off to the VM's process on the survivor.</summary>
    private static readonly TimeSpan StartOnSurvivorMax = TimeSpan.FromSeconds(5);

    /// <summary>Detection, lease and margin are over, and so is anything that follows from them at once.</summary>
    private static readonly TimeSpan DecidedMax = TimeSpan.FromSeconds(15);

    [LabFact]
    public async Task Killed_data_plane_of_the_primary_moves_the_vm_to_the_peer()
    {
        var scene = await stage.ReadyAsync();
        var since = DateTimeOffset.UtcNow;
        await scene.Pair.DataPlanes[scene.Primary.Name].KillAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        // The guard keeps it halted for a data plane that comes back; this one finds that the peer has taken over.
        if (ExecutionObserver.ProcessOf(scene.Primary, scene.Module.Name) is { } left)
            Assert.True(ProcFs.State(left) is 'T' or null);
        await scene.Pair.StartDataPlaneAsync(scene.Primary);
        await Eventually.TrueAsync("the deposed host has ended its VM", DecidedMax,
            () => ExecutionObserver.ProcessOf(scene.Primary, scene.Module.Name) is null);
        await JudgeAsync(scene);
    }

    [LabFact]
    public async Task Killed_data_plane_of_the_secondary_leaves_the_vm_running()
    {
        var scene = await stage.ReadyAsync();
        var boots = Boots(scene);
        await scene.Pair.DataPlanes[scene.Secondary.Name].KillAsync();
        await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
        await scene.Pair.StartDataPlaneAsync(scene.Secondary);
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task Frozen_data_plane_of_the_primary_loses_its_vm_before_the_peer_starts_it()
    {
        var scene = await stage.ReadyAsync();
        var since = DateTimeOffset.UtcNow;
        var frozen = scene.Pair.DataPlanes[scene.Primary.Name];
        await frozen.FreezeAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        Assert.Null(ExecutionObserver.ProcessOf(scene.Primary, scene.Module.Name));
        frozen.Thaw();
        await JudgeAsync(scene);
    }

    [LabFact]
    public async Task Data_plane_stopped_by_the_service_manager_hands_the_vm_over()
    {
        var scene = await stage.ReadyAsync();
        var since = DateTimeOffset.UtcNow;
        var process = scene.Pair.DataPlanes[scene.Primary.Name];
        process.Terminate();
        await process.WaitForEndAsync(SyncMax);
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        await scene.Pair.StartDataPlaneAsync(scene.Primary);
        await JudgeAsync(scene);
    }

    [LabFact]
    public async Task Power_off_of_the_primary_restarts_the_vm_on_the_peer_within_five_seconds()
    {
        var scene = await stage.ReadyAsync();
        var since = await scene.Primary.PowerOffAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        var took = scene.Module.Observer.ProcessSeenAt(scene.Secondary.Name) - since;
        Assert.True(took <= StartOnSurvivorMax, $"The VM's process came {took} after the power-off.");
        await scene.Pair.BootAsync(scene.Primary);
        await JudgeAsync(scene);
    }

    [LabFact]
    public async Task Power_off_of_the_secondary_leaves_the_vm_running()
    {
        var scene = await stage.ReadyAsync();
        var boots = Boots(scene);
        await scene.Secondary.PowerOffAsync();
        await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
        await scene.Pair.BootAsync(scene.Secondary);
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task Cut_link_with_the_control_plane_in_reach_of_both_leaves_the_vm_running_alone()
    {
        var scene = await stage.ReadyAsync();
        var boots = Boots(scene);
        await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name);
        await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
        await scene.Network.HealAllAsync();
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task Cut_link_with_the_control_plane_in_reach_of_the_primary_only_leaves_the_vm_running_alone()
    {
        var scene = await stage.ReadyAsync();
        var boots = Boots(scene);
        await scene.Network.CutCableAsync(scene.Secondary.Name);
        await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
        await scene.Network.HealCableAsync(scene.Secondary.Name);
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task Cut_link_with_the_control_plane_in_reach_of_the_secondary_only_moves_the_vm()
    {
        var scene = await stage.ReadyAsync();
        var since = DateTimeOffset.UtcNow;
        await scene.Network.CutCableAsync(scene.Primary.Name);
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        await scene.Network.HealCableAsync(scene.Primary.Name);
        await Eventually.TrueAsync("the deposed host has stopped its VM", DecidedMax,
            () => ExecutionObserver.ProcessOf(scene.Primary, scene.Module.Name) is null);
        await JudgeAsync(scene);
    }

    [LabFact]
    public async Task Cut_link_with_the_control_plane_out_of_reach_pauses_the_vm_and_healing_resumes_it()
    {
        var scene = await stage.ReadyAsync();
        var boots = Boots(scene);
        await LoseEverybodyAsync(scene);
        // A guard that took the paused VM for one that executes would end it in this time.
        await Task.Delay(TimeSpan.FromSeconds(PairStage.DetectionSeconds));
        Assert.Null(ExecutionObserver.ProcessOf(scene.Secondary, scene.Module.Name));
        await HealLeaseFirstAsync(scene);
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task Vm_that_the_hypervisor_does_not_pause_in_time_is_halted_and_goes_on_after_healing()
    {
        var scene = await stage.ReadyAsync();
        var boots = Boots(scene);
        var process = ExecutionObserver.ProcessOf(scene.Primary, scene.Module.Name)!.Value;
        await SignalLibvirtAsync(scene.Primary, "STOP");
        await scene.Network.CutAllBetweenAsync(scene.Primary.Name, scene.Secondary.Name, scene.Pair.Machines.Control.Name);
        await Eventually.TrueAsync("the VM's process is halted", DecidedMax, () => ProcFs.State(process) == 'T');
        await SignalLibvirtAsync(scene.Primary, "CONT");
        await HealLeaseFirstAsync(scene);
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task Vm_killed_while_nobody_is_in_reach_boots_again_after_healing()
    {
        var scene = await stage.ReadyAsync();
        await LoseEverybodyAsync(scene);
        var since = DateTimeOffset.UtcNow;
        Signals.Send(ExecutionObserver.ProcessOf(scene.Primary, scene.Module.Name)!.Value, Signals.Kill);
        await HealLeaseFirstAsync(scene);
        await scene.Module.WaitForBootAsync(scene.Primary.Name, since);
        await JudgeAsync(scene);
    }

    [LabFact]
    public async Task Control_plane_killed_in_the_middle_of_a_failover_delays_it_and_loses_nothing()
    {
        var scene = await stage.ReadyAsync();
        var since = DateTimeOffset.UtcNow;
        await scene.Primary.PowerOffAsync();
        await scene.Pair.Server.KillAsync();
        // Twice the detection time: nobody may have taken over without the arbiter.
        await Task.Delay(TimeSpan.FromSeconds(2 * PairStage.DetectionSeconds));
        Assert.Null(ExecutionObserver.ProcessOf(scene.Secondary, scene.Module.Name));
        await scene.Pair.StartServerAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        await scene.Pair.BootAsync(scene.Primary);
        await JudgeAsync(scene);
    }

    [LabFact]
    public async Task Control_plane_killed_in_the_middle_of_a_resync_does_not_disturb_it()
    {
        var scene = await stage.ReadyAsync();
        var boots = Boots(scene);
        await scene.Secondary.PowerOffAsync();
        await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
        // Something that takes a moment to copy, besides the guest's own writes.
        var bulk = $"{scene.Module.Folder}/bulk";
        (await scene.Primary.ExecAsync(["dd", "if=/dev/urandom", $"of={bulk}", "bs=1M", "count=512", "status=none"], SyncMax)).OrThrow();
        // MB/s: without a limit it may be over before it is seen.
        (await scene.Pair.CliAsync("module", "resync-limits", scene.Module.Key, "--max", "64")).OrThrow();
        await scene.Pair.BootAsync(scene.Secondary);
        await scene.Module.WaitForAsync("a resync runs", SyncMax, status => status.Hosts!.Any(host => host.Replication is { Resyncing: true }));
        await scene.Pair.Server.KillAsync();
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 200);
        await scene.Pair.StartServerAsync();
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
        (await scene.Pair.CliAsync("module", "resync-limits", scene.Module.Key, "--max", "0")).OrThrow();
        await scene.Primary.CheckAsync("rm", bulk);
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task Full_disk_of_the_secondary_costs_the_mirror_not_the_vm()
    {
        var scene = await stage.ReadyAsync(primary: "alpha");
        var boots = Boots(scene);
        await stage.BetaDisk!.FillAsync();
        var more = $"{scene.Module.Folder}/more";
        (await scene.Primary.ExecAsync(["dd", "if=/dev/urandom", $"of={more}", "bs=1M", "count=8", "conv=fsync", "status=none"], SyncMax)).OrThrow();
        var alone = await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On("alpha") is { Role: "ALONE", Ready: true });
        Assert.NotEqual("SECOND", alone.On("beta") is { Ready: true } ready ? ready.Role : "");
        await scene.Module.WaitForRecordsAsync("alpha", more: 100);
        stage.BetaDisk.Free();
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
        await scene.Primary.CheckAsync("rm", more);
        await JudgeAsync(scene);
        Assert.Equal(boots, Boots(scene));
    }

    [LabFact]
    public async Task An_idle_data_plane_stays_under_150_megabytes()
    {
        const long ResidentMax = 150_000_000;
        var scene = await stage.ReadyAsync();
        await scene.Module.StopAsync();
        foreach (var (host, process) in scene.Pair.DataPlanes)
        {
            var resident = ProcFs.ResidentBytes(process.ProcessId ?? throw new LabException($"The data plane of {host} is gone."));
            Assert.InRange(resident, 1, ResidentMax);
        }
    }

    /// <summary>Neither the peer nor the control plane is in reach of either host: the VM does not execute, and its host says why.</summary>
    private static async Task LoseEverybodyAsync(Scene scene)
    {
        await scene.Network.CutAllBetweenAsync(scene.Primary.Name, scene.Secondary.Name, scene.Pair.Machines.Control.Name);
        await scene.Module.WaitForLocalAsync("the host says why the VM waits", scene.Primary, DecidedMax, module => module.Code == "prim.lease-expired");
        await Eventually.TrueAsync("the VM does not execute when the lease is over", DecidedMax,
            async () => (await scene.Primary.VirshAsync("domstate", scene.Module.Name)).Output.Trim() is "paused",
            pause: TimeSpan.FromMilliseconds(200));
    }

    /// <summary>The link between the hosts first, until the peer has answered; a peer that met the arbiter first would be free to take over.</summary>
    private static async Task HealLeaseFirstAsync(Scene scene)
    {
        await scene.Network.HealBetweenAsync(scene.Primary.Name, scene.Secondary.Name);
        await scene.Module.WaitForLocalAsync("the peer has answered the primary", scene.Primary, DecidedMax, module => module.Code != "prim.lease-expired");
        await scene.Network.HealAllAsync();
    }

    private static Task SignalLibvirtAsync(LabHost host, string signal) =>
        host.CheckAsync("sh", "-c", $"kill -{signal} $(cat /run/libvirt/libvirtd.pid)");

    private static int Boots(Scene scene) => scene.Module.Serials.Values.Sum(serial => serial.Boots.Count);

    private static async Task JudgeAsync(Scene scene)
    {
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
        var verdict = await scene.Module.JudgeAsync();
        Assert.Empty(verdict.Wrong);
        Assert.Equal(0ul, verdict.LostRecords);
        Assert.True(scene.Module.Observer.Samples > 0);
    }
}
