using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>One host: its clock, its disk, its data-plane process (role machine and engine) and its VM with the guard.</summary>
internal sealed class SimHost
{
    private readonly World world;
    private readonly Queue<Action> backlog = new();
    private readonly List<(long Version, LocalState State)> unstored = [];
    private long clockOffsetMs;
    private readonly long driftPerMillion;
    private long storeFreeMs;
    private long tickAtMs = long.MaxValue;
    private long crashAfterEffects = -1;
    private bool bootedSinceRun = false;

    public SimHost(World world, string name)
    {
        this.world = world;
        Name = name;
        clockOffsetMs = world.Random.Between(0, 1_000_000);
        driftPerMillion = world.Random.Between(-1_000, 1_000);
        Vm = new SimVm(world, this);
        Disk.PagesDropped = LoseUnflushed;
    }

    public string Name { get; }

    public SimHost Peer => world.Hosts.Single(host => host != this);

    public SimDisk Disk { get; } = new();

    public SimVm Vm { get; }

    public SimEngine? Engine { get; private set; }

    public RoleMachine? Machine { get; private set; }

    public Guid Incarnation { get; private set; }

    public LocalState Stored { get; private set; } = LocalState.Fresh;

    /// <summary>Counts process starts; what belongs to an earlier one is dropped.</summary>
    public int Life { get; private set; }

    public bool Running { get; private set; }

    public bool Powered { get; private set; } = true;

    public bool Frozen { get; private set; }

    public RoleInput.Desired Desired { get; set; } = new(false);

    public long CutUntilMs { get; set; }

    /// <summary>The same for the replication link alone, and for beacons and their answers alone.</summary>
    public long ReplicationCutUntilMs { get; set; }

    public long BeaconsCutUntilMs { get; set; }

    public long ArbiterCutUntilMs { get; set; }

    /// <summary>When its power went last, or the kernel last dropped pages that it could not write.</summary>
    public long UnflushedLostMs { get; private set; } = -1;

    public long ClockMs => clockOffsetMs + world.Schedule.NowMs + world.Schedule.NowMs * driftPerMillion / 1_000_000;

    /// <summary>The true time, rounded up, at which this host's clock shows a time.</summary>
    public long TrueMs(long clockMs)
    {
        var trueMs = world.Schedule.NowMs + (clockMs - ClockMs);
        trueMs += Math.Abs(clockMs - ClockMs) / 900 + 1;
        return Math.Max(trueMs, world.Schedule.NowMs);
    }

    public void Say(string what) => world.Say(Name, what);

    public void Start()
    {
        if (Running || !Powered)
            return;
        if (Vm.MayRun && !Vm.Kept)
        {
            // The runtime makes certain that nothing runs before it makes the machine.
            world.Schedule.After(20, Start);
            return;
        }

        Running = true;
        Frozen = false;
        backlog.Clear();
        tickAtMs = long.MaxValue; // Those of an earlier process come to nothing.
        Life++;
        Incarnation = world.Random.Guid();
        var detectionMs = world.Sabotage == Sabotage.TakeOverWithoutWaiting && Name == "b" ? world.DetectionMs / 8 : world.DetectionMs;
        Machine = new RoleMachine(
            new RoleConfiguration("m", Name, Peer.Name, new RoleTimings(detectionMs) { GracefulStopMs = 3_000 }, Incarnation, bootedSinceRun, world.Random.Guid)
            {
                VolumeHeld = Vm.Kept,
                WorkloadKept = Vm.Kept,
            },
            Recovered(), ClockMs);
        Engine = new SimEngine(world, this, new EngineOptions
        {
            Module = "m", Incarnation = Incarnation, Timings = new RoleTimings(detectionMs), ActivityLogSlots = ActivityLogImage.SlotsPerGroup,
            ResyncFlushBytes = world.ResyncFlushBytes, ResyncStepDeadlineMs = 10_000, ActivityLogRoomDeadlineMs = 5_000, StopDeadlineMs = 5_000,
            FlushHabitOperations = 1, SettleAfterMs = 3_000,
        });
        if (Vm.Kept)
            Vm.Claimed(Engine);
        bootedSinceRun = false;
        Say($"process starts; {Stored.Record}, {Stored.DataState}{(Stored.LostPower ? ", lost power" : "")}{(Stored.PromisedEpoch != 0 ? $", promised to leave at {Stored.PromisedEpoch}" : "")}");
        Feed(Desired);
    }

