using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;
using Pollux.Lab.Scenarios;

namespace Pollux.Lab.Benchmarks;

/// <summary>What the durable metadata of a module costs: the activity log and the checkpoint of the dirty ranges on this machine's disk, and,
/// on hosts of the lab, what writers pay for activations and how much is copied again after the primary has lost power.</summary>
public static class MetadataBenchmark
{
    private const int Activations = 4000;
    private const int CheckpointRounds = 5;

    /// <summary>One is too short for the clock.</summary>
    private const int ActivePerSample = 100;

    private static readonly int[] RangeCounts = [1_000, 10_000, 100_000, 1_000_000];

    /// <param name="directory">On the file system that is measured; by default /var/tmp.</param>
    /// <param name="withLab">Also what a mirrored module shows; needs root.</param>
    public static async Task<int> RunAsync(string? jsonPath, string? directory, bool withLab)
    {
        var folder = Directory.CreateDirectory(Path.Combine(directory ?? "/var/tmp", $"pollux-metadata-{Environment.ProcessId}")).FullName;
        MetadataReport report;
        try
        {
            var format = new DriveInfo(folder).DriveFormat;
            Demo.Say($"Activity log and checkpoint on {folder} ({format})");
            report = new(Machine.This(), format, MeasureLog(folder), [.. RangeCounts.Select(count => MeasureCheckpoint(folder, count))], [], []);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
        if (withLab)
            report = report with { Spread = await SpreadTrial.RunAsync(Demo.Say), Crashes = await CrashTrial.RunAsync(Demo.Say) };
        Console.Write(report.Text());
        if (jsonPath is not null)
        {
            await File.WriteAllTextAsync(jsonPath, JsonSerializer.Serialize(report, MetadataReport.Json));
            Console.WriteLine($"\nFigures written to {jsonPath}");
        }
        return 0;
    }

    private static LogFigures MeasureLog(string folder)
    {
        using var marks = new Marks(Directory.CreateDirectory(Path.Combine(folder, "log")).FullName);
        // Each extent is new, so each activation is one durable write; when all slots are taken one leaves for each that comes.
        var activate = Time(Activations, i => marks.Activate(1 + (ulong)i));
        // A write that touches what is active pays this.
        var active = Time(Activations, _ =>
        {
            for (var i = 0; i < ActivePerSample; i++)
                marks.Activate(Activations);
        }).Of(ActivePerSample);
        return new(
            new FileInfo(Path.Combine(folder, "log", ModuleStateDirectory.ActivityLogFile)).Length, EngineShell.LogSlots, LogEntry.ExtentBytes,
            (long)EngineShell.LogSlots * LogEntry.ExtentBytes, activate, active);
    }

    private static CheckpointFigures MeasureCheckpoint(string folder, int count)
    {
        var ranges = new ObjectRange[count];
        // Every other block of 64 KiB: none can be joined with its neighbour.
        for (var i = 0; i < count; i++)
            ranges[i] = new(1, 2L * i * DirtyMap.BlockBytes, DirtyMap.BlockBytes);
        var directory = Directory.CreateDirectory(Path.Combine(folder, "dirty-" + count.ToString(CultureInfo.InvariantCulture))).FullName;
        var (files, _) = MarkFiles.Open(directory, EngineShell.LogSlots, ResyncPart.None);
        using (files)
        {
            var save = Time(CheckpointRounds, _ => Must(files.StoreCheckpoint(CheckpointImage.Write(ranges, everythingMayDiffer: false, ResyncClaim.None))));
            var path = Path.Combine(directory, ModuleStateDirectory.CheckpointFile);
            var load = Time(CheckpointRounds, _ => CheckpointImage.Read(File.ReadAllBytes(path)));
            return new(count, new FileInfo(path).Length, save, load);
        }
    }

    private static void Must(int errno)
    {
        if (errno != 0)
            throw new LabException($"The metadata cannot be stored: {LinuxError.Describe(errno)}");
    }

    private static Latency Time(int rounds, Action<int> step)
    {
        var us = new double[rounds];
        for (var i = 0; i < rounds; i++)
        {
            var begin = Stopwatch.GetTimestamp();
            step(i);
            us[i] = Stopwatch.GetElapsedTime(begin).TotalMicroseconds;
        }
        Array.Sort(us);
        return new(Math.Round(us[rounds / 2], 2), Math.Round(us[rounds * 99 / 100], 2), Math.Round(us[^1], 2));
    }

    /// <summary>A module's marks on the disk, as the data plane keeps them, but for the thread: each store is done at once.</summary>
    private sealed class Marks : IMarksStore, IDisposable
    {
        private readonly MarkFiles _files;
        private readonly MarksMachine _machine;

        public Marks(string directory)
        {
            (_files, var recovered) = MarkFiles.Open(directory, EngineShell.LogSlots, ResyncPart.None);
            _machine = new MarksMachine(recovered, DirtyMap.PagesMaxDefault, this);
            // Of a new module everything may differ, and its marks say nothing more.
            _machine.Repaired();
        }

        /// <summary>The first extent of an object is made active, and let go without a mark: it leaves when its slot is needed.</summary>
        public void Activate(ulong obj)
        {
            while (_machine.Activate(0, obj, 0, 4096) == MarksMachine.Activity.Waiting)
            {
                _machine.FinishTurn();
                if (_machine.Failure is { } failure)
                    throw new LabException(failure);
            }
            _machine.Release(0);
        }

        public void StoreLogSector(int group, long offsetBytes, ReadOnlySpan<byte> sector) =>
            _machine.LogSectorStored(group, _files.StoreSector(offsetBytes, sector));

        public void StoreCheckpoint(ReadOnlyMemory<byte> image) => _machine.CheckpointStored(_files.StoreCheckpoint(image));

        public void ReplaceLog(ReadOnlyMemory<byte> image) => _machine.LogReplaced(_files.ReplaceLog(image));

        public void Dispose() => _files.Dispose();
    }
}

/// <summary>Microseconds.</summary>
public sealed record Latency(
    [property: JsonPropertyName("p50_us")] double MedianUs, [property: JsonPropertyName("p99_us")] double P99Us, [property: JsonPropertyName("max_us")] double MaxUs)
{
    public Latency Of(int parts) => new(Math.Round(MedianUs / parts, 3), Math.Round(P99Us / parts, 3), Math.Round(MaxUs / parts, 3));

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"median {MedianUs:0.0##} µs, p99 {P99Us:0.0##} µs, max {MaxUs:0.0##} µs");
}

