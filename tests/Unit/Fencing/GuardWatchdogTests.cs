using System.Diagnostics;
using System.Globalization;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;
using Pollux.Tests.Unit.Hosts;

namespace Pollux.Tests.Unit.Fencing;

/// <summary>Guards with a drill's file in the place of a device.</summary>
public sealed class GuardWatchdogTests : IDisposable
{
    private const int TimeoutSeconds = 1;

    private readonly CancellationTokenSource _patience = new(TimeSpan.FromSeconds(60));
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-watchdog-").FullName;

    public GuardWatchdogTests() => File.WriteAllText(Device, "");

    private string Device => Path.Combine(_directory, "device");

    private string StatusPath => Path.Combine(_directory, WatchdogStatus.FileName);

    public void Dispose()
    {
        _patience.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task The_device_counts_from_the_first_vm_to_the_last_and_is_fed_all_the_time()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        var (guard, ended) = Start();
        await UntilAsync(() => Status() is WatchdogState.Off);
        Assert.False(Told().Armed);
        guard.Take(GuardLines.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running)), []);
        await UntilAsync(() => Status() is WatchdogState.Armed);
        var until = BootClock.NowMs + 2_000;
        while (BootClock.NowMs < until)
        {
            guard.Take(GuardLines.Alive, []);
            var now = BootClock.NowMs;
            Assert.True(Told() is { Armed: true } told && now - told.AtMs < TimeoutSeconds * 1_000, "not fed in time");
            await Task.Delay(20, _patience.Token);
        }

        // Five in a timeout, of which a busy machine may lose some.
        Assert.InRange(Told().Feedings, 5, 12);
        guard.Take(GuardLines.Forget(emulator.Domain), []);
        await UntilAsync(() => !Told().Armed);
        guard.Take(GuardLines.Leave, []);
        await ended.WaitAsync(_patience.Token);
        Assert.False(File.Exists(StatusPath));
    }

    [Fact]
    public async Task A_lease_that_runs_out_ends_the_feeding_before_and_the_halt_begins_it_again()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        var (guard, _) = Start();
        guard.Take(GuardLines.Lease(new GuardedDomain(emulator.Domain, BootClock.NowMs + 4_000, GuardedPhase.Running)), []);
        await UntilAsync(() => Status() is WatchdogState.Armed);
        await UntilAsync(() => Status() is WatchdogState.Unfed);
        Assert.False(EmulatorProcess.IsHalted(emulator.Pid));
        await UntilAsync(() =>
        {
            guard.Take(GuardLines.Alive, []);
            return EmulatorProcess.IsHalted(emulator.Pid) && Status() is WatchdogState.Armed;
        });
        Assert.False(emulator.HasExited);
        guard.Take(GuardLines.Leave, []);
    }

    [Fact]
    public async Task A_host_that_is_to_be_fenced_is_not_fed_until_that_is_taken_back()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        var (guard, _) = Start();
        guard.Take(GuardLines.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running)), []);
        guard.Take(GuardLines.Fence + "vm1 was killed and does not end", []);
        await UntilAsync(() => Status() is WatchdogState.Unfed);
        Assert.Equal("vm1 was killed and does not end", WatchdogStatus.Read(StatusPath)!.Reason);
        var feedings = Told().Feedings;
        await Task.Delay(TimeoutSeconds * 1_500, _patience.Token);
        Assert.Equal(feedings, Told().Feedings);
        guard.Take(GuardLines.Fence, []);
        await UntilAsync(() => Status() is WatchdogState.Armed && Told().Feedings > feedings);
        guard.Take(GuardLines.Leave, []);
    }

    [Fact]
    public async Task A_device_that_is_not_there_is_said_and_taken_when_it_is()
    {
        File.Delete(Device);
        var (guard, ended) = Start();
        await UntilAsync(() => Status() is WatchdogState.Unusable);
        await using var fencing = new HostFencing(
            new FencingOptions(new WatchdogOptions(Device, TimeoutSeconds)), StatusPath, static _ => { }, static _ => true, () => BootClock.NowMs);
        Assert.Contains(Device, fencing.RefusesStart());
        Assert.Equal("fencing.watchdog-unusable", Assert.Single(fencing.Problems()).Code);
        File.WriteAllText(Device, "");
        await UntilAsync(() => fencing.RefusesStart() is null);
        Assert.Empty(fencing.Problems());
        guard.Take(GuardLines.Leave, []);
        await ended.WaitAsync(_patience.Token);
        Assert.NotNull(fencing.RefusesStart());
    }

    [Fact]
    public async Task A_real_guard_that_is_stopped_or_killed_feeds_no_more_and_leaves_the_device_counting()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        var (lockPath, socketPath) = (Path.Combine(_directory, "lock"), Path.Combine(_directory, "socket"));
        using (var client = new GuardClient(() => RealGuard(lockPath, socketPath), socketPath))
        {
            client.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running));
            await UntilAsync(() => Told().Armed && Status() is WatchdogState.Armed);
            var guard = WatchdogStatus.Read(StatusPath)!.GuardPid;
            using (var handle = ProcessHandle.Open(guard)!)
            {
                handle.Halt();
                await UntilAsync(() => EmulatorProcess.IsHalted(guard));
                var feedings = Told().Feedings;
                await Task.Delay(TimeoutSeconds * 1_200, _patience.Token);
                Assert.Equal((true, feedings), (Told().Armed, Told().Feedings));
                handle.Kill();
            }

            // The next one takes the device that counts still.
            await UntilAsync(() => WatchdogStatus.Read(StatusPath) is { State: WatchdogState.Armed } status && status.GuardPid != guard);
            client.Fence("vm1 was killed and does not end");
            await UntilAsync(() => Status() is WatchdogState.Unfed);
            client.Fence(null);
            await UntilAsync(() => Status() is WatchdogState.Armed);
            client.Forget(emulator.Domain);
        }

        await UntilAsync(() => !Told().Armed);
        GuardProcess.Lock(lockPath).Dispose();
    }

    [Fact]
    public async Task A_vm_that_does_not_end_costs_the_watchdogs_feeding_then_the_agents_call()
    {
        var script = Path.Combine(_directory, "agent");
        var called = Path.Combine(_directory, "called");
        File.WriteAllText(script, $"#!/bin/sh\ncat > {called}.next; mv {called}.next {called}\n");
        File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var nowMs = 0L;
        var said = new List<string?>();
        var ended = false;
        await using var fencing = new HostFencing(
            new FencingOptions(Agent: new FenceAgentOptions(script)), StatusPath, said.Add, _ => !Volatile.Read(ref ended), () => Interlocked.Read(ref nowMs));
        fencing.CannotStop("vm1", 0);
        Assert.Empty(fencing.Problems()); // It may be a matter of milliseconds.
        Interlocked.Exchange(ref nowMs, 20_000);
        fencing.CannotStop("vm1", 15_000); // Told again, it counts from its first time.
        Assert.Contains("fenced when that lasts", Assert.Single(fencing.Problems()).Cause);
        Assert.False(File.Exists(called));
        Interlocked.Exchange(ref nowMs, FencingOptions.StopSecondsDefault * 1_000L);
        await UntilAsync(() => File.Exists(called));
        Assert.Equal(["action=off"], File.ReadAllLines(called));
        await UntilAsync(() => fencing.Problems() is [{ Cause: var cause }] && cause.Contains("runs on", StringComparison.Ordinal));
        Volatile.Write(ref ended, true); // Nobody says so: its module has gone meanwhile.
        await UntilAsync(() => fencing.Problems() is []);
        Assert.Empty(said); // No guard with a watchdog is there to be told.
    }

    [Fact]
    public void A_status_that_could_not_be_written_is_written_as_soon_as_it_can_be()
    {
        var late = Path.Combine(_directory, "late");
        using var watchdog = new GuardWatchdog(new WatchdogOptions(Device, TimeoutSeconds), Path.Combine(late, WatchdogStatus.FileName));
        watchdog.Turn(0, [], null, null);
        watchdog.Turn(1_000, [], null, null);
        Directory.CreateDirectory(late);
        watchdog.Turn(2_000, [], null, null);
        Assert.Equal(WatchdogState.Off, WatchdogStatus.Read(Path.Combine(late, WatchdogStatus.FileName))?.State);
    }

    [Fact]
    public async Task Options_that_cannot_be_used_keep_vms_from_starting_and_say_why()
    {
        await using var fencing = new HostFencing(
            FencingOptions.None, StatusPath, static _ => Assert.Fail("no watchdog"), static _ => true, static () => 0, "fencing.json is not understood at line 7");
        Assert.Contains("at line 7", fencing.RefusesStart());
        var problem = Assert.Single(fencing.Problems());
        Assert.Equal("fencing.unusable", problem.Code);
        Assert.Contains("at line 7", problem.Cause);
    }

    [Fact]
    public async Task A_host_without_fencing_says_that_a_vm_does_not_end_and_does_nothing()
    {
        var nowMs = 0L;
        await using var fencing = new HostFencing(FencingOptions.None, StatusPath, static _ => Assert.Fail("no watchdog"), static _ => true, () => Interlocked.Read(ref nowMs));
        Assert.Null(fencing.RefusesStart());
        fencing.CannotStop("vm1", 0);
        Interlocked.Exchange(ref nowMs, 10_000_000);
        var problem = Assert.Single(fencing.Problems());
        Assert.Equal("vm.unstoppable", problem.Code);
        Assert.Contains("nothing to fence itself with", problem.Cause);
        fencing.Stops("vm1");
        Assert.Empty(fencing.Problems());
    }

    private (GuardProcess Guard, Task Ended) Start()
    {
        var guard = new GuardProcess(
            () => BootClock.NowMs, GuardProcess.OrphanMsMax, new GuardWatchdog(new WatchdogOptions(Device, TimeoutSeconds), StatusPath));
        guard.Arrived();
        return (guard, Task.Factory.StartNew(guard.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default));
    }

    private ProcessStartInfo RealGuard(string lockPath, string socketPath) => new("dotnet",
    [
        Path.Combine(AppContext.BaseDirectory, "pollux-host.dll"), "guard", "--lock", lockPath, "--socket", socketPath,
        "--watchdog", Device, "--watchdog-seconds", "1", "--watchdog-status", StatusPath,
    ]);

    private WatchdogState? Status() => WatchdogStatus.Read(StatusPath)?.State;

    private (bool Armed, long Feedings, long AtMs) Told() => File.ReadAllText(Device).Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var state, _, var feedings, var at, ..]
        ? (state == "armed", long.Parse(feedings, CultureInfo.InvariantCulture), long.Parse(at, CultureInfo.InvariantCulture))
        : default;

    private async Task UntilAsync(Func<bool> reached)
    {
        while (!reached())
            await Task.Delay(5, _patience.Token);
    }
}
