namespace Pollux.Lab.Benchmarks;

/// <summary>What one run of one workload on one system gave.</summary>
/// <param name="MegabytesPerSecond">10⁶ bytes.</param>
/// <param name="P50Us">From submission to completion, µs; of a flushing workload the write's plus the flush's same percentile.</param>
/// <param name="ProcessorSecondsPerGib">User and system time of the system's processes on both hosts and of the load generator, per 2³⁰ bytes.
/// Kernel threads (writeback) are in no process and not in it.</param>
/// <param name="ProcessorSecondsPerThousand">The same per 1000 operations.</param>
public readonly record struct BenchmarkFigures(
    double Iops, double MegabytesPerSecond, double P50Us, double P99Us, double ProcessorSecondsPerGib, double ProcessorSecondsPerThousand)
{
    /// <summary>The median of each figure by itself.</summary>
    public static BenchmarkFigures MedianOf(IReadOnlyList<BenchmarkFigures> runs) => new(
        Median(runs, one => one.Iops), Median(runs, one => one.MegabytesPerSecond), Median(runs, one => one.P50Us), Median(runs, one => one.P99Us),
        Median(runs, one => one.ProcessorSecondsPerGib), Median(runs, one => one.ProcessorSecondsPerThousand));

    public static double Median(IReadOnlyList<BenchmarkFigures> runs, Func<BenchmarkFigures, double> figure)
    {
        var sorted = runs.Select(figure).Order().ToList();
        return sorted.Count % 2 == 1 ? sorted[sorted.Count / 2] : (sorted[sorted.Count / 2 - 1] + sorted[sorted.Count / 2]) / 2;
    }
}
