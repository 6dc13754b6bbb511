using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>The VM of a host, its driver and its guard. It writes and flushes through the engine of the process that started it.</summary>
internal sealed class SimVm(World world, SimHost host)
{
    private const long GuardSilenceMs = 2_000;
    private const long GuardOrphanMs = 60_000;

    private int instance;
    private bool starting;
    private bool exists;
    private bool paused;
    private bool pauseWished;

    /// <summary>Pauses that the hypervisor has been asked for and has not done yet.</summary>
    private int pausesOpen;

    /// <summary>By the guard, with a signal.</summary>
    private bool halted;
    private long leaseUntilMs;

    /// <summary>Ends that the VM hears of when it goes on, if it ever does; none of them counts as an acknowledgement.</summary>
    private readonly List<Action> unheard = [];
    private readonly SimGuest guest = new(world, host);
    private int startsToFail;

    /// <summary>Executes guest code at this moment.</summary>
    public bool Executes => exists && !paused && !halted;

    public bool MayRun => exists || starting;

    /// <summary>The process died; the guard keeps the VM to the end of its lease, and the volume's users for the next process.</summary>
    public bool Kept { get; private set; }

    public void Start()
    {
        if (exists)
        {
            host.After(1, () => host.Feed(new RoleInput.WorkloadStarted()));
            return;
        }

        starting = true;
        paused = pauseWished = halted = false;
        pausesOpen = 0;
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
        unheard.Clear();
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
        if (Executes && world.GuestWrites)
            Work(mine);
        Live(mine);
    });

    private void Work(int mine)
    {
        // With the process dead or frozen its I/O hangs.
        if (host.Engine is { } engine && !host.Frozen)
            guest.Work(engine, Hears());
    }

    /// <summary>Tells the VM that runs now of an end, later: whether it hears of it. Only then is it an acknowledgement.</summary>
    public Func<Action, bool> Hears()
    {
        var mine = instance;
        return action =>
        {
            if (mine != instance || !exists)
                return false;
            if (halted)
            {
                unheard.Add(action);
                return false;
            }

            action();
            return true;
        };
    }

    public void Stop(long graceMs)
    {
        var hard = graceMs == 0;
        var mine = instance;
        host.After(hard ? world.Random.Between(5, 150) : world.Random.Chance(200) ? graceMs : world.Random.Between(50, 800), () =>
        {
            if (!world.Quiet && world.Random.Chance(30))
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
        pauseWished = true;
        if (starting)
            paused = true;
        var mine = instance;
        pausesOpen++;
        // On a busy machine the hypervisor takes longer than the guard's patience. It goes on without the process that asked.
        world.Schedule.After(world.Random.Between(0, world.Random.Chance(200) ? 2 * world.DetectionMs : world.DetectionMs / 10), () => PauseNow(mine));
    }

    private void PauseNow(int mine)
    {
        if (mine != instance)
            return;
        if (halted)
        {
            world.Schedule.After(20, () => PauseNow(mine)); // The hypervisor's call waits.
            return;
        }

        pausesOpen--;
        if ((!exists && !starting) || paused)
            return;
        paused = true;
        host.Say("VM paused");
    }

    public void Resume()
    {
        pauseWished = false;
        var mine = instance;
        host.After(world.DetectionMs / 10 + 1, () => ResumeNow(mine));
    }

    private void ResumeNow(int mine)
    {
        if (mine != instance || pauseWished)
            return;
        // The driver takes one command after the other.
        if (pausesOpen > 0)
        {
            host.After(20, () => ResumeNow(mine));
            return;
        }

        if (!paused || host.ClockMs >= leaseUntilMs)
            return;
        paused = false;
        host.Say("VM resumes");
        world.Truth.CheckExecution();
        WatchLease();
    }

    public void Lease(long untilMs)
    {
        leaseUntilMs = untilMs;
        if (halted && host.ClockMs < untilMs)
        {
            halted = false;
            host.Say("the guard lets the VM go on");
            foreach (var end in unheard)
                end();
            unheard.Clear();
            world.Truth.CheckExecution();
        }

        WatchLease();
    }

    /// <summary>The guard: apart from the process, with the host's clock.</summary>
    private void WatchLease()
    {
        if (leaseUntilMs == long.MaxValue || world.Sabotage == Sabotage.NoPause)
            return;
        world.Schedule.At(host.TrueMs(leaseUntilMs + world.DetectionMs / 8), () =>
        {
            if (!Executes || leaseUntilMs == long.MaxValue || host.ClockMs < leaseUntilMs + world.DetectionMs / 8)
                return;
            if (leaseUntilMs == 0 || world.Random.Chance(100))
                KillAndReport("the guard killed it: no lease");
            else
                Halt();
        });
    }

    private void Halt()
    {
        halted = true;
        host.Say("the guard halts the VM: no lease");
        var mine = instance;
        world.Schedule.After(GuardSilenceMs, () =>
        {
            if (mine == instance && halted && host.Frozen)
                KillAndReport("the guard killed it: the data plane is silent");
        });
    }

    /// <summary>The guard's other duty: it keeps a VM for the next process for a while. What starts is not kept, nor anything if the guard
    /// dies too.</summary>
    public void ProcessDied()
    {
        var mine = instance;
        if (exists && !starting && world.Random.Chance(800))
        {
            Kept = true;
            unheard.Clear(); // What the dead process has not answered comes again.
            world.Schedule.After(world.Random.Chance(500) ? GuardOrphanMs : world.Random.Between(100, 3_000), () =>
            {
                if (mine == instance && Kept)
                    Kill("the guard gave it up: no process claims it");
            });
            return;
        }

        starting = false;
        leaseUntilMs = 0;
        world.Schedule.After(world.Random.Between(1, 100), () =>
        {
            if (mine == instance)
                Kill("the guard killed it: process died");
        });
    }

    /// <summary>The next process has taken over what the guard kept.</summary>
    public void Claimed(SimEngine engine)
    {
        Kept = false;
        engine.Inherit(guest.Unanswered);
        host.Say($"takes over the VM{(paused ? ", paused" : halted ? ", halted" : "")}");
        WatchLease();
    }

    /// <summary>The volume is served, and an earlier process has left this VM.</summary>
    public void VolumeServed()
    {
        if (exists)
            world.Truth.WorkloadGoesOn(host);
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
        exists = starting = paused = pauseWished = halted = Kept = false;
        pausesOpen = 0;
        instance++;
    }
}
