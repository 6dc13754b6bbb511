using System.Globalization;
using System.Text.Json;
using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>The load generator fio, run inside a host.</summary>
public static class Fio
{
    /// <summary>Before the measured time, seconds: the first operations meet cold code and empty queues.</summary>
    public const double RampSeconds = 0.4;

    /// <summary>Runs a workload without verification, random without map.</summary>
    /// <param name="target">fio's options for engine and file.</param>
    /// <param name="flushOption">fdatasync, or fsync where the engine knows no other.</param>
    /// <param name="processes">Of the system, outside all process namespaces; their processor time is part of the bill.</param>
    /// <exception cref="LabException">fio failed, or reported an error of the file.</exception>
    public static async Task<BenchmarkFigures> RunAsync(LabHost host, Workload workload, IReadOnlyList<string> target, long sizeBytes, double seconds,
        string flushOption, IReadOnlyList<int> processes)
    {
        string[] command =
        [
            "fio", "--name=bench", $"--size={sizeBytes}", "--thread", $"--rw={workload.Pattern}", $"--bs={workload.BlockBytes}",
            $"--iodepth={workload.Depth}", $"--numjobs={workload.Jobs}", "--group_reporting", "--norandommap", "--randrepeat=0", "--time_based",
            "--output-format=json", $"--ramp_time={Milliseconds(RampSeconds)}", $"--runtime={Milliseconds(seconds)}",
            .. workload.Flushes ? [$"--{flushOption}=1"] : (string[])[],
            .. target,
        ];
        var before = ProcFs.ProcessorSeconds(processes);
        var result = (await host.ExecAsync(command, TimeSpan.FromSeconds(60 + seconds))).OrThrow();
        var spent = ProcFs.ProcessorSeconds(processes) - before;
        using var json = JsonDocument.Parse(result.Output[result.Output.IndexOf('{')..]);
        var job = json.RootElement.GetProperty("jobs")[0];
        if (job.GetProperty("error").GetInt32() is not 0 and var error)
            throw new LabException($"fio of {workload.Name} with {string.Join(' ', target)} ended with error {error}: {result.Said}");
        return FiguresOf(job, workload, seconds, spent);
    }

    /// <summary>fio cuts the fraction off a number of seconds, and takes 0 for no limit.</summary>
    public static string Milliseconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1000:0}ms");

    private static BenchmarkFigures FiguresOf(JsonElement job, Workload workload, double seconds, double spent)
    {
        var side = job.GetProperty(workload.Reads ? "read" : "write");
        var completion = side.GetProperty("clat_ns");
        var flush = workload.Flushes ? job.GetProperty("sync").GetProperty("lat_ns") : default;
        var iops = side.GetProperty("iops").GetDouble();
        // fio's own share: percent of each job's time. The system's counters also ran during the ramp, at the same pace.
        var generator = (job.GetProperty("usr_cpu").GetDouble() + job.GetProperty("sys_cpu").GetDouble()) / 100 * workload.Jobs;
        var perOperation = iops > 0 ? (spent / (seconds + RampSeconds) + generator) / iops : 0;
        return new BenchmarkFigures(
            iops,
            side.GetProperty("bw_bytes").GetDouble() / 1e6,
            PercentileUs(completion, "50.000000") + PercentileUs(flush, "50.000000"),
            PercentileUs(completion, "99.000000") + PercentileUs(flush, "99.000000"),
            perOperation * (1 << 30) / workload.BlockBytes,
            perOperation * 1000);
    }

    private static double PercentileUs(JsonElement latency, string percentile) =>
        latency.ValueKind == JsonValueKind.Object && latency.TryGetProperty("percentile", out var table) && table.TryGetProperty(percentile, out var value)
            ? value.GetDouble() / 1e3
            : 0;
}
