using System.Diagnostics;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.Tests.Unit.Hosts;

public sealed class GuardTests : IDisposable
{
    private readonly CancellationTokenSource _patience = new(TimeSpan.FromSeconds(60));

    private CancellationToken Cancel => _patience.Token;

    [Fact]
    public void A_domain_is_recognised_by_its_whole_name_only()
    {
        var name = DummyEmulator.NewName();
        using var other = new DummyEmulator(name + "-other");
        Assert.Null(EmulatorProcess.Find(name));
        using var comma = new DummyEmulator(name + ",,x");
        Assert.Null(EmulatorProcess.Find(name));
        using var emulator = new DummyEmulator(name);
        Assert.Equal(emulator.Pid, EmulatorProcess.Find(name));
    }

    [Fact]
    public async Task The_end_of_the_data_plane_kills_the_vm_with_a_lease_for_ever_and_the_paused_one()
    {
        using var alone = new DummyEmulator(DummyEmulator.NewName());
        using var paused = new DummyEmulator(DummyEmulator.NewName());
        using var guard = new Guarding();
        guard.Say(GuardLines.Lease(new GuardedDomain(alone.Domain, long.MaxValue, GuardedPhase.Running)));
        guard.Say(GuardLines.Lease(new GuardedDomain(paused.Domain, 0, GuardedPhase.Paused)));
        guard.EndInput();
        await alone.ExitAsync(Cancel);
        await paused.ExitAsync(Cancel);
        await guard.Ended.WaitAsync(Cancel);
    }

