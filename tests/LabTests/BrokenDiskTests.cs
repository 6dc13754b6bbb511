using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>Disks that turn read-only, fail or have no room left, under a writing guest on the real product (docs/safety.md, "Disks that
/// fail"). The full disk of the secondary is in <see cref="FaultTests"/>.</summary>
[Collection(PairCollection.Name)]
public sealed class BrokenDiskTests(PairStage stage)
{
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    /// <summary>Detection, lease and margin are over, and so is anything that follows from them at once.</summary>
    private static readonly TimeSpan DecidedMax = TimeSpan.FromSeconds(15);

    [LabFact]
    public Task Disk_of_the_secondary_that_turns_read_only_costs_the_mirror_not_the_vm() =>
        SecondaryLosesItsDiskAsync(disk => disk.TurnReadOnlyAsync(), "Read-only file system");

    [LabFact]
    public Task Disk_of_the_secondary_that_fails_costs_the_mirror_not_the_vm() =>
        SecondaryLosesItsDiskAsync(disk => disk.FailAsync(), "Input/output error");

    [LabFact]
    public Task Disk_of_the_primary_that_turns_read_only_moves_the_vm_to_the_peer() => PrimaryLosesItsDiskAsync(disk => disk.TurnReadOnlyAsync());

    [LabFact]
    public Task Disk_of_the_primary_that_fails_moves_the_vm_to_the_peer() => PrimaryLosesItsDiskAsync(disk => disk.FailAsync());

    [LabFact]
    public async Task Full_disk_of_the_primary_is_the_writers_error_and_costs_neither_mirror_nor_vm()
    {
        var scene = await stage.ReadyAsync(primary: "beta");
        // A VM whose image has holes that it has yet to fill: the stage's own has written everywhere by now.
        await using var growing = await WritingModule.CreateAsync(scene.Pair, "growing", "beta", slots: GrowingSlots, delayUs: GrowingDelayUs, diskBytes: GrowingSlots * 4096L);
        await growing.StartAsync();
        var before = (await growing.WaitUntilMirroredAsync(SyncMax)).Record!.Epoch;
        await growing.WaitForRecordsAsync("beta", more: 50);

        await stage.BetaDisk!.FillAsync();
        var more = $"{scene.Module.Folder}/more";
        var written = await scene.Primary.ExecAsync(["dd", "if=/dev/urandom", $"of={more}", "bs=1M", "count=8", "conv=fsync", "status=none"], SyncMax);
        Assert.Contains("No space left on device", written.Said);
        var paused = await growing.WaitForAsync("beta says that its VM is paused and why", DecidedMax,
            status => status.On("beta") is { VmState: "paused", Problems: { } problems } && problems.Any(problem => problem.Code == "vm.io-paused"));
        var problem = paused.On("beta")!.Problems!.Single(one => one.Code == "vm.io-paused");
        Assert.Contains("no space", problem.Cause);
        Assert.Contains(growing.Folder, problem.Action);

        stage.BetaDisk.Free();
        await growing.WaitForRecordsAsync("beta", more: 100);
        Assert.Equal(1, growing.Serials.Values.Sum(serial => serial.Boots.Count));
        (await scene.Primary.ExecAsync(["dd", "if=/dev/urandom", $"of={more}", "bs=1M", "count=8", "conv=fsync", "status=none"], SyncMax)).OrThrow();
        var after = await growing.WaitForAsync("beta says that its VM runs", DecidedMax, status => status.On("beta") is { VmState: "running" });
        Assert.Equal(("beta", before, true), (after.ReadyPrimary, after.Record!.Epoch, after.BothInSync));
        Assert.Contains(after.On("beta")!.Events!, one => one.Kind == "vm.goes-on");
        await scene.Primary.CheckAsync("rm", more);
        await JudgeAsync(growing);
        (await scene.Pair.CliAsync("module", "delete", growing.Key)).OrThrow();
        await JudgeAsync(scene.Module);
    }

    [LabFact]
    public async Task Swap_moves_a_vm_that_finds_no_room_to_the_peer_that_has_some()
    {
        var scene = await stage.ReadyAsync(primary: "beta");
        await using var growing = await WritingModule.CreateAsync(scene.Pair, "outgrown", "beta", slots: GrowingSlots, delayUs: GrowingDelayUs, diskBytes: GrowingSlots * 4096L);
        await growing.StartAsync();
        await growing.WaitUntilMirroredAsync(SyncMax);
        await growing.WaitForRecordsAsync("beta", more: 50);
        await stage.BetaDisk!.FillAsync();
        await growing.WaitForAsync("beta says that its VM is paused", DecidedMax, status => status.On("beta") is { VmState: "paused" });

        var since = DateTimeOffset.UtcNow;
        await growing.SwapAsync();
        await growing.WaitForBootAsync("alpha", since);
        await growing.WaitForRecordsAsync("alpha", more: 100);
        stage.BetaDisk.Free();
        await JudgeAsync(growing);
        (await scene.Pair.CliAsync("module", "delete", growing.Key)).OrThrow();
        await JudgeAsync(scene.Module);
    }

    /// <summary>The guest fills them in 40 s at the soonest, and scans them at its boot in little time.</summary>
    private const int GrowingSlots = 8192;
    private const int GrowingDelayUs = 5000;

    private async Task SecondaryLosesItsDiskAsync(Func<LimitedDisk, Task> lose, string reason)
    {
        var scene = await stage.ReadyAsync(primary: "alpha");
        var boots = Boots(scene.Module);
        await lose(stage.BetaDisk!);
        await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, one => one.On("alpha") is { Role: "ALONE", Ready: true });
        await scene.Module.WaitForRecordsAsync("alpha", more: 100);
        var status = await scene.Module.WaitForAsync("beta says what is wrong with its disk", DecidedMax,
            one => one.On("beta") is { Code: "local.fault" } beta && beta.ToString().Contains(reason, StringComparison.Ordinal));
        Assert.DoesNotContain("beta", status.Record!.InSync!.Select(ModuleStatus.ShortName));
        await stage.MendBetaAsync();
        await JudgeAsync(scene.Module);
        Assert.Equal(boots, Boots(scene.Module));
    }

    private async Task PrimaryLosesItsDiskAsync(Func<LimitedDisk, Task> lose)
    {
        var scene = await stage.ReadyAsync(primary: "beta");
        var since = DateTimeOffset.UtcNow;
        await lose(stage.BetaDisk!);
        await scene.Module.WaitForBootAsync("alpha", since);
        Assert.Null(ExecutionObserver.ProcessOf(scene.Primary, scene.Module.Name));
        var status = await scene.Module.WaitForAsync("alpha runs the VM alone", DecidedMax, one => one.On("alpha") is { Role: "ALONE", Ready: true });
        Assert.NotEqual("UpToDate", status.On("beta")!.DataState);
        await stage.MendBetaAsync();
        await JudgeAsync(scene.Module);
    }

    private static int Boots(WritingModule module) => module.Serials.Values.Sum(serial => serial.Boots.Count);

    private static async Task JudgeAsync(WritingModule module)
    {
        await module.WaitUntilMirroredAsync(SyncMax);
        var verdict = await module.JudgeAsync();
        Assert.Empty(verdict.Wrong);
        Assert.Equal(0ul, verdict.LostRecords);
        Assert.True(module.Observer.Samples > 0);
    }
}
