using System.Globalization;

namespace Pollux.Tests.Lab;

/// <summary>Commands of an operator on a module with a writing guest, and what is remembered of them.</summary>
[Collection(PairCollection.Name)]
public sealed class CommandTests(PairStage stage)
{
    [LabFact]
    public async Task A_restart_boots_the_vm_where_it_is_and_a_stop_and_start_brings_the_pair_back()
    {
        var scene = await stage.ReadyAsync();
        var epoch = (await scene.Module.TryGetStatusAsync())!.Record!.Epoch;
        var asked = DateTimeOffset.UtcNow;
        await RunAsync(scene, "restart", "--wait", "60s");
        await scene.Module.WaitForBootAsync(scene.Primary.Name, asked);
        await RunAsync(scene, "wait", "--state", "mirrored", "--timeout", "60s");
        var status = (await scene.Module.TryGetStatusAsync())!;
        Assert.Equal((epoch, scene.Primary.Name), (status.Record!.Epoch, status.ReadyPrimary));

        asked = DateTimeOffset.UtcNow;
        await RunAsync(scene, "stopstart", "--wait", "90s");
        await RunAsync(scene, "wait", "--state", "mirrored", "--timeout", "60s");
        status = (await scene.Module.TryGetStatusAsync())!;
        await scene.Module.WaitForBootAsync(status.ReadyPrimary!, asked);
        Assert.NotEqual(0, (await scene.Pair.CliAsync("module", "wait", scene.Module.Key, "--state", "stopped", "--timeout", "1s")).ExitCode);

        // What a host remembers of the time before its process was killed.
        var killed = DateTimeOffset.UtcNow;
        await scene.Pair.DataPlanes[scene.Secondary.Name].KillAsync();
        await scene.Pair.StartDataPlaneAsync(scene.Secondary);
        await scene.Module.WaitUntilMirroredAsync(TimeSpan.FromSeconds(60));
        var shown = (await RunAsync(scene, "show")).Split('\n');
        Assert.Contains(shown, line => line.Contains($"  {scene.Secondary.Name}  role.changed: STOP ready", StringComparison.Ordinal) && TimeOf(line) < killed);
        foreach (var command in new[] { "restart", "stopstart" })
            Assert.Contains(shown, line => line.Contains($"The operator asked for a {command}.", StringComparison.Ordinal));
        var verdict = await scene.Module.JudgeAsync();
        Assert.Empty(verdict.Wrong);
    }

    private static async Task<string> RunAsync(Scene scene, string verb, params string[] options) =>
        (await scene.Pair.CliAsync(["module", verb, scene.Module.Key, .. options])).OrThrow().Output;

    private static DateTimeOffset TimeOf(string line) =>
        DateTimeOffset.Parse(line.Trim().Split(' ')[0], CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
}
