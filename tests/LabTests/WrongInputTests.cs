using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>Wrong input through the real command line: a clear error with a code and an action, and nothing changed.</summary>
[Collection(PairCollection.Name)]
public sealed class WrongInputTests(PairStage stage)
{
    private const int RefusedExitCode = 1;

    [LabFact]
    public Task A_directory_that_does_not_exist_is_refused() => RefusedAsync("module.directory-missing", LabHost.ModulesFolder + "/nowhere");

    [LabFact]
    public async Task A_directory_already_in_a_module_is_refused()
    {
        var scene = await stage.ReadyAsync();
        await RefusedAsync("module.directory-taken", scene.Module.Folder);
    }

    [LabFact]
    public async Task A_directory_without_room_for_it_on_the_peer_is_refused()
    {
        await stage.ReadyAsync();
        var alpha = stage.Pair.Machines["alpha"];
        var folder = LabHost.ModulesFolder + "/large";
        await alpha.CheckAsync("mkdir", "-p", folder);
        await alpha.CheckAsync("fallocate", "-l", $"{PairStage.BetaDiskBytes + (1 << 20)}", folder + "/data");
        await RefusedAsync("module.no-room", folder);
        await alpha.CheckAsync("rm", "-r", folder);
    }

    [LabFact]
    public async Task A_definition_that_libvirt_refuses_is_refused()
    {
        await stage.ReadyAsync();
        var alpha = stage.Pair.Machines["alpha"];
        var folder = LabHost.ModulesFolder + "/broken";
        await alpha.CheckAsync("mkdir", "-p", folder);
        await File.WriteAllTextAsync(alpha.OnMachine(folder + "/broken.xml"), "<domain type='qemu'><name>broken</name></domain>");
        await RefusedAsync("vm.definition-refused", folder, "--vm", "broken");
        await alpha.CheckAsync("rm", "-r", folder);
    }

    [LabFact]
    public async Task A_host_that_belongs_to_a_cluster_cannot_join_another()
    {
        await stage.ReadyAsync();
        (await stage.Pair.CliAsync("cluster", "create", "other")).OrThrow();
        var added = (await stage.Pair.CliAsync("host", "add", "other/alpha", "--json")).OrThrow();
        var joined = await stage.Pair.TryJoinAsync(stage.Pair.Machines["alpha"], PolluxPair.TokenOf(added.Output));
        Assert.NotEqual(0, joined.ExitCode);
        Assert.Contains(PolluxPair.Cluster, joined.Said, StringComparison.Ordinal);
        // It still is what it was.
        await stage.ReadyAsync();
    }

    [LabFact]
    public async Task A_module_over_the_limit_of_the_cluster_is_refused()
    {
        await stage.ReadyAsync();
        var alpha = stage.Pair.Machines["alpha"];
        var made = new List<string>();
        // One module, the writing one, is there already.
        for (var i = 1; i < PairStage.ModulesMax; i++)
        {
            var name = $"m{i}";
            await alpha.CheckAsync("mkdir", "-p", $"{LabHost.ModulesFolder}/{name}");
            (await CreateAsync(name, $"{LabHost.ModulesFolder}/{name}")).OrThrow();
            made.Add(name);
        }
        await alpha.CheckAsync("mkdir", "-p", $"{LabHost.ModulesFolder}/over");
        await RefusedAsync("module.limit", $"{LabHost.ModulesFolder}/over");
        foreach (var name in made)
            (await stage.Pair.CliAsync("module", "delete", $"{PolluxPair.Cluster}/{name}")).OrThrow();
    }

    /// <summary>The command is refused with this code and an action; modules and mounts are as before.</summary>
    private async Task RefusedAsync(string code, string directory, params string[] more)
    {
        await stage.ReadyAsync();
        var before = await ModulesAsync();
        var result = await CreateAsync("wrong", directory, more);
        Assert.Equal(RefusedExitCode, result.ExitCode);
        Assert.Contains($"! {code}: ", result.Said, StringComparison.Ordinal);
        Assert.Contains("  action  ", result.Said, StringComparison.Ordinal);
        Assert.Equal(before, await ModulesAsync());
        if (directory == stage.Module.Folder)
            return;
        foreach (var host in stage.Pair.Machines.Hosts)
            Assert.DoesNotContain($" {directory} ", await File.ReadAllTextAsync($"/proc/{host.InitProcessId}/mounts"), StringComparison.Ordinal);
    }

    private Task<ShellResult> CreateAsync(string name, string directory, params string[] more) =>
        stage.Pair.CliAsync(["module", "create", $"{PolluxPair.Cluster}/{name}", "--directory", directory, "--primary", "alpha", .. more]);

    private async Task<IReadOnlyList<string>> ModulesAsync()
    {
        var status = await stage.Pair.Api.TryGetStatusAsync() ?? throw new LabException("The control plane does not answer.");
        return [.. status.Clusters!.Single(one => one.Name == PolluxPair.Cluster).Modules!.Select(module => module.Name).Order(StringComparer.Ordinal)];
    }
}
