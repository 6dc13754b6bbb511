using System.Globalization;
using Pollux.Lab.Product;

namespace Pollux.Lab.Scenarios;

/// <summary>
/// The main job from end to end: the running host loses its power; the VM restarts on the other; everything that the guest
/// had reported as flushed is there; the first host returns, what changed is resynced while the VM writes on; swap back;
/// both copies are equal byte for byte. Every step is checked, the first that fails ends the scenario with an error.
/// </summary>
public static class FailoverScenario
{
    /// <summary>With a detection time of 3 s: from the power-off to the VM's process on the survivor.</summary>
    private static readonly TimeSpan StartOnSurvivorMax = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ResyncMax = TimeSpan.FromSeconds(90);
    private static readonly TimeSpan StatusPause = TimeSpan.FromMilliseconds(100);

    public static async Task<int> RunAsync()
    {
        var (pair, module) = await Demo.SetUpAsync();
        await using var disposePair = pair;
        await using var disposeModule = module;
        var (alpha, beta) = (pair.Machines["alpha"], pair.Machines["beta"]);
        await module.WaitForRecordsAsync("alpha", more: 200);

        var timeline = new Timeline(await alpha.PowerOffAsync());
        var acknowledged = module.AcknowledgedMax;
        timeline.Add(timeline.Zero, "lab", $"power-off of alpha; its last acknowledged record is {acknowledged}");
        Demo.Say("Power-off of alpha: cable out, every process killed");
        var boot = await module.WaitForBootAsync("beta", timeline.Zero);
        var processAt = module.Observer.ProcessSeenAt("beta")
            ?? throw new LabException("The guest speaks on beta, but no process of it was seen.");
        timeline.Add(processAt, "lab", "the VM's process runs on beta");
        timeline.Add(boot.FirstOutputAt, "guest", "first output on beta");
        timeline.Add(boot.FirstAcknowledgedAt, "guest", $"found record {boot.FoundMax} on its disk, acknowledges {boot.Acknowledged!.Value.First}");
        Check(boot.FoundMax >= acknowledged, $"the guest found record {boot.FoundMax}, but {acknowledged} was acknowledged");
        Demo.Say($"The VM runs on beta since {(processAt - timeline.Zero).TotalSeconds:0.000} s after the power-off; every acknowledged record is there");
        Check(processAt - timeline.Zero <= StartOnSurvivorMax,
            $"the VM's process came {(processAt - timeline.Zero).TotalSeconds:0.0} s after the power-off, the bound is {StartOnSurvivorMax.TotalSeconds:0} s");

        await module.WaitForRecordsAsync("beta", more: 200);
        timeline.Add(DateTimeOffset.UtcNow, "lab", "power of alpha is back");
        var beforeReturn = module.AcknowledgedMax;
        await pair.BootAsync(alpha);
        var resynced = await WatchResyncAsync(module, timeline);
        timeline.Add(DateTimeOffset.UtcNow, "lab", $"in sync again; resynced {resynced.Bytes} bytes while the guest wrote {module.AcknowledgedMax - beforeReturn} records");
        Demo.Say($"alpha is back and in sync: {resynced.Bytes} bytes resynced while the VM wrote on");
        var moduleBytes = DirectoryComparison.ContentBytes(module.CopyOn("beta"));
        Check(!resynced.Full && resynced.Bytes < moduleBytes, $"the resync copied {resynced.Bytes} of {moduleBytes} bytes (full: {resynced.Full}), not only what changed");

        await module.WaitForRecordsAsync("beta", more: 50);
        var swapAt = DateTimeOffset.UtcNow;
        timeline.Add(swapAt, "lab", "swap back");
        await module.SwapAsync();
        var back = await module.WaitForBootAsync("alpha", swapAt);
        timeline.Add(back.FirstOutputAt, "guest", "first output on alpha");
        await module.WaitUntilMirroredAsync(ResyncMax);
        timeline.Add(DateTimeOffset.UtcNow, "lab", "swapped: alpha PRIM, beta SECOND");
        Demo.Say("Swapped back to alpha");

        await module.WaitForRecordsAsync("alpha", more: 50);
        AddEvents(timeline, await module.TryGetStatusAsync());
        Demo.Say("Stopping the VM and comparing both copies byte for byte");
        var verdict = await module.JudgeAsync();

        Console.WriteLine();
        Console.WriteLine("Timeline, seconds since the power-off:");
        timeline.Print(Console.Out);
        Console.WriteLine();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"VM process on the survivor after: {(processAt - timeline.Zero).TotalSeconds:0.000} s (detection time {Demo.DetectionSeconds} s)"));
        Console.WriteLine($"bytes resynced: {resynced.Bytes} of {moduleBytes}");
        Console.WriteLine($"moments with two running hosts: {module.Observer.Violations.Count} (of {module.Observer.Samples} looks)");
        Console.WriteLine($"copies compared byte for byte: {(verdict.Wrong.Any(text => text.Contains("differ", StringComparison.Ordinal)) ? "DIFFERENT" : "equal")}");
        Console.WriteLine($"lost acknowledged records: {verdict.LostRecords}");
        foreach (var wrong in verdict.Wrong)
            Console.Error.WriteLine("error: " + wrong);
        return verdict.Wrong.Count == 0 && verdict.LostRecords == 0 ? 0 : 1;
    }

    /// <summary>Follows the status until both copies are in sync again; the most that any look showed as copied.</summary>
    private static async Task<(long Bytes, bool Full)> WatchResyncAsync(WritingModule module, Timeline timeline)
    {
        var (bytes, full) = (0L, false);
        ModuleStatus? last = null;
        await Eventually.TrueAsync("alpha is in sync again", ResyncMax, async () =>
        {
            last = await module.TryGetStatusAsync() ?? last;
            // The source counts: what the returned host last said before its power went is no news.
            if (last?.On("beta")?.Replication is { } source)
            {
                bytes = Math.Max(bytes, source.ResyncDoneBytes);
                full |= source.FullResync;
            }
            AddEvents(timeline, last);
            return last is { IsMirrored: true };
        }, () => last?.ToString() ?? "no answer of the control plane", StatusPause);
        return (bytes, full);
    }

    /// <summary>The product's own history of both hosts, from the power-off on.</summary>
    private static void AddEvents(Timeline timeline, ModuleStatus? status)
    {
        foreach (var host in status?.Hosts ?? [])
            foreach (var entry in host.Events ?? [])
                if (DateTimeOffset.FromUnixTimeMilliseconds(entry.UnixMs) is var at && at >= timeline.Zero)
                    timeline.Add(at, ModuleStatus.ShortName(host.Host), $"{entry.Kind}: {entry.Text}");
    }

    private static void Check(bool holds, string otherwise)
    {
        if (!holds)
            throw new LabException(otherwise);
    }
}
