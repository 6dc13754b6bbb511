using System.Globalization;
using System.Text.Json.Serialization;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Lab.Benchmarks;

/// <summary>How much is copied when a primary that lost power in the middle of writing comes back: fio writes on the mount, the host is
/// powered off, the peer takes over, the host is switched on again and resynced.</summary>
internal static class CrashTrial
{
    private const int DetectionSeconds = 3;
    private const long FileBytes = 2L << 30;
    private const string ModuleName = "crash";

    /// <summary>Long enough for the activity log to be full where the writes are spread.</summary>
    private static readonly TimeSpan WritingTime = TimeSpan.FromSeconds(8);
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(120);

    private static readonly (string Name, string[] Fio)[] Workloads =
    [
        ("4 KiB random, depth 8, over 2 GiB", ["--rw=randwrite", "--bs=4k", "--iodepth=8", $"--size={FileBytes}"]),
        ("4 KiB random + fdatasync, depth 1, over 64 MiB", ["--rw=randwrite", "--bs=4k", "--iodepth=1", "--fdatasync=1", "--size=64m"]),
        ("1 MiB sequential, depth 8, over 2 GiB", ["--rw=write", "--bs=1m", "--iodepth=8", $"--size={FileBytes}"]),
    ];

    public static async Task<IReadOnlyList<CrashFigures>> RunAsync(Action<string> report)
    {
        await using var pair = await PolluxPair.CreateAsync(DetectionSeconds, report: report);
        var module = await MirroredModule.CreateAsync(pair, ModuleName, FileBytes);
        var figures = new List<CrashFigures>();
        foreach (var (name, fio) in Workloads)
        {
            var status = await module.WaitForAsync("both hosts are in sync", one => one.IsMirrored);
            var primary = pair.Machines[status.ReadyPrimary!];
            var survivor = pair.Machines.Hosts.Single(host => host != primary);
            report($"Power-off of {primary.Name} under {name}");
            var writing = primary.ExecAsync(
            [
                "fio", "--name=crash", $"--filename={module.FilePath}", "--ioengine=libaio", "--direct=1", "--time_based", "--runtime=600", "--randrepeat=0", .. fio,
            ], Deadline);
            await Task.Delay(WritingTime);
            await primary.PowerOffAsync();
            await writing;
            await module.WaitForAsync("the survivor has taken over", one => one.On(survivor.Name) is { Role: "ALONE", Ready: true });
            await pair.BootAsync(primary);
            status = await module.WaitForAsync("both hosts are in sync again", one => one.IsMirrored);
            var replication = status.On(survivor.Name)!.Replication!;
            figures.Add(new(name, FileBytes, replication.ResyncDoneBytes, replication.FullResync));
        }
        return figures;
    }
}

/// <param name="ModuleBytes">Size of the module.</param>
/// <param name="CopiedBytes">What the resync copied.</param>
public sealed record CrashFigures(
    [property: JsonPropertyName("workload")] string Workload, [property: JsonPropertyName("module_bytes")] long ModuleBytes,
    [property: JsonPropertyName("copied_bytes")] long CopiedBytes, [property: JsonPropertyName("full")] bool Full)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"after a crash   {Workload}: {CopiedBytes / 1048576.0:0.0} MiB of {ModuleBytes >> 20} MiB copied{(Full ? " (full resync)" : "")}");
}
