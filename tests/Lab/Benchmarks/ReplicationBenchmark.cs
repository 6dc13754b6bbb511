using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;
using Pollux.Lab.Scenarios;

namespace Pollux.Lab.Benchmarks;

/// <summary>
/// fio on the Pollux mount beside the raw file and beside GlusterFS replica 2, on the same host of the same lab. The systems
/// take turns inside each workload and each round, so that a slow moment of the machine meets all of them; the figures are
/// medians over the rounds. Both replicas share one machine: use the ratios.
/// </summary>
public static class ReplicationBenchmark
{
    private const int Rounds = 3;
    private const double SecondsPerRun = 2;
    private const long FileBytes = 1L << 30;
    private const string Raw = "raw-direct";
    private const string Pollux = "pollux";
    private const string Gluster = "glusterfs";

    /// <summary>Larger than any stall of an overloaded small machine: the benchmark measures writes, not failovers.</summary>
    private const int DetectionSeconds = 30;

    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(180);

    /// <param name="jsonPath">Where the rows go as JSON, or null.</param>
    public static async Task<int> RunAsync(string? jsonPath)
    {
        await using var pair = await PolluxPair.CreateAsync(DetectionSeconds, report: Demo.Say);
        var (alpha, beta) = (pair.Machines["alpha"], pair.Machines["beta"]);
        const string Folder = LabHost.ModulesFolder + "/bench";
        var paths = new Dictionary<string, string>
        {
            [Raw] = "/var/lib/libvirt/bench/raw.dat",
            [Pollux] = Folder + "/bench.dat",
            [Gluster] = "/var/lib/libvirt/bench/gluster/bench.dat",
        };

        Demo.Say("Making a module without a VM; its directory is served and mirrored");
        await alpha.CheckAsync("mkdir", "-p", Folder, "/var/lib/libvirt/bench");
        (await pair.CliAsync("module", "create", $"{PolluxPair.Cluster}/bench", "--directory", Folder, "--primary", "alpha")).OrThrow();
        (await pair.CliAsync("module", "start", $"{PolluxPair.Cluster}/bench", "--wait", "60s")).OrThrow();
        ModuleStatus? last = null;
        await Eventually.TrueAsync("the module is mirrored", SyncMax,
            async () => (last = await pair.Api.TryGetModuleAsync(PolluxPair.Cluster, "bench") ?? last) is { IsMirrored: true },
            () => last?.ToString() ?? "no answer");
        Demo.Say("Making a GlusterFS volume of two replicas");
        await GlusterPair.MountAsync(alpha, beta, "/var/lib/libvirt/bench/gluster");
        foreach (var (system, path) in paths)
        {
            Demo.Say($"Writing the file of {system} ({FileBytes >> 20} MiB)");
            (await alpha.ExecAsync(["dd", "if=/dev/zero", $"of={path}", "bs=1M", $"count={FileBytes >> 20}", "oflag=direct", "conv=fsync", "status=none"], SyncMax)).OrThrow();
        }

        var runs = new Dictionary<(string System, string Workload), List<FioFigures>>();
        for (var round = 1; round <= Rounds; round++)
            foreach (var workload in FioWorkload.All)
            {
                Demo.Say($"Round {round} of {Rounds}: {workload.Name}");
                foreach (var (system, path) in paths)
                {
                    if (!runs.TryGetValue((system, workload.Name), out var list))
                        runs[(system, workload.Name)] = list = [];
                    list.Add(await workload.RunAsync(alpha, path, FileBytes, SecondsPerRun));
                }
            }
        var status = await pair.Api.TryGetModuleAsync(PolluxPair.Cluster, "bench");
        if (status is not { IsMirrored: true })
            throw new LabException($"The module did not stay mirrored, so the figures do not count: {status}");
        var medians = runs.ToDictionary(pairOf => pairOf.Key, pairOf => FioFigures.MedianOf(pairOf.Value));
        Print(medians, [.. paths.Keys]);
        if (jsonPath is not null)
            await WriteJsonAsync(jsonPath, medians);
        return 0;
    }

    private static void Print(Dictionary<(string System, string Workload), FioFigures> figures, IReadOnlyList<string> systems)
    {
        var cpu = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim();
        Console.WriteLine($"""

            Machine: {Environment.ProcessorCount} cores ({cpu}), Linux {Environment.OSVersion.Version}; both replicas on this machine and disk.
            fio, O_DIRECT, libaio, file of {FileBytes >> 20} MiB written before; medians of {Rounds} rounds of {SecondsPerRun:0.#} s, systems interleaved.
            Names: w/r = write/read, 4k/64k/1m = block size, q = depth, 8j = 8 jobs of depth 1, sync = fdatasync after each write
            (its latency is the write's plus the flush's). 4k is random, larger is sequential. Latencies in µs.
            Pollux and GlusterFS read through their host's page cache, the raw file does not; GlusterFS answers a write that is not
            flushed before it is replicated (write-behind), Pollux after.

            """);
        var line = string.Concat(systems.Select(system => $" | {system,-37}"));
        Console.WriteLine($"{"",-12}{line} | pollux/raw | pollux/gluster");
        Console.WriteLine($"{"workload",-12}{string.Concat(systems.Select(_ => $" | {"iops",9} {"MB/s",8} {"p50",8} {"p99",9}"))} |            |");
        foreach (var workload in FioWorkload.All)
        {
            var cells = string.Concat(systems.Select(system => figures[(system, workload.Name)]).Select(one => string.Create(
                CultureInfo.InvariantCulture, $" | {one.Iops,9:0} {one.MegabytesPerSecond,8:0.0} {one.P50Us,8:0} {one.P99Us,9:0}")));
            var pollux = figures[(Pollux, workload.Name)].Iops;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{workload.Name,-12}{cells} | {pollux / figures[(Raw, workload.Name)].Iops,9:0.00}x | {pollux / figures[(Gluster, workload.Name)].Iops,9:0.00}x"));
        }
    }

    private static async Task WriteJsonAsync(string path, Dictionary<(string System, string Workload), FioFigures> figures)
    {
        var rows = figures.Select(pair => new Row(pair.Key.System, pair.Key.Workload, Math.Round(pair.Value.Iops, 1),
            Math.Round(pair.Value.MegabytesPerSecond, 2), Math.Round(pair.Value.P50Us, 1), Math.Round(pair.Value.P99Us, 1)));
        await File.WriteAllTextAsync(path, JsonSerializer.Serialize(new Report([.. rows]), new JsonSerializerOptions { WriteIndented = true }) + "\n");
        Console.WriteLine($"\nRows written to {path}");
    }

    private sealed record Report([property: JsonPropertyName("rows")] IReadOnlyList<Row> Rows);

    private sealed record Row(
        [property: JsonPropertyName("system")] string System,
        [property: JsonPropertyName("workload")] string Workload,
        [property: JsonPropertyName("iops")] double Iops,
        [property: JsonPropertyName("mb_s")] double MegabytesPerSecond,
        [property: JsonPropertyName("p50_us")] double P50Us,
        [property: JsonPropertyName("p99_us")] double P99Us);
}
