using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>What the operator sets for a module and where the operator wants it, with a writing guest: one course over all of it, 87 to 99 s on two busy cores.</summary>
[Collection(PairCollection.Name)]
public sealed class PolicyTests(PairStage stage)
{
    private static readonly TimeSpan StepMax = TimeSpan.FromSeconds(60);

    [LabFact]
    public async Task Failover_and_start_at_boot_can_be_off_the_primary_is_where_it_is_wanted_and_restarts_are_limited()
    {
        var scene = await stage.ReadyAsync();
        try
        {
            await NoFailoverAndNoStartAtBootAsync(scene);
            await FullResyncAsync(scene);
            await StartWhereWantedThenFailBackAsync(scene);
            await RestartLimitAsync(scene);
        }
        finally
        {
            await PolicyAsync(scene, "--failover", "on", "--start-at-boot", "on", "--restarts", "3", "--preferred", "none");
        }

        await scene.Module.WaitUntilMirroredAsync(StepMax);
        Assert.Empty((await scene.Module.JudgeAsync()).Wrong);
    }

    private static async Task NoFailoverAndNoStartAtBootAsync(Scene scene)
    {
        await PolicyAsync(scene, "--failover", "off", "--start-at-boot", "off");
        var before = await scene.Module.WaitForAsync("both hosts tell it", StepMax, status => status.Hosts!.All(host => Tells(host, "maintenance.failover-off")));
        await scene.Primary.PowerOffAsync();
        var waiting = await scene.Module.WaitForAsync("the secondary waits", StepMax, status => status.On(scene.Secondary.Name)?.Code == "maintenance.failover-off");
        Assert.Equal(before.Record!.Epoch, waiting.Record!.Epoch);

        await PolicyAsync(scene, "--failover", "on");
        await scene.Module.WaitForAsync("it takes over", StepMax, status => status.ReadyPrimary == scene.Secondary.Name);
        await scene.Pair.BootAsync(scene.Primary);
        await scene.Module.WaitForAsync("the host that booted stays down", StepMax, status => status.On(scene.Primary.Name) is { Role: "STOP", Code: "role.held-at-boot" });
        await PolicyAsync(scene, "--start-at-boot", "on");
        await RunAsync(scene, "start");
        await scene.Module.WaitUntilMirroredAsync(StepMax);
    }

    private static async Task FullResyncAsync(Scene scene)
    {
        var asked = DateTimeOffset.UtcNow;
        await RunAsync(scene, "second", "--full", "--wait", "60s");
        var status = await scene.Module.WaitUntilMirroredAsync(StepMax);
        Assert.Contains(status.On(status.ReadyPrimary!)!.Events!, one =>
            one is { Kind: "resync.ended" } && one.UnixMs >= asked.ToUnixTimeMilliseconds() && one.Text.StartsWith("Full resync", StringComparison.Ordinal));
    }

    private static async Task StartWhereWantedThenFailBackAsync(Scene scene)
    {
        // The other host is the primary now; the module is started where it was at first.
        await scene.Module.StopAsync();
        await RunAsync(scene, "prim", "--host", scene.Primary.Name, "--wait", "60s");
        await scene.Module.WaitUntilMirroredAsync(StepMax);
        await PolicyAsync(scene, "--preferred", scene.Secondary.Name, "--failback-hold", "10s");
        await scene.Module.WaitForAsync("it goes back by itself", StepMax, status => status.IsMirrored && status.ReadyPrimary == scene.Secondary.Name);
        Assert.Contains("Failback to " + scene.Secondary.Name, await RunAsync(scene, "show"), StringComparison.Ordinal);
        await PolicyAsync(scene, "--preferred", "none");
    }

    private static async Task RestartLimitAsync(Scene scene)
    {
        var primary = scene.Secondary;
        await PolicyAsync(scene, "--restarts", "0");
        await scene.Module.WaitForRecordsAsync(primary.Name, more: 50);
        Signals.Send(ExecutionObserver.ProcessOf(primary, scene.Module.Name)!.Value, Signals.Kill);
        await scene.Module.WaitForAsync("the VM stays down", StepMax, status => status.On(primary.Name)?.Code == "workload.failed");
        Assert.Null(ExecutionObserver.ProcessOf(primary, scene.Module.Name));
        await PolicyAsync(scene, "--restarts", "3");
        await RunAsync(scene, "restart", "--wait", "60s");
    }

    private static bool Tells(ModuleOnHost host, string code) => host.Problems?.Any(problem => problem.Code == code) == true;

    private static Task<string> PolicyAsync(Scene scene, params string[] options) => RunAsync(scene, "policy", options);

    private static async Task<string> RunAsync(Scene scene, string verb, params string[] options) =>
        (await scene.Pair.CliAsync(["module", verb, scene.Module.Key, .. options])).OrThrow().Output;
}
