using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>The control plane's database comes back older than the hosts, or not at all (rule S10), under the writing guest. About 55 s each beside other work.</summary>
[Collection(PairCollection.Name)]
public sealed class ControlPlaneLossTests(PairStage stage)
{
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan DecidedMax = TimeSpan.FromSeconds(20);

    /// <summary>Detection time, lease and margin and a look are over: a host that would start the VM has begun to.</summary>
    private static readonly TimeSpan WouldHaveStarted = TimeSpan.FromSeconds(3 * PairStage.DetectionSeconds);

    [LabFact]
    public async Task Control_plane_restored_from_a_backup_older_than_the_hosts_epochs_does_not_start_old_data()
    {
        var scene = await stage.ReadyAsync();
        var backup = Directory.CreateDirectory(Path.Combine(scene.Pair.Machines.Folder, "backup")).FullName;
        await scene.Pair.TakeDatabaseAsync(backup);
        scene.Pair.PutDatabase(backup);
        await scene.Pair.StartServerAsync();
        var mirrored = await scene.Module.WaitUntilMirroredAsync(SyncMax);

        // The backup says that both hold everything. From here on only the primary does; then it is gone as well.
        await scene.Secondary.PowerOffAsync();
        await scene.Module.WaitForAsync("the primary goes on alone", DecidedMax, status => status.On(scene.Primary.Name) is { Role: "ALONE", Ready: true });
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 300);
        await scene.Primary.PowerOffAsync();
        await scene.Pair.TakeDatabaseAsync();
        scene.Pair.PutDatabase(backup);
        await scene.Pair.StartServerAsync("--restored");

        var since = DateTimeOffset.UtcNow;
        await scene.Pair.BootAsync(scene.Secondary);
        await WaitForProblemAsync(scene, "record.unconfirmed");
        await Task.Delay(WouldHaveStarted);
        Assert.Null(ExecutionObserver.ProcessOf(scene.Secondary, scene.Module.Name));
        Assert.True(scene.Module.Serials[scene.Secondary.Name].Last is not { } boot || boot.FirstOutputAt < since);
        Assert.Equal("record.unconfirmed", (await ProblemsAsync(scene)).Single());

        await scene.Pair.BootAsync(scene.Primary);
        await scene.Module.WaitForBootAsync(scene.Primary.Name, since);
        var recovered = await scene.Module.WaitUntilMirroredAsync(SyncMax);
        Assert.True(recovered.Record!.Epoch > mirrored.Record!.Epoch);
        Assert.Empty(await ProblemsAsync(scene));
        Directory.Delete(backup, recursive: true);
        Assert.Empty((await scene.Module.JudgeAsync()).Wrong);
    }

    [LabFact]
    public async Task Database_deleted_while_a_pair_runs_is_rebuilt_by_its_hosts_and_a_failover_works_then()
    {
        var scene = await stage.ReadyAsync();
        var boots = scene.Module.Serials[scene.Primary.Name].Boots.Count;
        await scene.Pair.TakeDatabaseAsync();

        // Nobody has declared a loss: hosts are not known, and what runs goes on.
        await scene.Pair.StartServerAsync();
        await scene.Module.WaitForRecordsAsync(scene.Primary.Name, more: 200);
        Assert.Null(await scene.Module.TryGetStatusAsync());
        await scene.Pair.Server.KillAsync();

        await scene.Pair.StartServerAsync("--restored");
        await Eventually.TrueAsync("the module is rebuilt and mirrored", SyncMax, async () => await scene.Module.TryGetStatusAsync() is { IsMirrored: true, Run: true });
        Assert.Equal(boots, scene.Module.Serials[scene.Primary.Name].Boots.Count);
        Assert.Empty(await ProblemsAsync(scene));

        var since = DateTimeOffset.UtcNow;
        await scene.Primary.PowerOffAsync();
        await scene.Module.WaitForBootAsync(scene.Secondary.Name, since);
        await scene.Pair.BootAsync(scene.Primary);
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
        Assert.Empty((await scene.Module.JudgeAsync()).Wrong);
    }

    private static async Task<string[]> ProblemsAsync(Scene scene) =>
        [.. (await scene.Pair.Api.TryGetStatusAsync())!.Clusters!.Single().Problems!.Select(problem => problem.Code)];

    private static Task WaitForProblemAsync(Scene scene, string code) =>
        Eventually.TrueAsync($"the problem {code} is told", SyncMax, async () => (await scene.Pair.Api.TryGetStatusAsync())?.Clusters is [{ Problems: { } problems }]
            && problems.Any(problem => problem.Code == code));
}
