using Pollux.Lab.Machines;

namespace Pollux.Lab.Product;

/// <summary>A mirror module without a VM: its directories are served on the primary and mirrored to the peer, and programs of the lab work in
/// them.</summary>
public sealed class ServedModule
{
    /// <summary>A kernel tells of the last closing of a file a moment after close(2) has returned; its times are equal after that.</summary>
    private static readonly TimeSpan SettledMax = TimeSpan.FromSeconds(10);

    private readonly PolluxPair _pair;

    private ServedModule(PolluxPair pair, string name, IEnumerable<string> furtherFolders)
    {
        (_pair, Name) = (pair, name);
        Folders = [Folder, .. furtherFolders];
    }

    public string Name { get; }

    /// <summary>The first directory.</summary>
    public string Folder => $"{LabHost.ModulesFolder}/{Name}";

    /// <summary>All directories in their order.</summary>
    public IReadOnlyList<string> Folders { get; }

    /// <summary>cluster/module, as the CLI wants it.</summary>
    public string Key => $"{PolluxPair.Cluster}/{Name}";

    public static async Task<ServedModule> CreateAsync(PolluxPair pair, string name, string primary, params string[] furtherFolders)
    {
        var module = new ServedModule(pair, name, furtherFolders);
        await pair.Machines[primary].CheckAsync(["mkdir", "-p", .. module.Folders]);
        (await pair.CliAsync(["module", "create", module.Key, .. module.Folders.SelectMany(folder => (string[])["--directory", folder]), "--primary", primary])).OrThrow();
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
                var (one, other) = (_pair.Machines.Hosts[0], _pair.Machines.Hosts[1]);
                last = [.. (await Task.WhenAll(Folders.Select(folder =>
                    DirectoryComparison.CompareAsync(one.OnMachine(folder), other.OnMachine(folder))))).SelectMany(static differences => differences)];
                return last.Count == 0 ? last : null;
            }, pause: TimeSpan.FromMilliseconds(500));
        }
        catch (LabException) when (last.Count > 0)
        {
            return last;
        }
    }
}
