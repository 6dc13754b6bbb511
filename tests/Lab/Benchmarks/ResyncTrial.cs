using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Serialization;
using Pollux.Lab.Product;

namespace Pollux.Lab.Benchmarks;

/// <summary>How long a copy takes to catch up: the secondary's data plane is stopped, a part of the file is written, the data plane is
/// started again. Times are those of the primary's own events, so neither the start of the program nor the control plane counts.</summary>
internal static class ResyncTrial
{
    private const int ChunkBytes = 64 << 10;
    private static readonly int[] Percents = [1, 10, 100];
    private static readonly TimeSpan StopMax = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan WriteMax = TimeSpan.FromSeconds(60);

    public static async Task<IReadOnlyList<ResyncFigures>> RunAsync(PolluxPair pair, MirroredModule module, FioSystem system, Action<string> report)
    {
        var figures = new List<ResyncFigures>();
        foreach (var percent in Percents)
        {
            var changed = system.SizeBytes * percent / 100 / ChunkBytes * ChunkBytes;
            report($"Resync of {system.Name} after {percent} % of {system.SizeBytes >> 20} MiB changed");
            // What nobody has flushed may differ on a host that is stopped, and would be copied as well.
            await module.Primary.CheckAsync("sync", module.FilePath);
            var dataPlane = pair.DataPlanes[module.Secondary.Name];
            dataPlane.Terminate();
            await dataPlane.WaitForEndAsync(StopMax);
            await module.WaitForAsync("the primary is ALONE", status => status.On(module.Primary.Name) is { Role: "ALONE", Ready: true });
            (await module.Primary.ExecAsync(
            [
                "fio", "--name=change", $"--filename={module.FilePath}", $"--size={system.SizeBytes}", $"--io_size={changed}", "--ioengine=libaio",
                "--direct=1", "--rw=randwrite", $"--bs={ChunkBytes}", "--iodepth=8", "--randrepeat=0", "--end_fsync=1",
            ], WriteMax)).OrThrow();
            (await Shell.RunAsync(["sync", "-d", .. module.Copies], WriteMax)).OrThrow();
            var since = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
            await pair.StartDataPlaneAsync(module.Secondary);
            var ready = Stopwatch.StartNew();
            var status = await module.WaitForAsync("the copies are in sync again", status => status.IsMirrored && Ended(status, module, since) is not null);
            var mirroredSeconds = ready.Elapsed.TotalSeconds;
            var primary = status.On(module.Primary.Name)!;
            var begin = primary.Events!.Last(one => one.Kind == "resync.starting" && one.UnixMs >= since).UnixMs;
            var seconds = (Ended(status, module, since)!.UnixMs - begin) / 1e3;
            var copied = primary.Replication!.ResyncDoneBytes;
            figures.Add(new ResyncFigures(system.Name, system.Link, percent, changed, copied, Math.Round(seconds, 3),
                Math.Round(copied / 1e6 / seconds, 1), Math.Round(mirroredSeconds, 3)));
        }
        return figures;
    }

    private static EventStatus? Ended(ModuleStatus status, MirroredModule module, long since) =>
        status.On(module.Primary.Name)?.Events?.LastOrDefault(one => one.Kind == "resync.ended" && one.UnixMs >= since);
}

/// <param name="ChangedBytes">Written at random places, each once, in pieces of 64 KiB.</param>
/// <param name="Seconds">From the begin of the resync until the copy is equal and flushed.</param>
/// <param name="MirroredSeconds">From the secondary's data plane being ready until the control plane shows PRIM and SECOND.</param>
public sealed record ResyncFigures(
    [property: JsonPropertyName("system")] string System,
    [property: JsonPropertyName("link")] string? Link,
    [property: JsonPropertyName("changed_percent")] int ChangedPercent,
    [property: JsonPropertyName("changed_bytes")] long ChangedBytes,
    [property: JsonPropertyName("copied_bytes")] long CopiedBytes,
    [property: JsonPropertyName("seconds")] double Seconds,
    [property: JsonPropertyName("mb_s")] double MegabytesPerSecond,
    [property: JsonPropertyName("mirrored_after_s")] double MirroredSeconds)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{System,-14} {ChangedPercent,3} % changed: {CopiedBytes / 1e6,8:0.0} MB in {Seconds,7:0.000} s = {MegabytesPerSecond,7:0.0} MB/s; PRIM and SECOND {MirroredSeconds:0.0} s after the start");
}