    private LocalState Recovered() =>
        world.Sabotage == Sabotage.PromoteOutdated && Stored.DataState is DataState.Outdated or DataState.Inconsistent
            ? Stored with { DataState = DataState.UpToDate, Record = Stored.Record with { InSync = [Name] } }
            : world.Sabotage == Sabotage.PromiseForgotten ? Stored with { PromisedEpoch = 0 } : Stored;

    public void Crash(string why)
    {
        if (!Running)
            return;
        Say(why);
        Running = false;
        // The store is serial: a prefix of what was handed to it is kept.
        var kept = world.Random.Between(0, unstored.Count);
        if (world.Sabotage == Sabotage.ConfirmUnstoredState)
            kept = 0;
        if (kept > 0)
            Stored = unstored[(int)kept - 1].State;
        unstored.Clear();
        Engine!.Dies();
        Disk.ProcessDies(world.Choose);
        world.Truth.CheckMarked("after a crash");
        Engine = null;
        Machine = null;
        Vm.ProcessDied();
    }

    /// <summary>As by SIGTERM: the machine says when the process may end, or it is ended.</summary>
    public void StopInOrder()
    {
        Say("is told to end");
        Feed(new RoleInput.HostStops());
        After(4 * world.DetectionMs, () => Crash("process is ended"));
    }

    public void LosePower()
    {
        if (!Powered)
            return;
        Say("loses power");
        Vm.Kill("power lost");
        Crash("process dies with the power");
        Powered = false;
        LoseUnflushed();
        Disk.LosePower(world.Choose);
        world.Truth.CheckMarked("after a loss of power");
    }

    private void LoseUnflushed()
    {
        UnflushedLostMs = world.Schedule.NowMs;
        world.Truth.UnflushedLost(this);
    }

    public void RestorePower()
    {
        if (Powered)
            return;
        Powered = true;
        bootedSinceRun = true;
        clockOffsetMs += world.Random.Between(1_000_000, 2_000_000);
        Start();
    }

    public void CrashAfterEffects(long count) => crashAfterEffects = count;

    public void Freeze()
    {
        if (!Running || Frozen)
            return;
        Frozen = true;
        Say("process freezes");
    }

    public void Thaw()
    {
        if (!Frozen)
            return;
        Frozen = false;
        Say("process thaws");
        while (!Frozen && Running && backlog.TryDequeue(out var action))
            action();
    }

    /// <summary>Runs in the process: not at all if it died, later if it is frozen.</summary>
    public void InProcess(int life, Action action)
    {
        if (life != Life || !Running)
            return;
        if (Frozen)
            backlog.Enqueue(() => InProcess(life, action));
        else
            action();
    }

    public void After(long delayMs, Action action)
    {
        var life = Life;
        world.Schedule.After(delayMs, () => InProcess(life, action));
    }

    public void Feed(RoleInput input) => FeedIf(Life, input);

    public void FeedIf(int life, RoleInput input) => InProcess(life, () => Step(input));

    private void Step(RoleInput input)
    {
        var machine = Machine!;
        var effects = new List<RoleEffect>();
        machine.Step(ClockMs, input, effects);
        var life = Life;
        foreach (var effect in effects)
        {
            if (crashAfterEffects == 0)
            {
                crashAfterEffects = -1;
                Crash($"process crashes before {effect.GetType().Name}");
            }

            if (Life != life || !Running)
                return;
            if (crashAfterEffects > 0)
                crashAfterEffects--;
            Perform(effect);
        }

        if (Running && Life == life)
            PlanTick(machine);
    }

