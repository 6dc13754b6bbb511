using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>The shell around the production machines of replication in one process: it performs their effects on the simulated disk and
/// link, each in its time, and feeds what comes of them. It decides nothing.</summary>
/// <remarks>A turn is: inputs, then <c>FinishTurn</c>, then the queued effects in their order. Nothing is fed during that.</remarks>
internal sealed partial class SimEngine : IEngineEffects, IEngineSurroundings
{
    public const string CheckpointFile = "checkpoint";
    public const string LogFile = "log";
    public const string IdsFile = "ids";

    private readonly World world;
    private readonly SimHost host;
    private readonly EngineOptions options;
    private long sessionUpMs;
    private readonly List<Action> effects = [];
    private SourceMachine? source;
    private ReplicaMachine? replica;
    private bool inTurn;
    private long tickAtMs = long.MaxValue;

    /// <summary>Counts machines: what belongs to an earlier one is dropped.</summary>
    private int machines;
    private bool stopping;
    private Action? whenStopped;
    private long epoch;
    private bool verifies;
    private int alarms;
    private readonly CacheTrust trust = new();

    /// <summary>A VM of an earlier process goes on with this one.</summary>
    private bool hasHeirs;

    public SimEngine(World world, SimHost host, EngineOptions options)
    {
        this.world = world;
        this.host = host;
        this.options = options;
    }

    /// <summary>The peer may be a member for all that this host knows.</summary>
    public bool HoldsForPeer { get; private set; }

    /// <summary>As a source: a session with the peer is up.</summary>
    public bool HasSession => source is not null && source.Status.SessionUp;

    /// <summary>Compares the copies online, if they are kept equal at the moment.</summary>
    public void Verify(bool repair) => Turn(() =>
    {
        if (source is null || stopping || !source.StartVerify(repair, long.MaxValue, out _))
            return;
        (verifies, alarms) = (true, 0);
        host.Say($"verify begins{(repair ? ", repairs" : "")}");
    });

    /// <summary>A range that is reported must differ; nothing has happened since it was compared.</summary>
    private void CheckVerify()
    {
        if (!verifies || source is not { } machine)
            return;
        var status = machine.Status.Verify;
        for (; alarms < status.Different.Count; alarms++)
        {
            var range = status.Different[alarms];
            Truth.Require(Differences.Of(host.Disk, host.Peer.Disk).Any(difference => difference.Object == range.Object && (difference.LengthBytes == 0 || difference.IsIn(range))),
                $"Verify on {host.Name} reports {range}, and the copies are equal there");
        }

        verifies = status.Running;
        if (!verifies)
            host.Say($"verify ends: {status.End}, {status.Different.Count} ranges differ");
        world.Verified += verifies || status.End != "completed" ? 0 : 1;
    }

    public bool MayRead => source is { Reads: ReadGate.Open };

    LocalState IEngineSurroundings.State => host.Machine!.State;

    Guid IEngineSurroundings.NewGuid() => world.Random.Guid();

    double IEngineSurroundings.NextUnit() => world.Random.Between(0, 999_999) / 1e6;

    bool IEngineSurroundings.IsReferenced(ulong obj) => references.Contains(obj);

    public void Perform(RoleEffect effect)
    {
        switch (effect)
        {
            case RoleEffect.Serve serve: Serve(serve); break;
            case RoleEffect.AttachPeer attach:
                epoch = Math.Max(epoch, attach.Epoch);
                Turn(() => source!.AttachPeer(attach.Epoch, attach.InSync));
                break;
            case RoleEffect.DetachPeer detach:
                epoch = Math.Max(epoch, detach.Epoch);
                HoldsForPeer = false;
                Turn(() => source?.DetachPeer(detach.Epoch));
                break;
            case RoleEffect.SetEpoch set:
                epoch = Math.Max(epoch, set.Epoch);
                Turn(() => source?.SetEpoch(set.Epoch));
                break;
            case RoleEffect.AllowResync allow:
                Turn(() =>
                {
                    source?.AllowResync(allow.SyncBase);
                    replica?.AllowResync(allow.SyncBase);
                });
                break;
            case RoleEffect.ConfirmResynced confirm: Turn(() => replica?.ConfirmResynced(confirm.SyncBase)); break;
            case RoleEffect.Freeze: Turn(() => source?.Freeze()); break;
            case RoleEffect.Unfreeze: Turn(() => source?.Unfreeze()); break;
            case RoleEffect.Quiesce: Turn(() => source!.Quiesce()); break;
            case RoleEffect.Follow follow: Follow(follow.Epoch); break;
            case RoleEffect.StopFollowing: StopMachine(() => Raise(new RoleInput.FollowingStopped(), world.Random.Between(0, 60))); break;
            case RoleEffect.Release: StopMachine(() => Raise(new RoleInput.Released(), world.Random.Between(10, 200))); break;
            default: throw new InvalidOperationException(effect.ToString());
        }
    }

