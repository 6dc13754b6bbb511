using System.Globalization;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Replication;
using Pollux.Lab.Product;

namespace Pollux.Lab.Benchmarks;

/// <summary>What the activity log costs a writer: random writes within the extents that it holds at once, and over more than those, where a
/// share of the writes waits for an activation.</summary>
internal static class SpreadTrial
{
    private const int DetectionSeconds = 10;
    private const long FileBytes = 8L << 30;
    private const long NearBytes = 512L << 20;
    private const double Seconds = 3;
    private const int Rounds = 3;
    private const string ModuleName = "spread";

    public static async Task<IReadOnlyList<SpreadFigures>> RunAsync(Action<string> report)
    {
        await using var pair = await PolluxPair.CreateAsync(DetectionSeconds, clusterOptions: ["--link", "plaintext"], report: report);
        var module = await MirroredModule.CreateAsync(pair, ModuleName, FileBytes);
        var systems = new List<FioSystem>();
        foreach (var spanBytes in (long[])[NearBytes, FileBytes])
            systems.Add(await module.AsSystemAsync("pollux", "plaintext", spanBytes));
        var runs = new List<(Workload Workload, FioSystem System, BenchmarkFigures Figures)>();
        foreach (var workload in (Workload[])[Workload.Named("w4k-q1"), Workload.Named("w4k-q32"), Workload.Named("w4k-sync-q1")])
            for (var round = 0; round < Rounds; round++)
                foreach (var system in systems)
                {
                    report($"{workload.Name} over {system.SizeBytes >> 20} MiB, round {round + 1}");
                    runs.Add((workload, system, await system.RunAsync(workload, Seconds)));
                }
        await systems[0].CheckAsync();
        return
        [
            .. runs.GroupBy(run => (run.Workload, run.System)).Select(group =>
            {
                var median = BenchmarkFigures.MedianOf([.. group.Select(run => run.Figures)]);
                return new SpreadFigures(group.Key.Workload.Name, group.Key.System.SizeBytes, MissedShare(group.Key.System.SizeBytes), median.Iops, median.P50Us, median.P99Us);
            }),
        ];
    }

    /// <summary>Of uniformly random writes, when the log is full of them.</summary>
    private static double MissedShare(long spanBytes) => Math.Max(0, 1 - (double)EngineShell.LogSlots * LogEntry.ExtentBytes / spanBytes);
}

/// <param name="SpanBytes">The writes are uniformly random over so much.</param>
/// <param name="ActivatingShare">Of the writes, those that have to activate an extent, by reckoning.</param>
public sealed record SpreadFigures(
    [property: JsonPropertyName("workload")] string Workload, [property: JsonPropertyName("span_bytes")] long SpanBytes,
    [property: JsonPropertyName("activating_share")] double ActivatingShare,
    [property: JsonPropertyName("iops")] double Iops, [property: JsonPropertyName("p50_us")] double MedianUs, [property: JsonPropertyName("p99_us")] double P99Us)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"spread writes   {Workload,-12} over {SpanBytes >> 20,5} MiB, {ActivatingShare:0 %} activate: {Iops,8:0} IOPS, median {MedianUs:0} µs, p99 {P99Us:0} µs");
}
