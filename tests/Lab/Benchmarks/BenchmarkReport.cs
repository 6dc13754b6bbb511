using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Pollux.Lab.Benchmarks;

/// <summary>The result of a benchmark, as JSON and as a table.</summary>
public sealed record BenchmarkReport(
    [property: JsonPropertyName("machine")] Machine Machine,
    [property: JsonPropertyName("rounds")] int Rounds,
    [property: JsonPropertyName("seconds_per_run")] double SecondsPerRun,
    [property: JsonPropertyName("rows")] IReadOnlyList<BenchmarkRow> Rows,
    [property: JsonPropertyName("resync")] IReadOnlyList<ResyncFigures> Resyncs,
    [property: JsonPropertyName("memory")] IReadOnlyList<MemoryFigures> Memory,
    [property: JsonPropertyName("bars")] IReadOnlyList<Bar> Bars)
{
    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public async Task WriteAsync(string path) => await File.WriteAllTextAsync(path, JsonSerializer.Serialize(this, Json) + "\n");

    /// <summary>The table, the bars, and what the figures mean.</summary>
    public string Text()
    {
        var text = new StringBuilder($"""

            Machine: {Machine.Cores} cores ({Machine.Processor}), {Machine.Memory}, Linux {Machine.Kernel}; both replicas on this machine and its one disk: use the ratios.
            Medians of {Rounds} rounds of {SecondsPerRun.ToString(CultureInfo.InvariantCulture)} s, systems in turn inside each workload of each round; file of {ReplicationBenchmark.FileBytes >> 20} MiB written before.
            fio, O_DIRECT on files (libaio) and NBD; raw-buffered by pwrite one at a time; link: one TCP connection per job, block out and 16 bytes back.
            Names: w/r = write/read, 4k/64k/1m = block, q = depth, 8j = 8 jobs of depth 1, sync = fdatasync after each write (latency: write + flush).
            4k is random, larger sequential. Reads begin with an empty page cache. Latency in µs. CPU: user + system seconds of the system's processes
            on both hosts and of the load generator, per GiB and per 1000 operations; kernel threads not counted.
            GlusterFS answers a write that is not flushed before it is replicated (write-behind); QEMU's mirror does not flush its target.


            """);
        foreach (var rows in Rows.GroupBy(row => row.Workload))
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"{rows.Key,-13} {"link",-9} {"iops",9} {"MB/s",8} {"p50",8} {"p99",9} {"cpu/GiB",8} {"cpu/1000",9}");
            foreach (var row in rows)
                text.AppendLine(CultureInfo.InvariantCulture,
                    $"  {row.System,-11} {row.Link ?? "-",-9} {row.Iops,9:0} {row.MegabytesPerSecond,8:0.0} {row.P50Us,8:0} {row.P99Us,9:0} {row.ProcessorSecondsPerGib,8:0.00} {row.ProcessorSecondsPerThousand,9:0.000}");
        }
        if (Resyncs.Count > 0)
            text.AppendLine().AppendLine("Resync, after random 64 KiB changes").AppendJoin('\n', Resyncs.Select(one => "  " + one)).AppendLine();
        if (Memory.Count > 0)
            text.AppendLine().AppendLine("Resident memory, highest seen").AppendJoin('\n', Memory.Select(one => "  " + one)).AppendLine();
        if (Bars.Count == 0)
            return text.ToString();
        text.AppendLine().AppendLine("Bars").AppendJoin('\n', Bars.Select(one => "  " + one)).AppendLine();
        var missed = Bars.Count(one => !one.Holds);
        return text.AppendLine().AppendLine(missed == 0 ? $"All {Bars.Count} bars hold." : $"{missed} of {Bars.Count} bars are MISSED.").ToString();
    }
}

/// <param name="Link">"plaintext", "tls1.3", or null where nothing is replicated.</param>
public sealed record BenchmarkRow(
    [property: JsonPropertyName("system")] string System,
    [property: JsonPropertyName("link")] string? Link,
    [property: JsonPropertyName("workload")] string Workload,
    [property: JsonPropertyName("iops")] double Iops,
    [property: JsonPropertyName("mb_s")] double MegabytesPerSecond,
    [property: JsonPropertyName("p50_us")] double P50Us,
    [property: JsonPropertyName("p99_us")] double P99Us,
    [property: JsonPropertyName("cpu_s_per_gib")] double ProcessorSecondsPerGib,
    [property: JsonPropertyName("cpu_s_per_1000_ops")] double ProcessorSecondsPerThousand)
{
    public static BenchmarkRow Of(IBenchmarkSystem system, Workload workload, BenchmarkFigures figures) => new(
        system.Name, system.Link, workload.Name, Math.Round(figures.Iops, 1), Math.Round(figures.MegabytesPerSecond, 2),
        Math.Round(figures.P50Us, 1), Math.Round(figures.P99Us, 1), Math.Round(figures.ProcessorSecondsPerGib, 3),
        Math.Round(figures.ProcessorSecondsPerThousand, 4));
}

/// <summary>Where the figures were taken.</summary>
public sealed record Machine(
    [property: JsonPropertyName("cores")] int Cores,
    [property: JsonPropertyName("processor")] string Processor,
    [property: JsonPropertyName("memory")] string Memory,
    [property: JsonPropertyName("kernel")] string Kernel,
    [property: JsonPropertyName("date")] string Date)
{
    public static Machine This() => new(
        Environment.ProcessorCount,
        File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim() ?? "unknown",
        $"{GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 30} GiB",
        File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
        DateTimeOffset.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture));
}