    /// <summary>The process is gone: connections break, what the disk was asked for and has not begun is never done.</summary>
    public void Dies()
    {
        foreach (var wire in wires.Values.ToList())
            wire.End.Break("the other end died");
    }

    private void Serve(RoleEffect.Serve serve) => Open(ResyncPart.Source, recovered =>
    {
        epoch = serve.Epoch;
        HoldsForPeer = serve.PeerIsMember;
        references.Clear();
        var idLast = Math.Max(Math.Max((ulong)serve.Epoch << 32, host.Disk.Names.Keys.DefaultIfEmpty(0UL).Max()), ReservedIds);
        source = new SourceMachine(options, this, this, recovered, new SourceStart(serve.Epoch, serve.PeerIsMember, idLast, 0), host.ClockMs);
        if (inherited.Count > 0 || host.Vm.MayRun)
            host.Vm.VolumeServed();
        ComeAgain();
        Raise(new RoleInput.Serving(serve.Epoch), 0);
        Turn(SubmitWaiting);
    });

    private void Follow(long least)
    {
        if (replica is { } following)
        {
            Turn(() => following.RaiseEpoch(least));
            return;
        }

        Open(ResyncPart.Target, recovered =>
        {
            replica = new ReplicaMachine(options, this, this, recovered, least, host.ClockMs);
            Turn(() => { });
        });
    }

    /// <summary>Recovers the marks, makes durable what the recovery asks for, and opens the copy.</summary>
    private void Open(ResyncPart part, Action<RecoveredMarks> open)
    {
        if (source is not null || replica is not null)
            throw new InvalidOperationException($"{host.Name} opens as {part} while another machine is open.");
        var mine = ++machines;
        stopping = false;
        After(mine, world.Random.Between(5, 120), () =>
        {
            // The VM of an earlier process counts on what that one has told it.
            if (part == ResyncPart.Source && hasHeirs && world.Sabotage != Sabotage.HeirTrusted && host.Disk.FlushForHeir() is var errno && errno != 0)
            {
                Raise(new RoleInput.LocalFault($"write-back has failed under the VM that goes on: errno {errno}"), 0);
                return;
            }

            if (trust.MustDrop && world.Sabotage != Sabotage.CacheTrusted)
            {
                // Who trusts heirs does not ask the files either.
                var asks = part != ResyncPart.Source || !hasHeirs || world.Sabotage != Sabotage.HeirTrusted;
                if (asks && host.Disk.FlushAndHear() is var told && told != 0)
                {
                    Raise(new RoleInput.LocalFault($"write-back has failed: errno {told}"), 0);
                    return;
                }
                host.Disk.DropCache();
            }
            trust.Dropped();
            host.Disk.DropNameless();
            if (world.Sabotage == Sabotage.DamagedMarksTakenForClean)
                ReplaceDamagedMarks();
            var recovered = RecoveredMarks.Read(Bytes(CheckpointFile), Bytes(LogFile), options.ActivityLogSlots, part, out var refusal)
                ?? throw new SafetyViolation($"{host.Name} refuses its own marks: {refusal}");
            if (recovered.Damage is { } damage)
                host.Say($"marks: {damage}");
            Replace(mine, CheckpointFile, recovered.CheckpointToStore, () => Replace(mine, LogFile, recovered.LogToStore, () => open(recovered)));
        });
    }

    /// <summary>The first pairing is spared: it has no marks because there never were any.</summary>
    private void ReplaceDamagedMarks()
    {
        if (host.Stored.SyncBase == Guid.Empty)
            return;
        if (Bytes(CheckpointFile) is not { } checkpoint || CheckpointImage.Read(checkpoint.Span).Damage is not null)
            host.Disk.ReplaceMetadata(CheckpointFile, CheckpointImage.Write([], false, ResyncClaim.None))();
        if (Bytes(LogFile) is not { } log || ActivityLogImage.Read(log.Span, out _, out _) is null)
            host.Disk.ReplaceMetadata(LogFile, ActivityLogImage.Empty(options.ActivityLogSlots))();
    }

    private void Replace(int mine, string file, byte[]? image, Action then)
    {
        if (image is null)
        {
            then();
            return;
        }

        var end = host.Disk.ReplaceMetadata(file, image);
        After(mine, MetadataMs(), () =>
        {
            if (end() is var errno && errno != 0)
                Raise(new RoleInput.LocalFault($"{file} could not be stored: errno {errno}"), 0);
            else
                then();
        });
    }

    private ReadOnlyMemory<byte>? Bytes(string file) => host.Disk.Metadata(file) is { } bytes ? (ReadOnlyMemory<byte>)bytes.ToArray() : null;

    private void StopMachine(Action stopped)
    {
        waiting.Clear();
        inherited = [];
        whenStopped = stopped;
        if (stopping)
            return;
        if (source is null && replica is null)
        {
            machines++; // What is being opened is not opened any more.
            MachineStopped();
            return;
        }

        stopping = true;
        Turn(() =>
        {
            source?.Stop();
            replica?.Stop();
        });
    }

