using System.Globalization;
using System.Text.Json.Serialization;

namespace Pollux.Lab.Benchmarks;

/// <summary>What the figures of one run have to reach. All but memory are ratios inside the run, because the replicas share one machine.
/// A bar whose rows were not measured is left out.</summary>
public static class Bars
{
    /// <summary>The product over a plaintext link: as its peers replicate.</summary>
    public const string Plain = "pollux";

    /// <summary>The product over TLS 1.3, its default.</summary>
    public const string Protected = "pollux-tls";

    private static readonly (string Workload, double OverQuorum, double OverGluster, double TlsShare)[] Writes =
    [
        ("w4k-q1", 1.6, 4, 0.75),
        ("w4k-q32", 4, 4, 0.75),
        ("w4k-sync-q1", 1.8, 3, 0.75),
        ("w4k-sync-8j", 2, 4, 0.75),
        ("w64k-q8", 1.3, 4, 0.65),
        ("w1m-q8", 1.8, 4, 0.65),
    ];

    public static IReadOnlyList<Bar> Of(
        IReadOnlyDictionary<(string System, string Workload), BenchmarkFigures> figures, IReadOnlyList<ResyncFigures> resyncs, IReadOnlyList<MemoryFigures> memory)
    {
        var bars = new List<Bar>();
        double? Iops(string system, string workload) => figures.TryGetValue((system, workload), out var found) ? found.Iops : null;
        double? MedianUs(string system, string workload) => figures.TryGetValue((system, workload), out var found) ? found.P50Us : null;
        double? Throughput(string system, string workload) => figures.TryGetValue((system, workload), out var found) ? found.MegabytesPerSecond : null;
        void AtLeast(string name, double? part, double? whole, double bar) => Add(name, part, whole, bar, (value, limit) => value >= limit, "at least");
        void AtMost(string name, double? part, double? whole, double bar) => Add(name, part, whole, bar, (value, limit) => value <= limit, "at most");
        void Add(string name, double? part, double? whole, double bar, Func<double, double, bool> holds, string sense)
        {
            if (part is { } measured && whole is { } reference && reference > 0)
                bars.Add(new Bar(name, Math.Round(measured / reference, 3), bar, sense, holds(measured / reference, bar)));
        }

        foreach (var (workload, overQuorum, _, _) in Writes)
            AtLeast($"{workload}: {Plain} / qemu-quorum", Iops(Plain, workload), Iops("qemu-quorum", workload), overQuorum);
        foreach (var (workload, _, overGluster, _) in Writes)
            AtLeast($"{workload}: {Plain} / glusterfs", Iops(Plain, workload), Iops("glusterfs", workload), overGluster);
        foreach (var (workload, _, _, share) in Writes)
            AtLeast($"{workload}: {Protected} / {Plain}", Iops(Protected, workload), Iops(Plain, workload), share);
        var roundTripUs = MedianUs("link", "w4k-q1");
        AtMost($"w4k-q1 median: {Plain} / (raw-direct + round trip)", MedianUs(Plain, "w4k-q1"), MedianUs("raw-direct", "w4k-q1") + roundTripUs, 1.15);
        AtMost($"w4k-sync-q1 median: {Plain} / (raw-direct + 2 round trips)",
            MedianUs(Plain, "w4k-sync-q1"), MedianUs("raw-direct", "w4k-sync-q1") + 2 * roundTripUs, 1.4);
        AtLeast($"r4k-q1: {Plain} / raw-direct", Iops(Plain, "r4k-q1"), Iops("raw-direct", "r4k-q1"), 0.7);
        AtLeast($"r4k-q32: {Plain} / raw-direct", Iops(Plain, "r4k-q32"), Iops("raw-direct", "r4k-q32"), 0.6);
        if (Throughput("raw-direct", "w1m-q8") is { } disk && Throughput("link", "w1m-q8") is { } link)
            AtLeast($"resync of 100 %: {Plain} / lesser of raw-direct and link w1m-q8",
                resyncs.FirstOrDefault(one => one.System == Plain && one.ChangedPercent == 100)?.MegabytesPerSecond, Math.Min(disk, link), 0.8);
        if (memory.Where(one => one.Modules == 32).Select(one => (double?)one.HostMegabytes).Max() is { } resident)
            AtMost("pollux-host with 32 busy modules, MB", resident, 1, 300);
        return bars;
    }
}

/// <param name="Sense">"at least" or "at most" <paramref name="Limit"/>.</param>
public sealed record Bar(
    [property: JsonPropertyName("name")] string Name,
    [property: JsonPropertyName("value")] double Value,
    [property: JsonPropertyName("bar")] double Limit,
    [property: JsonPropertyName("sense")] string Sense,
    [property: JsonPropertyName("holds")] bool Holds)
{
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{(Holds ? "yes" : "NO "),-4} {Name,-72} {Value,9:0.00}   {Sense} {Limit}");
}
