using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Lab.Benchmarks;

/// <summary>A mirror module without a VM on a pair: its directory is served on alpha and mirrored to beta.</summary>
public sealed class MirroredModule
{
    private static readonly TimeSpan MirroredMax = TimeSpan.FromSeconds(120);

    private readonly PolluxPair _pair;

    private MirroredModule(PolluxPair pair, string name) => (_pair, Name) = (pair, name);

    public string Name { get; }

    public string Key => $"{PolluxPair.Cluster}/{Name}";

    public string Folder => $"{LabHost.ModulesFolder}/{Name}";

    public string FilePath => $"{Folder}/bench.dat";

    public LabHost Primary => _pair.Machines["alpha"];

    public LabHost Secondary => _pair.Machines["beta"];

    /// <summary>Both copies of the file, as the machine sees them.</summary>
    public IReadOnlyList<string> Copies => [Primary.OnMachine(FilePath), Secondary.OnMachine(FilePath)];

    /// <summary>Makes the module, waits until it is mirrored, and writes its file through the mount.</summary>
    public static async Task<MirroredModule> CreateAsync(PolluxPair pair, string name, long sizeBytes)
    {
        var module = new MirroredModule(pair, name);
        await module.Primary.CheckAsync("mkdir", "-p", module.Folder);
        (await pair.CliAsync("module", "create", module.Key, "--directory", module.Folder, "--primary", module.Primary.Name)).OrThrow();
        (await pair.CliAsync("module", "start", module.Key, "--wait", "60s")).OrThrow();
        await module.WaitForAsync("the module is mirrored", status => status.IsMirrored);
        await BenchmarkFiles.WriteAsync(module.Primary, module.FilePath, sizeBytes);
        return module;
    }

    public async Task<ModuleStatus> WaitForAsync(string what, Func<ModuleStatus, bool> condition)
    {
        ModuleStatus? last = null;
        return await Eventually.GetAsync($"{Key}: {what}", MirroredMax, async () =>
        {
            last = await _pair.Api.TryGetModuleAsync(PolluxPair.Cluster, Name) ?? last;
            return last is not null && condition(last) ? last : null;
        }, () => last?.ToString() ?? "no answer of the control plane");
    }

    /// <summary>fio on the mount, with the processes of both data planes (their guards too).</summary>
    public async Task<FioSystem> AsSystemAsync(string name, string link, long sizeBytes) => new(
        name, link, Primary, ["--ioengine=libaio", "--direct=1", $"--filename={FilePath}"], sizeBytes, Copies,
        [.. await Primary.ProcessesAsync("pollux-host"), .. await Secondary.ProcessesAsync("pollux-host")],
        async () =>
        {
            var status = await _pair.Api.TryGetModuleAsync(PolluxPair.Cluster, Name);
            if (status is not { IsMirrored: true })
                throw new LabException($"The module did not stay mirrored, so the figures do not count: {status}");
            var compared = await Shell.RunAsync(["cmp", .. Copies], MirroredMax);
            if (!compared.Succeeded)
                throw new LabException($"The copies differ after the load has ended: {compared.Said}");
        });
}