    [Fact]
    public async Task An_expired_lease_halts_the_vm_not_earlier_and_the_next_lease_lets_it_go_on()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        using var guard = new Guarding();
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, BootClock.NowMs + 200, GuardedPhase.Running)));
        var until = BootClock.NowMs + 600;
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, until, GuardedPhase.Running)));
        await UntilAsync(() => EmulatorProcess.IsHalted(emulator.Pid));
        Assert.True(BootClock.NowMs >= until);

        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running)));
        await UntilAsync(() => !EmulatorProcess.IsHalted(emulator.Pid));
        Assert.False(emulator.HasExited);
    }

    [Fact]
    public async Task A_halted_vm_stays_halted_whoever_lets_it_go_on_until_it_is_known_to_be_paused()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        using var guard = new Guarding();
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, 1, GuardedPhase.Running)));
        await UntilAsync(() => EmulatorProcess.IsHalted(emulator.Pid));
        EmulatorProcess.Continue(emulator.Domain);
        await UntilAsync(() =>
        {
            guard.Say(GuardLines.Alive);
            return EmulatorProcess.IsHalted(emulator.Pid);
        });
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, 1, GuardedPhase.Paused)));
        await UntilAsync(() => !EmulatorProcess.IsHalted(emulator.Pid));
        Assert.False(emulator.HasExited);
    }

    [Fact]
    public async Task A_silent_data_plane_loses_its_halted_vm_and_one_that_says_anything_does_not()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        using var guard = new Guarding();
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, 1, GuardedPhase.Running)));
        var lastSaid = BootClock.NowMs;
        var talkUntil = lastSaid + 2 * GuardProcess.SilenceMaxMs;
        while (BootClock.NowMs < talkUntil)
        {
            guard.Say(GuardLines.Alive);
            lastSaid = BootClock.NowMs;
            await Task.Delay(100, Cancel);
        }

        Assert.False(emulator.HasExited);
        await emulator.ExitAsync(Cancel);
        Assert.True(BootClock.NowMs - lastSaid >= GuardProcess.SilenceMaxMs);
    }

    [Fact]
    public async Task A_new_guard_lets_a_vm_go_on_that_an_earlier_one_has_halted()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        EmulatorProcess.Halt(emulator.Domain);
        await UntilAsync(() => EmulatorProcess.IsHalted(emulator.Pid));
        using var guard = new Guarding();
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running)));
        await UntilAsync(() => !EmulatorProcess.IsHalted(emulator.Pid));
    }

    [Fact]
    public async Task A_vm_outlives_its_data_plane_executes_to_the_end_of_its_lease_only_and_goes_on_with_the_next_data_plane()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        using var alone = new DummyEmulator(DummyEmulator.NewName());
        using var guard = new Guarding();
        var until = BootClock.NowMs + 400;
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, until, GuardedPhase.Running)));
        guard.Say(GuardLines.Lease(new GuardedDomain(alone.Domain, long.MaxValue, GuardedPhase.Running)));
        guard.Die();
        await UntilAsync(() => EmulatorProcess.IsHalted(emulator.Pid));
        Assert.True(BootClock.NowMs >= until);
        await Task.Delay((int)GuardProcess.SilenceMaxMs + 500, Cancel);
        Assert.False(emulator.HasExited); // A dead data plane is no silent one.
        Assert.False(EmulatorProcess.IsHalted(alone.Pid));

        guard.Return();
        guard.Say(GuardLines.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running)));
        await UntilAsync(() => !EmulatorProcess.IsHalted(emulator.Pid));
    }

    [Fact]
    public async Task What_no_data_plane_claims_is_killed_and_what_is_claimed_is_not()
    {
        using var left = new DummyEmulator(DummyEmulator.NewName());
        using var claimed = new DummyEmulator(DummyEmulator.NewName());
        using var guard = new Guarding(orphanMsMax: 1_000);
        guard.Say(GuardLines.Lease(new GuardedDomain(left.Domain, long.MaxValue, GuardedPhase.Running)));
        guard.Say(GuardLines.Lease(new GuardedDomain(claimed.Domain, long.MaxValue, GuardedPhase.Paused)));
        guard.Die();
        guard.Return();
        guard.Say(GuardLines.Lease(new GuardedDomain(claimed.Domain, long.MaxValue, GuardedPhase.Paused)));
        await left.ExitAsync(Cancel);
        Assert.False(claimed.HasExited);
        guard.Say(GuardLines.Forget(claimed.Domain));
        guard.Die();
        await guard.Ended.WaitAsync(Cancel);
        Assert.False(claimed.HasExited);
    }

    [Fact]
    public async Task The_next_data_plane_finds_the_guard_with_the_vm_and_the_mount_and_its_descriptors()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        var directory = Directory.CreateTempSubdirectory("pollux-guard-").FullName;
        try
        {
            var (lockPath, socketPath) = (Path.Combine(directory, "lock"), Path.Combine(directory, "socket"));
            Assert.Null(EarlierGuard.Find(socketPath));
            var content = Path.Combine(directory, "content");
            File.WriteAllText(content, "kept");
            using var file = File.OpenHandle(content);
            using var other = File.OpenHandle(content);
            var negotiated = new FuseNegotiation(45, 41, FuseInitFlags.HasResend | FuseInitFlags.MaxPages, 1 << 20);
            using (var first = new GuardClient(() => RealGuard(lockPath, socketPath), socketPath))
            {
                first.Lease(new GuardedDomain(emulator.Domain, 7_000_000_000_000, GuardedPhase.Running));
                first.Hold(new HeldMount("c1/vm1", "/with space/vm1", file, new FuseConnection(77, negotiated, [other, file])));
                first.HandOver();
            }

            File.Delete(content);
            var earlier = EarlierGuard.Find(socketPath)!;
            Assert.Equal(new GuardedDomain(emulator.Domain, 7_000_000_000_000, GuardedPhase.Running), earlier.Domain(emulator.Domain));
            Assert.Equal(["c1/vm1"], earlier.Mounts);
            var mount = earlier.Take("c1/vm1")!;
            Assert.Null(earlier.Take("c1/vm1"));
            Assert.Equal(("/with space/vm1", 77, negotiated, 2), (mount.Path, mount.Connection.Number, mount.Connection.Negotiated, mount.Connection.Devices.Count));
            var bytes = new byte[4];
            Assert.Equal(4, RandomAccess.Read(mount.Connection.Devices[1], bytes, 0));
            Assert.Equal("kept"u8.ToArray(), bytes);
            Assert.False(emulator.HasExited);
            mount.Close();

            using (var second = new GuardClient(() => throw new InvalidOperationException("there is one"), socketPath, earlier))
                second.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running));
            await emulator.ExitAsync(Cancel);
            GuardProcess.Lock(lockPath).Dispose();
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private static ProcessStartInfo RealGuard(string lockPath, string socketPath) =>
        new("dotnet", [Path.Combine(AppContext.BaseDirectory, "pollux-host.dll"), "guard", "--lock", lockPath, "--socket", socketPath]);

    [Fact]
    public async Task The_client_of_a_data_plane_that_has_nothing_to_say_keeps_a_halted_vm_alive()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        var lockPath = Path.GetTempFileName();
        try
        {
            using (var client = new GuardClient(() => RealGuard(lockPath, lockPath + ".socket"), lockPath + ".socket"))
            {
                client.Lease(new GuardedDomain(emulator.Domain, 1, GuardedPhase.Running));
                await UntilAsync(() => EmulatorProcess.IsHalted(emulator.Pid));
                await Task.Delay((int)GuardProcess.SilenceMaxMs * 2, Cancel);
                Assert.False(emulator.HasExited);
            }

            await emulator.ExitAsync(Cancel);
        }
        finally
        {
            File.Delete(lockPath);
            File.Delete(lockPath + ".socket");
        }
    }

    [Fact]
    public async Task A_paused_vm_outlives_its_lease_and_a_forgotten_one_outlives_the_data_plane()
    {
        using var paused = new DummyEmulator(DummyEmulator.NewName());
        using var forgotten = new DummyEmulator(DummyEmulator.NewName());
        using var givenUp = new DummyEmulator(DummyEmulator.NewName());
        using var guard = new Guarding();
        guard.Say(GuardLines.Lease(new GuardedDomain(paused.Domain, 1, GuardedPhase.Paused)));
        guard.Say(GuardLines.Lease(new GuardedDomain(forgotten.Domain, long.MaxValue, GuardedPhase.Running)));
        guard.Say(GuardLines.Lease(new GuardedDomain(givenUp.Domain, 0, GuardedPhase.Running)));
        // That the last one dies shows that the guard has looked at all three.
        await givenUp.ExitAsync(Cancel);
        Assert.False(paused.HasExited);
        guard.Say(GuardLines.Forget(paused.Domain));
        guard.Say(GuardLines.Forget(forgotten.Domain));
        guard.EndInput();
        await guard.Ended.WaitAsync(Cancel);
        Assert.False(paused.HasExited);
        Assert.False(forgotten.HasExited);
    }

    [Fact]
    public async Task A_vm_that_appears_after_the_data_plane_died_in_the_middle_of_its_start_is_killed()
    {
        var name = DummyEmulator.NewName();
        using var guard = new Guarding();
        guard.Say(GuardLines.Lease(new GuardedDomain(name, long.MaxValue, GuardedPhase.Starting)));
        guard.Die();
        Assert.False(guard.Ended.IsCompleted);
        using var late = new DummyEmulator(name);
        await late.ExitAsync(Cancel);
        await guard.Ended.WaitAsync(Cancel);
    }

    [Fact]
    public async Task The_real_guard_process_kills_when_its_data_plane_leaves()
    {
        using var emulator = new DummyEmulator(DummyEmulator.NewName());
        var lockPath = Path.GetTempFileName();
        try
        {
            using (var client = new GuardClient(() => RealGuard(lockPath, lockPath + ".socket"), lockPath + ".socket"))
            {
                client.Lease(new GuardedDomain(emulator.Domain, long.MaxValue, GuardedPhase.Running));
            }

            await emulator.ExitAsync(Cancel);
            // The guard has gone as well: its lock is free.
            GuardProcess.Lock(lockPath).Dispose();
        }
        finally
        {
            File.Delete(lockPath);
            File.Delete(lockPath + ".socket");
        }
    }

    public void Dispose() => _patience.Dispose();

    private async Task UntilAsync(Func<bool> reached)
    {
        while (!reached())
            await Task.Delay(5, Cancel);
    }

    /// <summary>A guard on a thread of the test, told what the real one is told by its socket.</summary>
    private sealed class Guarding : IDisposable
    {
        private readonly GuardProcess _guard;

        public Guarding(long orphanMsMax = GuardProcess.OrphanMsMax)
        {
            _guard = new GuardProcess(() => BootClock.NowMs, orphanMsMax);
            _guard.Arrived();
            Ended = Task.Factory.StartNew(_guard.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }

        public Task Ended { get; }

        public void Say(string line) => _guard.Take(line, []);

        /// <summary>The data plane is killed.</summary>
        public void Die() => _guard.Gone();

        /// <summary>The next one connects.</summary>
        public void Return() => _guard.Arrived();

        /// <summary>The data plane ends in order.</summary>
        public void EndInput() => Say(GuardLines.Leave);

        public void Dispose() => EndInput();
    }
}
