using System.Globalization;
using System.Text.Json.Serialization;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Lab.Benchmarks;

/// <summary>Resident memory of the data plane while one, then all 32 modules of a pair are written and flushed as fast as they go.</summary>
internal static class MemoryTrial
{
    /// <summary>The policy's limit of modules in a cluster.</summary>
    private const int ModulesMax = 32;

    private const long FileBytes = 32 << 20;
    private const double BusySeconds = 12;
    private static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(250);

    public static async Task<IReadOnlyList<MemoryFigures>> RunAsync(PolluxPair pair, MirroredModule first, string system, Action<string> report)
    {
        report("Memory with 1 busy module");
        var figures = new List<MemoryFigures>(await LoadAsync([first], system));
        report($"Making {ModulesMax - 1} more modules");
        var modules = new List<MirroredModule> { first };
        for (var i = modules.Count; i < ModulesMax; i++)
            modules.Add(await MirroredModule.CreateAsync(pair, $"busy{i}", FileBytes));
        report($"Memory with {ModulesMax} busy modules");
        figures.AddRange(await LoadAsync(modules, system));
        return figures;
    }

    private static async Task<IReadOnlyList<MemoryFigures>> LoadAsync(IReadOnlyList<MirroredModule> modules, string system)
    {
        var (primary, secondary) = (modules[0].Primary, modules[0].Secondary);
        var load = primary.ExecAsync(
        [
            "fio", $"--size={FileBytes}", "--ioengine=libaio", "--direct=1", "--thread", "--rw=randwrite", "--bs=4k", "--iodepth=4", "--fdatasync=16",
            "--norandommap", "--time_based", $"--runtime={Fio.Milliseconds(BusySeconds)}",
            .. modules.SelectMany(module => new[] { $"--name={module.Name}", $"--filename={module.FilePath}" }),
        ], TimeSpan.FromSeconds(60 + BusySeconds));
        var highest = new Dictionary<LabHost, (long DataPlane, long Others)>();
        while (!load.IsCompleted)
        {
            foreach (var host in new[] { primary, secondary })
            {
                var (dataPlane, others) = await ResidentAsync(host);
                var (dataPlaneMax, othersMax) = highest.GetValueOrDefault(host);
                highest[host] = (Math.Max(dataPlaneMax, dataPlane), Math.Max(othersMax, others));
            }
            await Task.WhenAny(load, Task.Delay(LookEvery));
        }
        (await load).OrThrow();
        return [.. highest.Select(pair => new MemoryFigures(system, modules.Count, pair.Key.Name, pair.Key == primary ? "PRIM" : "SECOND",
            Math.Round(pair.Value.DataPlane / 1e6, 1), Math.Round(pair.Value.Others / 1e6, 1)))];
    }

    private static async Task<(long DataPlane, long Others)> ResidentAsync(LabHost host)
    {
        long dataPlane = 0, others = 0;
        foreach (var id in await host.ProcessesAsync("pollux-host"))
        {
            if (ProcFs.CommandName(id) == "nsenter")
                continue;
            if (ProcFs.CommandLine(id).Contains("pollux-host.dll run ", StringComparison.Ordinal))
                dataPlane += ProcFs.ResidentBytes(id);
            else
                others += ProcFs.ResidentBytes(id);
        }
        return (dataPlane, others);
    }
}

/// <param name="HostMegabytes">VmRSS of <c>pollux-host run</c>, the highest that was seen, 10⁶ bytes.</param>
/// <param name="OtherMegabytes">VmRSS of the processes that it started (its guard).</param>
public sealed record MemoryFigures(
    [property: JsonPropertyName("system")] string System,
    [property: JsonPropertyName("modules")] int Modules,
    [property: JsonPropertyName("host")] string Host,
    [property: JsonPropertyName("role")] string Role,
    [property: JsonPropertyName("rss_mb")] double HostMegabytes,
    [property: JsonPropertyName("others_rss_mb")] double OtherMegabytes)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{System,-14} {Modules,2} busy, {Host} ({Role}): pollux-host {HostMegabytes:0.0} MB, its other processes {OtherMegabytes:0.0} MB");
}
