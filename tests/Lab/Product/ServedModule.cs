using Pollux.Lab.Machines;

namespace Pollux.Lab.Product;

/// <summary>A mirror module without a VM: its directory is served on the primary and mirrored to the peer, and programs of the lab work in
/// it.</summary>
public sealed class ServedModule
{
    /// <summary>A kernel tells of the last closing of a file a moment after close(2) has returned; its times are equal after that.</summary>
    private static readonly TimeSpan SettledMax = TimeSpan.FromSeconds(10);

    private readonly PolluxPair _pair;

    private ServedModule(PolluxPair pair, string name) => (_pair, Name) = (pair, name);

    public string Name { get; }

    public string Folder => $"{LabHost.ModulesFolder}/{Name}";

    /// <summary>cluster/module, as the CLI wants it.</summary>
    public string Key => $"{PolluxPair.Cluster}/{Name}";

    public static async Task<ServedModule> CreateAsync(PolluxPair pair, string name, string primary)
    {
        var module = new ServedModule(pair, name);
        await pair.Machines[primary].CheckAsync("mkdir", "-p", module.Folder);
        (await pair.CliAsync("module", "create", module.Key, "--directory", module.Folder, "--primary", primary)).OrThrow();
        (await pair.CliAsync("module", "start", module.Key, "--wait", "60s")).OrThrow();
        return module;
    }

    /// <summary>Waits for a state of the module as the control plane shows it.</summary>
    public async Task<ModuleStatus> WaitForAsync(string what, TimeSpan deadline, Func<ModuleStatus, bool> condition)
    {
        ModuleStatus? last = null;
        return await Eventually.GetAsync(what, deadline, async () =>
        {
            last = await _pair.Api.TryGetModuleAsync(PolluxPair.Cluster, Name) ?? last;
            return last is not null && condition(last) ? last : null;
        }, () => last?.ToString() ?? "no answer of the control plane", TimeSpan.FromMilliseconds(100));
    }

    public Task<ModuleStatus> WaitUntilMirroredAsync(TimeSpan deadline) =>
        WaitForAsync("both hosts are in sync (PRIM and SECOND, ready)", deadline, status => status.IsMirrored);

    /// <summary>What differs between the copies when nobody works in the directory any more; empty when they are equal.</summary>
    public async Task<IReadOnlyList<string>> CompareAsync()
    {
        IReadOnlyList<string> last = [];
        try
        {
            return await Eventually.GetAsync("the copies are equal", SettledMax, async () =>
            {
                last = await DirectoryComparison.CompareAsync(_pair.Machines.Hosts[0].OnMachine(Folder), _pair.Machines.Hosts[1].OnMachine(Folder));
                return last.Count == 0 ? last : null;
            }, pause: TimeSpan.FromMilliseconds(500));
        }
        catch (LabException) when (last.Count > 0)
        {
            return last;
        }
    }
}
