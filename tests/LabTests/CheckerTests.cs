using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>A checker of the host's own, with a writing guest: what follows from its failures, how often, and when nothing does.</summary>
[Collection(PairCollection.Name)]
public sealed class CheckerTests(PairStage stage)
{
    private const string Scripts = "/var/lib/pollux-host/checkers.d";
    private const string Ill = "/var/lib/pollux-host/ill";

    private static readonly TimeSpan StepMax = TimeSpan.FromSeconds(60);

    [LabFact]
    [Trait("Length", "Long")]
    public async Task A_checker_that_fails_restarts_the_vm_up_to_the_limit_moves_the_module_if_told_so_and_does_nothing_while_it_is_off()
    {
        var scene = await stage.ReadyAsync();
        foreach (var host in new[] { scene.Primary, scene.Secondary })
        {
            var script = Path.Combine(Directory.CreateDirectory(host.OnMachine(Scripts)).FullName, "app");
            File.WriteAllText(script, $"#!/bin/sh\ntest ! -e {Ill}\n");
            File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        try
        {
            await PolicyAsync(scene, "--restarts", "1");
            await CheckAsync(scene, "restart");
            await SaysAsync(scene, $"{scene.Primary.Name}: well");
            await RestartsOnceThenStaysDownAsync(scene);
            await OffDoesNothingAsync(scene);
            await MovesAsync(scene);
        }
        finally
        {
            await RunAsync(scene, ["checker", "remove", scene.Module.Key, "app"]);
            await PolicyAsync(scene, "--restarts", "3", "--checkers", "on");
            foreach (var host in new[] { scene.Primary, scene.Secondary })
            {
                Directory.Delete(host.OnMachine(Scripts), recursive: true);
                File.Delete(host.OnMachine(Ill));
            }
        }

        await scene.Module.WaitUntilMirroredAsync(StepMax);
        var verdict = await scene.Module.JudgeAsync();
        Assert.Empty(verdict.Wrong);
        Assert.Equal(0ul, verdict.LostRecords);
    }

    private static async Task RestartsOnceThenStaysDownAsync(Scene scene)
    {
        var before = ProcessOf(scene, scene.Primary);
        File.WriteAllText(scene.Primary.OnMachine(Ill), "");
        await scene.Module.WaitForAsync("the checker's restart", StepMax, status => Happened(status, scene.Primary, "checker.begun"));
        File.Delete(scene.Primary.OnMachine(Ill));
        await scene.Module.WaitForAsync("its end", StepMax, status => Happened(status, scene.Primary, "checker.done"));
        await SaysAsync(scene, $"{scene.Primary.Name}: well");
        Assert.NotNull(ProcessOf(scene, scene.Primary));
        Assert.NotEqual(before, ProcessOf(scene, scene.Primary));

        File.WriteAllText(scene.Primary.OnMachine(Ill), "");
        await scene.Module.WaitForAsync("the VM stays down", StepMax, status => status.On(scene.Primary.Name)?.Code == "workload.failed");
        Assert.Null(ProcessOf(scene, scene.Primary));
    }

    private static async Task OffDoesNothingAsync(Scene scene)
    {
        await PolicyAsync(scene, "--checkers", "off");
        await RunAsync(scene, ["restart", scene.Module.Key, "--wait", "60s"]);
        await SaysAsync(scene, $"{scene.Primary.Name}: off");
        var running = ProcessOf(scene, scene.Primary);
        // Longer than grace and failures together take when it is on.
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 500);
        Assert.Equal(running, ProcessOf(scene, scene.Primary));
        Assert.Contains("checkers OFF", await RunAsync(scene, ["show", scene.Module.Key]), StringComparison.Ordinal);
    }

    private static async Task MovesAsync(Scene scene)
    {
        await CheckAsync(scene, "move");
        await scene.Module.WaitUntilMirroredAsync(StepMax);
        await PolicyAsync(scene, "--checkers", "on", "--restarts", "3");
        await scene.Module.WaitForAsync("the module has moved", StepMax, status => status.IsMirrored && status.ReadyPrimary == scene.Secondary.Name);
        await SaysAsync(scene, $"{scene.Secondary.Name}: well");
    }

    private static Task<string> CheckAsync(Scene scene, string then) => RunAsync(scene,
        ["checker", "add", scene.Module.Key, "app", "--script", "app", "--every", "1s", "--timeout", "5s", "--failures", "2", "--grace", "3s", "--then", then]);

    private static Task SaysAsync(Scene scene, string text) => Eventually.TrueAsync($"the list of checkers says '{text}'", StepMax,
        async () => (await RunAsync(scene, ["checker", "list", scene.Module.Key])).Contains(text, StringComparison.Ordinal));

    private static bool Happened(ModuleStatus status, LabHost host, string kind) => status.On(host.Name)?.Events?.Any(one => one.Kind == kind) == true;

    private static int? ProcessOf(Scene scene, LabHost host) => ExecutionObserver.ProcessOf(host, scene.Module.Name);

    private static Task<string> PolicyAsync(Scene scene, params string[] options) => RunAsync(scene, ["policy", scene.Module.Key, .. options]);

    private static async Task<string> RunAsync(Scene scene, string[] words) => (await scene.Pair.CliAsync(["module", .. words])).OrThrow().Output;
}