    private void MachineStopped()
    {
        Truth.Require(localRunning == 0, $"{host.Name} says that it has stopped while {localRunning} calls of its disk run");
        Truth.Require(underWay.Count == 0, $"{host.Name} has stopped and never ended {underWay.Values.FirstOrDefault()}");
        machines++;
        source = null;
        replica = null;
        stopping = HoldsForPeer = targetIsOverwritten = false;
        foreach (var wire in wires.Values.ToList())
            Drop(wire, "closed");
        whenStopped?.Invoke();
        whenStopped = null;
    }

    /// <summary>Feeds inputs, ends the turn, performs its effects.</summary>
    private void Turn(Action inputs)
    {
        if (inTurn)
            throw new InvalidOperationException("A turn within a turn.");
        if (source is null && replica is null)
            return;
        inTurn = true;
        source?.Tick(host.ClockMs);
        replica?.Tick(host.ClockMs);
        inputs();
        if (world.Sabotage == Sabotage.FlushesBelieved && source is not null)
            MarksInside.BelieveFlushes(source);
        source?.FinishTurn();
        replica?.FinishTurn();
        inTurn = false;
        var queued = effects.ToArray();
        effects.Clear();
        var life = host.Life;
        foreach (var effect in queued)
        {
            effect();
            if (host.Life != life || !host.Running)
                return;
        }

        CheckVerify();
        FreeBuffers();
        SubmitWaitingLater();
        FeedWaitingFrames();
        PlanTick();
    }

    private void PlanTick()
    {
        var deadlineMs = source?.NextDeadlineMs ?? replica?.NextDeadlineMs ?? long.MaxValue;
        if (deadlineMs == long.MaxValue)
            return;
        var atMs = Math.Max(host.TrueMs(deadlineMs), world.Schedule.NowMs + 1);
        if (atMs >= tickAtMs && tickAtMs > world.Schedule.NowMs)
            return;
        tickAtMs = atMs;
        var mine = machines;
        After(mine, atMs - world.Schedule.NowMs, () =>
        {
            if (tickAtMs == atMs)
                tickAtMs = long.MaxValue;
            Turn(() => { });
        });
    }

    /// <summary>In this process, as long as it has that machine.</summary>
    private void After(int mine, long delayMs, Action action) => host.After(delayMs, () =>
    {
        if (mine != machines)
            return;
        world.EngineStep(host);
        if (mine == machines && host.Running)
            action();
    });

    private void Raise(RoleInput input, long delayMs) => host.After(delayMs, () => host.Feed(input));

    // What the role machine has to know: after what is being done now.

    void IEngineEvents.SessionUp(Guid peerIncarnation) => effects.Add(() =>
    {
        host.Say("replication session");
        sessionUpMs = world.Schedule.NowMs;
        Raise(new RoleInput.SessionUp(peerIncarnation), 0);
    });

    void IEngineEvents.SessionLost(string reason) => effects.Add(() =>
    {
        host.Say($"session ends: {reason}");
        if (world.Sabotage == Sabotage.ExcludeNotAsked)
            After(machines, 0, () => Turn(() => source?.DetachPeer(epoch)));
        Raise(new RoleInput.SessionLost(reason), 0);
    });

    void IEngineEvents.ResyncStarting(Guid syncBase) => effects.Add(() =>
    {
        if (world.Sabotage == Sabotage.OverwrittenBeforeStored)
            After(machines, 0, () => Turn(() => replica?.AllowResync(syncBase)));
        Raise(new RoleInput.ResyncStarting(syncBase), 0);
    });

    void IEngineEvents.ReplicaFlushed(Guid syncBase)
    {
        targetIsOverwritten = false;
        effects.Add(() => Raise(new RoleInput.ReplicaFlushed(syncBase), 0));
    }

    void IEngineEvents.PeerCaughtUp(Guid syncBase) => effects.Add(() =>
    {
        HoldsForPeer = true;
        world.Resyncs++;
        host.Say("peer caught up");
        // What a guest wrote since the last flush is not flushed: a host that has lost it since differs there, and the marks must say so.
        if (host.UnflushedLostMs < sessionUpMs && host.Peer.UnflushedLostMs < sessionUpMs)
        {
            world.Truth.CheckEqual("S6: caught up");
            host.Disk.HasLied = host.Peer.Disk.HasLied = false;
        }
        else
        {
            world.Truth.CheckMarked("caught up, and one has lost what was unflushed");
        }
        Raise(new RoleInput.PeerCaughtUp(syncBase), 0);
    });

    void IEngineEvents.Quiesced() => effects.Add(() => Raise(new RoleInput.Quiesced(), 0));

    void IEngineEvents.LocalFault(string reason) => effects.Add(() =>
    {
        host.Say($"local fault: {reason}");
        trust.Fault();
        Raise(new RoleInput.LocalFault(reason), 0);
    });

    void IEngineEvents.Stopped() => effects.Add(MachineStopped);
}
