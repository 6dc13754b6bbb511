using System.Diagnostics;
using System.Globalization;
using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>The watchdog of a host, with a plain file for the device; the test is the hardware that resets. 50 s with a stage of its own, measured on two busy cores.</summary>
[Collection(PairCollection.Name)]
public sealed class FencingTests(PairStage stage)
{
    private const string Configuration = "/var/lib/pollux-host/fencing.json";
    private const string Device = "/var/lib/pollux-host/watchdog-drill";
    private const string GuardCommand = "guard --lock";

    /// <summary>A third of the stage's detection time of 3 s.</summary>
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    [LabFact]
    public async Task A_host_that_hangs_with_its_guard_is_reset_by_its_watchdog_before_the_peer_starts_the_vm()
    {
        var scene = await stage.ReadyAsync();
        var host = scene.Secondary;
        File.WriteAllText(host.OnMachine(Device), "");
        try
        {
            // A file that cannot be used keeps no host from serving.
            File.WriteAllText(host.OnMachine(Configuration), "{ \"watchdog\":");
            await RestartServiceAsync(scene, host);
        }
        finally
        {
            File.Delete(host.OnMachine(Configuration));
        }

        File.WriteAllText(host.OnMachine(Configuration), $$"""{ "watchdog": { "device": "{{Device}}", "timeoutSeconds": 1 } }""");
        try
        {
            await RestartServiceAsync(scene, host);
            await Eventually.TrueAsync("the guard holds the device, which does not count on SECOND", SyncMax, () => Read(host) is { Armed: false });
            await scene.Module.SwapAsync();
            await scene.Module.WaitForAsync("the pair is mirrored the other way round", SyncMax, one => one.IsMirrored && one.ReadyPrimary == host.Name);
            await FedAsync(host);

            var since = DateTimeOffset.UtcNow;
            foreach (var guard in await host.ProcessesAsync(GuardCommand))
                Signals.Send(guard, Signals.Stop);
            await scene.Pair.DataPlanes[host.Name].FreezeAsync();
            await UnfedAsync(host);
            Assert.NotNull(ExecutionObserver.ProcessOf(host, scene.Module.Name)); // Nobody else stops it.
            var reset = await host.PowerOffAsync();

            await scene.Module.WaitForBootAsync(scene.Primary.Name, since);
            var started = scene.Module.Observer.ProcessSeenAt(scene.Primary.Name);
            Assert.True(started > reset, $"The VM started at {started:O} on the peer, and the reset came at {reset:O}.");
            await scene.Pair.BootAsync(host);
            await scene.Module.WaitUntilMirroredAsync(SyncMax);
            Assert.False(Read(host)!.Value.Armed);
            var verdict = await scene.Module.JudgeAsync();
            Assert.Empty(verdict.Wrong);
            Assert.Equal(0ul, verdict.LostRecords);
        }
        finally
        {
            File.Delete(host.OnMachine(Configuration));
        }
    }

    private static async Task RestartServiceAsync(Scene scene, LabHost host)
    {
        var process = scene.Pair.DataPlanes[host.Name];
        process.Terminate();
        await process.WaitForEndAsync(SyncMax);
        await scene.Pair.StartDataPlaneAsync(host);
        await scene.Module.WaitUntilMirroredAsync(SyncMax);
    }

    /// <summary>For three timeouts, with no gap as long as one.</summary>
    private static async Task FedAsync(LabHost host)
    {
        var (begun, last) = (Stopwatch.StartNew(), Stopwatch.StartNew());
        var feedings = 0L;
        while (begun.Elapsed < 3 * Timeout)
        {
            var told = Read(host)!.Value;
            Assert.True(told.Armed);
            if (told.Feedings != feedings)
                last.Restart();
            feedings = told.Feedings;
            Assert.True(last.Elapsed < Timeout, $"Not fed for {last.Elapsed}.");
            await Task.Delay(20);
        }
    }

    /// <summary>Returns when a device would have reset the host.</summary>
    private static async Task UnfedAsync(LabHost host)
    {
        var feedings = Read(host)!.Value.Feedings;
        var last = Stopwatch.StartNew();
        while (last.Elapsed < Timeout)
        {
            await Task.Delay(20);
            Assert.Equal((true, feedings), Read(host)!.Value);
        }
    }

    private static (bool Armed, long Feedings)? Read(LabHost host) =>
        File.ReadAllText(host.OnMachine(Device)).Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var state, _, var feedings, ..]
            ? (state == "armed", long.Parse(feedings, CultureInfo.InvariantCulture))
            : null;
}