    private void PlanTick(RoleMachine machine)
    {
        var atMs = TrueMs(machine.NextDeadlineMs);
        if (atMs >= tickAtMs && tickAtMs > world.Schedule.NowMs)
            return;
        tickAtMs = atMs;
        var life = Life;
        world.Schedule.At(atMs, () =>
        {
            if (tickAtMs == atMs)
                tickAtMs = long.MaxValue;
            FeedIf(life, new RoleInput.Tick());
        });
    }

    private void Perform(RoleEffect effect)
    {
        switch (effect)
        {
            case RoleEffect.SaveState save: Store(save); break;
            case RoleEffect.SendBeacon send: world.Deliver(this, peer => peer.Hear(send.Beacon)); break;
            case RoleEffect.AnswerBeacon answer: world.Deliver(this, peer => peer.Feed(new RoleInput.BeaconAnswered(answer.Answer))); break;
            case RoleEffect.AskArbiter ask: Ask(ask); break;
            case RoleEffect.StartWorkload: Vm.Start(); break;
            case RoleEffect.StopWorkload stop: Vm.Stop(stop.GraceMs); break;
            case RoleEffect.PauseWorkload: Vm.Pause(); break;
            case RoleEffect.ResumeWorkload: Vm.Resume(); break;
            case RoleEffect.MayEnd: After(0, () => Crash("process ends")); break;
            case RoleEffect.ExtendLease lease: Vm.Lease(lease.UntilMs); break;
            case RoleEffect.CommandDone done: Say($"command {(done.Succeeded ? "done" : "given up")}: {done.Reason}"); break;
            case RoleEffect.CheckAnswered check: Say($"checker {check.Checker}, {check.Action}: {check.Answer}. {check.Text}"); break;
            case RoleEffect.RoleChanged changed:
                world.CodesSeen.Add(changed.Code);
                Say($"{changed.Role} {(changed.Ready ? "ready" : "transient")} {changed.Code}: {changed.Cause}");
                break;
            default: Engine!.Perform(effect); break;
        }
    }

    private void Hear(Beacon beacon)
    {
        Feed(new RoleInput.BeaconReceived(beacon));
        if (world.Sabotage == Sabotage.AnswerWhileClaiming)
            AnswerUnasked(beacon);
    }

    /// <summary>A runtime that answers beacons by itself, whatever the machine thinks of it.</summary>
    private void AnswerUnasked(Beacon beacon)
    {
        if (beacon.Role is not (Role.Prim or Role.Alone) || Machine?.View.Role is not (Role.Wait or Role.Second))
            return;
        var answer = new BeaconAnswer(beacon.Incarnation, beacon.Sequence, Incarnation);
        world.Deliver(this, peer => peer.Feed(new RoleInput.BeaconAnswered(answer)));
    }

    private void Ask(RoleEffect.AskArbiter ask)
    {
        if (ask.Request.Change != RecordChange.Look)
            Say($"asks {ask.Request.Change} at epoch {ask.Request.ExpectedEpoch}");
        if (ask.Request.Change == RecordChange.Join)
            world.Truth.JoinAsked(this, ask.Request.ExpectedEpoch);
        world.Arbiter.Ask(this, ask);
    }

    private void Store(RoleEffect.SaveState save)
    {
        Say($"stores {save.State.Record}, {save.State.DataState}");
        unstored.Add((save.Version, save.State));
        var life = Life;
        storeFreeMs = Math.Max(storeFreeMs, world.Schedule.NowMs) + (world.Random.Chance(20) ? 300 : world.Random.Between(0, 15));
        var lie = world.Sabotage == Sabotage.ConfirmUnstoredState;
        if (lie)
            After(0, () => Step(new RoleInput.StateSaved(save.Version)));
        world.Schedule.At(lie ? storeFreeMs + 4_000 : storeFreeMs, () =>
        {
            if (life != Life || !Running)
                return;
            Stored = save.State;
            unstored.RemoveAll(entry => entry.Version == save.Version);
            if (!lie)
                Feed(new RoleInput.StateSaved(save.Version));
        });
    }
}
