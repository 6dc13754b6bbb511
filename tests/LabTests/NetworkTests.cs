using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>Two networks between the hosts, and the writing guest: one of them may fail without anybody but the operator noticing.</summary>
[Collection(PairCollection.Name)]
public sealed class NetworkTests(PairStage stage)
{
    private static readonly TimeSpan Detection = TimeSpan.FromSeconds(PairStage.DetectionSeconds);
    private static readonly TimeSpan DecidedMax = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    [LabFact]
    public async Task A_cut_of_the_preferred_network_costs_neither_the_vm_nor_the_mirror()
    {
        var scene = await stage.ReadyAsync();
        try
        {
            await UseBothNetworksAsync(scene);
            var boots = Boots(scene);
            var epoch = (await scene.Module.TryGetStatusAsync())!.Record!.Epoch;

            await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name, network: 1);
            var cutAt = DateTimeOffset.UtcNow;
            var acknowledged = scene.Module.AcknowledgedMax;
            await Eventually.TrueAsync("the guest writes on within the detection time", Detection,
                () => scene.Module.AcknowledgedMax >= acknowledged + 100);
            await WaitForNetworkAsync(scene, 2);
            var status = await scene.Module.WaitForAsync("the fallback is shown", DecidedMax, one =>
                one.IsHeardSince(cutAt) && one.On(scene.Primary.Name)!.Problems!.Any(problem => problem.Code == "link.fallback"));
            Assert.True(status.IsMirrored, status.ToString());
            Assert.Equal(epoch, status.Record!.Epoch);
            await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 200);

            await scene.Network.HealAllAsync();
            await WaitForNetworkAsync(scene, 1);
            await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 200);
            Assert.Equal(epoch, (await scene.Module.TryGetStatusAsync())!.Record!.Epoch);

            // Without the second nothing happens but that it is shown.
            await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name, network: 2);
            await WaitForLocalAsync("the second network is down", scene, status => status.Observed.Networks is [{ Up: true }, { Up: false }]);
            await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 200);
            Assert.Equal(epoch, (await scene.Module.TryGetStatusAsync())!.Record!.Epoch);
            await scene.Network.HealAllAsync();
            await JudgeAsync(scene);
            Assert.Equal(boots, Boots(scene));
        }
        finally
        {
            await UseOneNetworkAsync(scene);
        }
    }

    [LabFact]
    public async Task A_cut_of_both_networks_leaves_the_vm_running_alone()
    {
        var scene = await stage.ReadyAsync();
        try
        {
            await UseBothNetworksAsync(scene);
            var boots = Boots(scene);
            await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name, network: 1);
            await scene.Network.CutBetweenAsync(scene.Primary.Name, scene.Secondary.Name, network: 2);
            await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
            await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 100);
            // The resync takes the network that there is.
            await scene.Network.HealBetweenAsync(scene.Primary.Name, scene.Secondary.Name, network: 2);
            await scene.Module.WaitUntilMirroredAsync(SyncMax);
            await WaitForNetworkAsync(scene, 2);
            await scene.Network.HealAllAsync();
            await JudgeAsync(scene);
            Assert.Equal(boots, Boots(scene));
        }
        finally
        {
            await UseOneNetworkAsync(scene);
        }
    }

    [LabFact]
    public async Task An_address_of_another_machine_is_refused()
    {
        var scene = await stage.ReadyAsync();
        await Assert.ThrowsAsync<LabException>(() => scene.Pair.ChangeAddressesAsync(scene.Primary, scene.Primary.Address, scene.Secondary.SecondAddress));
        await Assert.ThrowsAsync<LabException>(() => scene.Pair.ChangeAddressesAsync(scene.Primary, scene.Primary.Address, scene.Primary.Address));
    }

    /// <summary>Tells both running hosts of their second address.</summary>
    private static async Task UseBothNetworksAsync(Scene scene)
    {
        foreach (var host in scene.Pair.Machines.Hosts)
            await scene.Pair.ChangeAddressesAsync(host, host.Address, host.SecondAddress);
        foreach (var host in scene.Pair.Machines.Hosts)
            await WaitForLocalAsync("both networks are up", scene.Pair, host, status => status.Observed.Networks is [{ Up: true }, { Up: true }]);
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
    }

    private static async Task UseOneNetworkAsync(Scene scene)
    {
        await scene.Network.HealAllAsync();
        foreach (var host in scene.Pair.Machines.Hosts)
            await scene.Pair.ChangeAddressesAsync(host, host.Address);
    }

    private static Task WaitForNetworkAsync(Scene scene, int network) => scene.Module.WaitForLocalAsync(
        $"the replication runs over network {network}", scene.Primary, DecidedMax, module => module.Replication is { SessionUp: true } link && link.Network == network);

    private static Task WaitForLocalAsync(string what, Scene scene, Func<LocalStatus, bool> condition) =>
        WaitForLocalAsync(what, scene.Pair, scene.Primary, condition);

    private static Task WaitForLocalAsync(string what, PolluxPair pair, LabHost host, Func<LocalStatus, bool> condition)
    {
        LocalStatus? last = null;
        return Eventually.TrueAsync($"{what} ({host.Name})", DecidedMax, async () =>
        {
            last = await pair.TryGetLocalStatusAsync(host) ?? last;
            return last is not null && condition(last);
        }, () => string.Join("; ", last?.Observed.Networks?.Select(network => network.ToString()) ?? ["no networks"]), TimeSpan.FromMilliseconds(200));
    }

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