/// <param name="SuspectBytesMax">What all slots together stand for: the most that a crash makes suspect by the log.</param>
/// <param name="Activation">Of an extent that was not active: one durable write.</param>
/// <param name="Active">Of one that was.</param>
public sealed record LogFigures(
    [property: JsonPropertyName("file_bytes")] long FileBytes, [property: JsonPropertyName("slots")] int Slots, [property: JsonPropertyName("extent_bytes")] int ExtentBytes,
    [property: JsonPropertyName("suspect_bytes_max")] long SuspectBytesMax, [property: JsonPropertyName("activation")] Latency Activation, [property: JsonPropertyName("active")] Latency Active);

public sealed record CheckpointFigures(
    [property: JsonPropertyName("ranges")] int Ranges, [property: JsonPropertyName("file_bytes")] long FileBytes,
    [property: JsonPropertyName("save")] Latency Save, [property: JsonPropertyName("load")] Latency Load);

public sealed record MetadataReport(
    [property: JsonPropertyName("machine")] Machine Machine, [property: JsonPropertyName("file_system")] string FileSystem,
    [property: JsonPropertyName("activity_log")] LogFigures Log, [property: JsonPropertyName("checkpoint")] IReadOnlyList<CheckpointFigures> Checkpoints,
    [property: JsonPropertyName("spread")] IReadOnlyList<SpreadFigures> Spread, [property: JsonPropertyName("crash")] IReadOnlyList<CrashFigures> Crashes)
{
    public static readonly JsonSerializerOptions Json = new() { WriteIndented = true };

    public string Text()
    {
        var lines = new List<string>
        {
            $"{Machine.Processor}, {Machine.Cores} cores, {Machine.Memory}, Linux {Machine.Kernel}, {FileSystem}, {Machine.Date}",
            $"activity log    {Log.FileBytes} bytes for {Log.Slots} extents of {Log.ExtentBytes >> 20} MiB: at most {Log.SuspectBytesMax >> 20} MiB suspect after a crash",
            $"  activation    {Log.Activation}",
            $"  active        {Log.Active}",
        };
        lines.AddRange(Checkpoints.Select(one => string.Create(CultureInfo.InvariantCulture,
            $"checkpoint      {one.Ranges,8} ranges, {one.FileBytes,9} bytes: stored in {one.Save.MedianUs / 1000:0.0} ms (max {one.Save.MaxUs / 1000:0.0}), read in {one.Load.MedianUs / 1000:0.0} ms")));
        lines.AddRange(Spread.Select(one => one.ToString()));
        lines.AddRange(Crashes.Select(one => one.ToString()));
        return string.Join('\n', lines) + "\n";
    }
}
