using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>The VM of a host, its driver and its guard. It writes and flushes through the engine of the process that started it.</summary>
internal sealed class SimVm(World world, SimHost host)
{
    private int instance;
    private bool starting;
    private bool exists;
    private bool paused;
    private long leaseUntilMs;
    private readonly SimGuest guest = new(world, host);
    private int startsToFail;

    /// <summary>Executes guest code at this moment.</summary>
    public bool Executes => exists && !paused;

    public bool MayRun => exists || starting;

    public void Start()
    {
        if (exists)
        {
            host.After(1, () => host.Feed(new RoleInput.WorkloadStarted()));
            return;
        }

        starting = true;
        paused = false;
        var mine = ++instance;
        host.After(world.Random.Between(20, 250), () => Begin(mine));
    }

    private void Begin(int mine)
    {
        if (mine != instance || !starting)
            return;
        starting = false;
        if (host.ClockMs >= leaseUntilMs && world.Sabotage != Sabotage.NoPause)
        {
            host.Feed(new RoleInput.WorkloadFailed("the lease has ended before the VM could start"));
            return;
        }

        if (startsToFail > 0 || (!world.Quiet && world.Random.Chance(30)))
        {
            startsToFail = Math.Max(0, startsToFail - 1);
            host.Feed(new RoleInput.WorkloadFailed("the hypervisor refused"));
            return;
        }

        exists = true;
        host.Say($"VM runs{(paused ? ", paused" : "")}");
        world.Truth.WorkloadBegins(host);
        guest.Boots();
        WatchLease();
        Live(mine);
        host.Feed(new RoleInput.WorkloadStarted());
    }

    private void Live(int mine) => world.Schedule.After(world.Random.Between(20, 120), () =>
    {
        if (mine != instance || !exists)
            return;
        if (!paused && world.GuestWrites)
            Work(mine);
        Live(mine);
    });

    private void Work(int mine)
    {
        // With the process dead or frozen its I/O hangs.
        if (host.Engine is { } engine && !host.Frozen)
            guest.Work(engine, Lives());
    }

    /// <summary>Tells later whether the VM that runs now is still there.</summary>
    public Func<bool> Lives()
    {
        var mine = instance;
        return () => mine == instance && exists;
    }

    public void Stop(long graceMs)
    {
        var hard = graceMs == 0;
        var mine = instance;
        host.After(hard ? world.Random.Between(5, 150) : world.Random.Chance(200) ? graceMs : world.Random.Between(50, 800), () =>
        {
            if (hard && world.Random.Chance(30))
            {
                host.Feed(new RoleInput.WorkloadFailed("the hypervisor did not answer"));
                return;
            }

            if (mine == instance)
                End("stopped");
            host.Feed(new RoleInput.WorkloadStopped(true, "by command"));
        });
    }

    public void Pause()
    {
        if (world.Sabotage == Sabotage.NoPause)
            return;
        var mine = instance;
        if (starting)
            paused = true;
        host.After(world.Random.Between(0, world.DetectionMs / 10), () =>
        {
            if (mine != instance || (!exists && !starting) || paused)
                return;
            paused = true;
            host.Say("VM paused");
        });
    }

    public void Resume()
    {
        var mine = instance;
        // The driver takes one command after the other.
        host.After(world.DetectionMs / 10 + 1, () =>
        {
            if (mine != instance || !paused || host.ClockMs >= leaseUntilMs)
                return;
            paused = false;
            host.Say("VM resumes");
            world.Truth.CheckExecution();
            WatchLease();
        });
    }

    public void Lease(long untilMs)
    {
        leaseUntilMs = untilMs;
        WatchLease();
    }

    /// <summary>The guard: apart from the process, with the host's clock.</summary>
    private void WatchLease()
    {
        if (leaseUntilMs == long.MaxValue || world.Sabotage == Sabotage.NoPause)
            return;
        world.Schedule.At(host.TrueMs(leaseUntilMs + world.DetectionMs / 8), () =>
        {
            if (Executes && leaseUntilMs != long.MaxValue && host.ClockMs >= leaseUntilMs + world.DetectionMs / 8)
                KillAndReport("the guard killed it: no lease");
        });
    }

    /// <summary>The guard's other duty.</summary>
    public void ProcessDied()
    {
        starting = false;
        leaseUntilMs = 0;
        var mine = instance;
        world.Schedule.After(world.Random.Between(1, 100), () =>
        {
            if (mine == instance)
                Kill("the guard killed it: process died");
        });
    }

    public void KillAndReport(string why) => EndAndReport(why, clean: false);

    /// <summary>Ends, and does not come up for so many times.</summary>
    public void Crash(int startsToFail)
    {
        this.startsToFail = startsToFail;
        KillAndReport("QEMU crashed");
    }

    public void Mend() => startsToFail = 0;

    /// <summary>The guest's own doing.</summary>
    public void ShutDown() => EndAndReport("the guest shut down", clean: true);

    private void EndAndReport(string why, bool clean)
    {
        if (!exists)
            return;
        Kill(why);
        host.After(world.Random.Between(1, 50), () => host.Feed(new RoleInput.WorkloadStopped(false, why, clean)));
    }

    public void Kill(string why)
    {
        starting = false;
        if (exists)
            End(why);
    }

    private void End(string why)
    {
        if (exists || starting)
            host.Say($"VM ends: {why}");
        exists = starting = paused = false;
        instance++;
    }
}
