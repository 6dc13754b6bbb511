using Pollux.Lab.Machines;
using Pollux.Lab.Product;
using Pollux.Lab.Scenarios;

namespace Pollux.Lab.Benchmarks;

/// <summary>
/// Pollux beside the raw file, the bare link and its peers, on hosts of one lab. The systems take turns inside each workload of each round,
/// so that a slow moment of the machine meets all of them; the figures are medians over the rounds. How a link is protected is a policy of
/// the cluster, so Pollux over plaintext and over TLS are two pairs of hosts; everything else runs on the first pair.
/// </summary>
public static class ReplicationBenchmark
{
    public const long FileBytes = 1L << 30;

    /// <summary>Larger than any stall of an overloaded small machine: the benchmark measures writes, not failovers.</summary>
    private const int DetectionSeconds = 30;

    private const string ModuleName = "bench";

    /// <returns>0: measured. A missed bar is said, it is no failure of the measurement.</returns>
    public static async Task<int> RunAsync(BenchmarkOptions options)
    {
        await using var stage = await Stage.CreateAsync(options);
        IReadOnlyList<BenchmarkRow> rows = [];
        var medians = new Dictionary<(string System, string Workload), BenchmarkFigures>();
        if (options.Parts.Contains("workloads"))
            rows = await MeasureAsync(stage.Systems, options, medians);
        var resyncs = new List<ResyncFigures>();
        if (options.Parts.Contains("resync"))
            foreach (var product in stage.Products)
                resyncs.AddRange(await ResyncTrial.RunAsync(product.Pair, product.Module, product.System, Demo.Say));
        IReadOnlyList<MemoryFigures> memory = [];
        // TLS is the default, and needs more of it.
        if (options.Parts.Contains("memory") && stage.Products.LastOrDefault() is { } last)
            memory = await MemoryTrial.RunAsync(last.Pair, last.Module, last.System.Name, Demo.Say);
        var report = new BenchmarkReport(Machine.This(), options.Rounds, options.Seconds, rows, resyncs, memory, Bars.Of(medians, resyncs, memory));
        Console.Write(report.Text());
        if (options.JsonPath is { } path)
        {
            await report.WriteAsync(path);
            Console.WriteLine($"\nFigures written to {path}");
        }
        return 0;
    }

    private static async Task<IReadOnlyList<BenchmarkRow>> MeasureAsync(
        IReadOnlyList<IBenchmarkSystem> systems, BenchmarkOptions options, Dictionary<(string System, string Workload), BenchmarkFigures> medians)
    {
        var runs = new Dictionary<(string System, string Workload), List<BenchmarkFigures>>();
        for (var round = 1; round <= options.Rounds; round++)
            foreach (var workload in options.Workloads)
            {
                Demo.Say($"Round {round} of {options.Rounds}: {workload.Name}");
                foreach (var system in systems)
                {
                    if (!runs.TryGetValue((system.Name, workload.Name), out var list))
                        runs[(system.Name, workload.Name)] = list = [];
                    list.Add(await system.RunAsync(workload, options.Seconds));
                }
            }
        foreach (var system in systems)
            await system.CheckAsync();
        foreach (var (key, list) in runs)
            medians[key] = BenchmarkFigures.MedianOf(list);
        return [.. options.Workloads.SelectMany(workload => systems.Select(system => BenchmarkRow.Of(system, workload, medians[(system.Name, workload.Name)])))];
    }

    private sealed record Product(PolluxPair Pair, MirroredModule Module, FioSystem System);

    /// <summary>Everything that is measured, set up and filled.</summary>
    private sealed class Stage : IAsyncDisposable
    {
        private readonly List<PolluxPair> _pairs = [];
        private VirtualLab? _bare;

        public List<IBenchmarkSystem> Systems { get; } = [];

        public List<Product> Products { get; } = [];

        public static async Task<Stage> CreateAsync(BenchmarkOptions options)
        {
            var stage = new Stage();
            try
            {
                await stage.PrepareAsync(options);
                return stage;
            }
            catch
            {
                await stage.DisposeAsync();
                throw;
            }
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var pair in _pairs)
                await pair.DisposeAsync();
            if (_bare is not null)
                await _bare.DisposeAsync();
        }

        private async Task PrepareAsync(BenchmarkOptions options)
        {
            if (options.Systems.Contains(Bars.Plain))
                await AddProductAsync(Bars.Plain, "plaintext");
            if (options.Systems.Contains(Bars.Protected))
                await AddProductAsync(Bars.Protected, "tls1.3");
            var (first, second) = await HostsAsync();
            foreach (var (name, prepare) in Peers(first, second))
                if (options.Systems.Contains(name) && options.Parts.Contains("workloads"))
                {
                    Demo.Say($"Preparing {name}");
                    Systems.Add(await prepare());
                }
            Systems.AddRange(Products.Select(product => product.System));
        }

        private async Task AddProductAsync(string name, string link)
        {
            Demo.Say($"Preparing {name}: a pair with a mirrored module and no VM");
            var pair = await PolluxPair.CreateAsync(DetectionSeconds, clusterOptions: ["--link", link == "plaintext" ? "plaintext" : "tls"]);
            _pairs.Add(pair);
            var module = await MirroredModule.CreateAsync(pair, ModuleName, FileBytes);
            Products.Add(new Product(pair, module, await module.AsSystemAsync(name, link, FileBytes)));
        }

        /// <summary>Two hosts for all that is not Pollux: those of the first pair, or bare ones.</summary>
        private async Task<(LabHost First, LabHost Second)> HostsAsync()
        {
            if (_pairs is [var pair, ..])
                return (pair.Machines["alpha"], pair.Machines["beta"]);
            _bare = await VirtualLab.CreateAsync(["alpha", "beta"]);
            foreach (var host in _bare.Hosts)
                await host.StartAsync();
            return (_bare["alpha"], _bare["beta"]);
        }

        private static IEnumerable<(string Name, Func<Task<IBenchmarkSystem>> Prepare)> Peers(LabHost first, LabHost second) =>
        [
            ("raw-direct", async () => await RawFile.DirectAsync(first, $"{BenchmarkFiles.Folder}/raw-direct.dat", FileBytes)),
            ("raw-buffered", async () => await RawFile.BufferedAsync(first, $"{BenchmarkFiles.Folder}/raw-buffered.dat", FileBytes)),
            ("link", async () => await LinkSystem.StartAsync(first, second)),
            ("glusterfs", async () => await GlusterPair.StartAsync(first, second, FileBytes)),
            ("qemu-mirror", async () => await QemuPair.MirrorAsync(first, second, FileBytes)),
            ("qemu-quorum", async () => await QemuPair.QuorumAsync(first, second, FileBytes)),
        ];
    }
}
