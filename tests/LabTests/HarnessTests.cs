using Pollux.Lab;
using Pollux.Lab.Guest;
using Pollux.Lab.Machines;

namespace Pollux.Tests.Lab;

/// <summary>The lab itself, without Pollux: a harness that cannot cut, kill or see two guests would prove nothing.</summary>
public sealed class HarnessTests
{
    [LabFact]
    public async Task A_guest_keeps_every_acknowledged_record_over_a_power_off_of_its_host() =>
        Assert.Equal(0, await GuestTrial.RunAsync());

    [LabFact]
    public async Task Cuts_stop_exactly_the_frames_they_name()
    {
        await using var lab = await VirtualLab.CreateAsync(["a", "b"]);
        foreach (var host in lab.Hosts.Append(lab.Control))
            await host.StartAsync();

        Assert.True(await ReachesAsync(lab["a"], lab["b"]));
        await lab.Network.CutBetweenAsync("a", "b");
        Assert.False(await ReachesAsync(lab["a"], lab["b"]));
        Assert.True(await ReachesAsync(lab["a"], lab.Control));
        Assert.True(await ReachesAsync(lab["b"], lab.Control));
        await lab.Network.HealAllAsync();
        Assert.True(await ReachesAsync(lab["a"], lab["b"]));
        await lab.Network.CutCableAsync("a");
        Assert.False(await ReachesAsync(lab["a"], lab.Control));
        Assert.True(await ReachesAsync(lab["b"], lab.Control));
    }

    [LabFact]
    public async Task The_observer_sees_two_hosts_executing_one_machine_and_forgives_a_paused_one()
    {
        var image = await GuestImage.BuildAsync();
        await using var lab = await VirtualLab.CreateAsync(["a", "b"]);
        var guest = new GuestDomain("vm1", LabHost.ModulesFolder + "/vm1", Slots: 1024, DelayUs: 1000);
        foreach (var host in lab.Hosts)
        {
            await host.StartAsync();
            await guest.WriteToAsync(host.OnMachine(guest.Folder), image, diskBytes: 16L << 20);
        }
        await using var observer = new ExecutionObserver(lab.Hosts, guest.Name);

        await lab["a"].CheckAsync("virsh", "-q", "create", $"{guest.Folder}/{guest.DefinitionFile}");
        await lab["b"].CheckAsync("virsh", "-q", "create", "--paused", $"{guest.Folder}/{guest.DefinitionFile}");
        await SamplesPassAsync(observer);
        Assert.Empty(observer.Violations);
        await lab["b"].CheckAsync("virsh", "-q", "resume", guest.Name);
        await Eventually.TrueAsync("the observer sees both", TimeSpan.FromSeconds(10), () => observer.Violations.Count > 0);
    }

    [LabFact]
    public async Task Tidying_up_by_another_process_spares_a_lab_whose_owner_lives()
    {
        await using var lab = await VirtualLab.CreateAsync(["a"]);
        var tidied = (await Shell.CheckAsync("dotnet", typeof(VirtualLab).Assembly.Location, "clean")).Output;
        Assert.True(Directory.Exists(LabFolder.Of(lab.Id)), tidied);
        Assert.DoesNotContain(lab.Id, LabFolder.Abandoned());
    }

    [LabFact]
    public async Task A_limited_disk_can_be_filled_to_the_last_block_and_freed()
    {
        await using var lab = await VirtualLab.CreateAsync(["a"]);
        var disk = await LimitedDisk.CreateAsync(lab["a"], sizeBytes: 64L << 20);
        await lab["a"].StartAsync();
        string[] write = ["dd", "if=/dev/zero", $"of={LabHost.ModulesFolder}/one", "bs=4096", "count=1", "status=none"];
        await disk.FillAsync();
        Assert.False((await lab["a"].ExecAsync(write)).Succeeded);
        disk.Free();
        Assert.True((await lab["a"].ExecAsync(write)).Succeeded);
    }

    [LabFact]
    public async Task A_host_with_a_process_that_is_or_was_frozen_can_be_switched_off()
    {
        await using var lab = await VirtualLab.CreateAsync(["a"]);
        foreach (var thawed in (bool[])[false, true])
        {
            await lab["a"].StartAsync();
            var process = lab["a"].Spawn("sleeper", ["sleep", "86400"]);
            await Eventually.TrueAsync("it runs", TimeSpan.FromSeconds(10), () => process.ProcessId is not null);
            await process.FreezeAsync();
            if (thawed)
                process.Thaw();
            await lab["a"].PowerOffAsync();
            Assert.False(lab["a"].IsOn);
        }
    }

    private static async Task<bool> ReachesAsync(LabHost from, LabHost to) =>
        (await from.ExecAsync(["arping", "-q", "-c", "3", "-f", "-w", "1", "-I", "eth0", to.Address.ToString()])).Succeeded;

    private static Task SamplesPassAsync(ExecutionObserver observer)
    {
        const int Enough = 10;
        var first = observer.Samples;
        return Eventually.TrueAsync("the observer looks", TimeSpan.FromSeconds(20), () => observer.Samples >= first + Enough);
    }
}
