using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab.Scenes;

/// <summary>What the named scenarios have in common. Several of them share a test where one ends as the next begins: in sync and writing.</summary>
internal static class SceneSteps
{
    public static readonly TimeSpan Detection = TimeSpan.FromSeconds(PairStage.DetectionSeconds);

    /// <summary>Detection, lease and margin are over, and so is anything that follows from them at once.</summary>
    public static readonly TimeSpan DecidedMax = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    public static Task AloneAsync(this Scene scene, LabHost host) =>
        scene.Module.WaitForAsync($"{host.Name} goes on alone", DecidedMax, status => status.On(host.Name) is { Role: "ALONE", Ready: true });

    public static Task InSyncAsync(this Scene scene) => scene.Module.WaitUntilMirroredAsync(SyncMax);

    /// <summary>By the record, as the control plane has it: the hosts themselves need not know it yet.</summary>
    public static Task RecordedInSyncAsync(this Scene scene, long afterEpoch) => scene.Module.WaitForAsync(
        "the record names both", SyncMax, status => status is { BothInSync: true } && status.Record!.Epoch > afterEpoch);

    public static async Task<long> EpochAsync(this Scene scene) => (await scene.Module.TryGetStatusAsync())!.Record!.Epoch;

    public static int? VmOn(this Scene scene, LabHost host) => ExecutionObserver.ProcessOf(host, scene.Module.Name);

    public static int Boots(this Scene scene) => scene.Module.Serials.Values.Sum(serial => serial.Boots.Count);

    /// <summary>For so long nothing of the VM may appear on a host.</summary>
    public static async Task NeverRunsAsync(this Scene scene, LabHost host, TimeSpan during)
    {
        var end = DateTimeOffset.UtcNow + during;
        while (DateTimeOffset.UtcNow < end)
        {
            Assert.Null(scene.VmOn(host));
            await Task.Delay(ExecutionObserver.PeriodMs);
        }
    }

    /// <summary>The VM runs, on whichever host, and writes more.</summary>
    public static async Task WritesSomewhereAsync(this Scene scene)
    {
        var goal = scene.Module.AcknowledgedMax + 50;
        await Eventually.TrueAsync("the guest writes on one of the hosts", SyncMax, () => scene.Module.AcknowledgedMax >= goal);
    }

    /// <summary>Bytes that a resync will have to copy, besides the guest's own.</summary>
    public static async Task WriteMuchAsync(this Scene scene, LabHost host, int megabytes) => (await host.ExecAsync(
        ["dd", "if=/dev/urandom", $"of={Much(scene)}", "bs=1M", $"count={megabytes}", "status=none"], SyncMax)).OrThrow();

    public static async Task RemoveMuchAsync(this Scene scene) =>
        await scene.Pair.Machines[(await scene.Module.WaitUntilMirroredAsync(SyncMax)).ReadyPrimary!].CheckAsync("rm", "-f", Much(scene));

    /// <summary>MB/s; 0: no limit. Without one a resync may be over before it is seen.</summary>
    public static async Task LimitResyncAsync(this Scene scene, int megabytesPerSecond) =>
        (await scene.Pair.CliAsync("module", "resync-limits", scene.Module.Key, "--max", $"{megabytesPerSecond}")).OrThrow();

    public static Task ResyncRunsAsync(this Scene scene) => scene.Module.WaitForAsync(
        "a resync runs", SyncMax, status => status.Hosts!.Any(host => host.Replication is { Resyncing: true }));

    /// <summary>In sync again, never two hosts running the VM, and each boot found what was acknowledged before. The VM runs on: a scenario that
    /// follows begins at once, and one of them in each class ends with the whole judgement.</summary>
    public static async Task JudgeRunningAsync(this Scene scene)
    {
        await scene.InSyncAsync();
        Assert.Empty(scene.Module.WrongSoFar());
        Assert.True(scene.Module.Observer.Samples > 0);
    }

    /// <summary>The whole judgement: never two hosts running the VM, no acknowledged record lost, both copies equal.</summary>
    public static async Task JudgeAsync(this Scene scene)
    {
        await scene.InSyncAsync();
        var verdict = await scene.Module.JudgeAsync();
        Assert.Empty(verdict.Wrong);
        Assert.Equal(0ul, verdict.LostRecords);
        Assert.True(scene.Module.Observer.Samples > 0);
    }

    private static string Much(Scene scene) => $"{scene.Module.Folder}/much";
}
