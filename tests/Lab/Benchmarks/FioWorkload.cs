using System.Globalization;
using System.Text.Json;
using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>One fio job shape. Depth counts operations in flight; a flushing one sends fdatasync after each write.</summary>
/// <param name="Name">Letter w or r, block size, q = depth; "sync" flushes each write, 8j = eight jobs of depth 1.</param>
public sealed record FioWorkload(string Name, string Pattern, string BlockSize, int Depth, int Jobs, bool Flushes)
{
    public static readonly IReadOnlyList<FioWorkload> All =
    [
        new("w4k-q1", "randwrite", "4k", 1, 1, Flushes: false),
        new("w4k-q32", "randwrite", "4k", 32, 1, Flushes: false),
        new("w4k-sync-q1", "randwrite", "4k", 1, 1, Flushes: true),
        new("w4k-sync-8j", "randwrite", "4k", 1, 8, Flushes: true),
        new("w64k-q8", "write", "64k", 8, 1, Flushes: false),
        new("w1m-q8", "write", "1M", 8, 1, Flushes: false),
        new("r4k-q1", "randread", "4k", 1, 1, Flushes: false),
        new("r4k-q32", "randread", "4k", 32, 1, Flushes: false),
    ];

    /// <summary>Runs fio on a file in a host: O_DIRECT, libaio, no verification, random without map.</summary>
    /// <exception cref="LabException">fio failed, or reported an error of the file.</exception>
    public async Task<FioFigures> RunAsync(LabHost host, string path, long sizeBytes, double seconds)
    {
        string[] command =
        [
            "fio", "--name=bench", $"--filename={path}", $"--size={sizeBytes}", "--ioengine=libaio", "--direct=1", "--thread",
            $"--rw={Pattern}", $"--bs={BlockSize}", $"--iodepth={Depth}", $"--numjobs={Jobs}", "--group_reporting",
            "--norandommap", "--randrepeat=0", "--time_based", "--ramp_time=0.5", "--output-format=json",
            string.Create(CultureInfo.InvariantCulture, $"--runtime={seconds}"),
            .. Flushes ? ["--fdatasync=1"] : (string[])[],
        ];
        var result = (await host.ExecAsync(command, TimeSpan.FromSeconds(60 + seconds))).OrThrow();
        using var json = JsonDocument.Parse(result.Output[result.Output.IndexOf('{')..]);
        var job = json.RootElement.GetProperty("jobs")[0];
        if (job.GetProperty("error").GetInt32() is not 0 and var error)
            throw new LabException($"fio on {path} ended with error {error}: {result.Said}");
        var side = job.GetProperty(Pattern.EndsWith("read", StringComparison.Ordinal) ? "read" : "write");
        var completion = side.GetProperty("clat_ns");
        var flush = Flushes ? job.GetProperty("sync").GetProperty("lat_ns") : default;
        return new FioFigures(
            side.GetProperty("iops").GetDouble(),
            side.GetProperty("bw_bytes").GetDouble() / 1e6,
            PercentileUs(completion, "50.000000") + PercentileUs(flush, "50.000000"),
            PercentileUs(completion, "99.000000") + PercentileUs(flush, "99.000000"));
    }

    private static double PercentileUs(JsonElement latency, string percentile) =>
        latency.ValueKind == JsonValueKind.Object && latency.TryGetProperty("percentile", out var table) && table.TryGetProperty(percentile, out var value)
            ? value.GetDouble() / 1e3
            : 0;
}

/// <param name="MegabytesPerSecond">10⁶ bytes.</param>
/// <param name="P50Us">Completion of a write or read, µs; of a flushing workload the sum with the same percentile of the flush.</param>
public readonly record struct FioFigures(double Iops, double MegabytesPerSecond, double P50Us, double P99Us)
{
    /// <summary>The median of each figure by itself.</summary>
    public static FioFigures MedianOf(IReadOnlyList<FioFigures> runs) => new(
        Median(runs, one => one.Iops), Median(runs, one => one.MegabytesPerSecond), Median(runs, one => one.P50Us), Median(runs, one => one.P99Us));

    private static double Median(IReadOnlyList<FioFigures> runs, Func<FioFigures, double> figure)
    {
        var sorted = runs.Select(figure).Order().ToList();
        return sorted.Count % 2 == 1 ? sorted[sorted.Count / 2] : (sorted[sorted.Count / 2 - 1] + sorted[sorted.Count / 2]) / 2;
    }
}
