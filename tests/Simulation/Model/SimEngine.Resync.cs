using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Sessions: dialling, resync on both sides, and the replica side.</summary>
internal sealed partial class SimEngine
{
    private const int CopiesOpenMax = 2;

    private sealed class Resync
    {
        public required Guid SyncBase { get; init; }

        public required bool Full { get; init; }

        public bool SourceAllowed { get; set; }

        public bool TargetAllowed { get; set; }

        public bool Copying { get; set; }

        public int CopiesOpen { get; set; }

        public bool Final { get; set; }

        public bool CaughtUp { get; set; }
    }

    private readonly Queue<Action> arrived = new();
    private bool applying;
    private long? following;
    private SimSession? upstream;
    private Guid upstreamBase;

    // The source.

    private void Attach(RoleEffect.AttachPeer attach)
    {
        epoch = attach.Epoch;
        CloseSession("attached anew");
        Dial(++attachment, attach.InSync, connected: false);
    }

    private void Detach()
    {
        attachment++;
        CloseSession("detached");
        for (var block = 0; block < Volume.Blocks; block++)
            dirty[block] |= host.Volume.Marks[block];
        peerHolds = false;
        foreach (var operation in operations.ToList())
            Check(operation);
    }

    private void Dial(int mine, bool inSync, bool connected) => host.After(world.Random.Between(20, 200), () =>
    {
        if (mine != attachment || !serving)
            return;
        if (session is null && !(inSync ? connected : peerHolds) && host.Peer.Engine is { } peer && host.Peer is { Running: true, Frozen: false }
            && world.Reaches(host) && world.Reaches(host.Peer) && peer.Accepts(epoch))
        {
            connected = true;
            Connect(peer, inSync);
        }

        Dial(mine, inSync, connected);
    });

    private void Connect(SimEngine peer, bool inSync)
    {
        var to = session = new SimSession(world, host, host.Peer);
        peer.Accept(to);
        Raise(new RoleInput.SessionUp(host.Peer.Incarnation));
        if (inSync)
        {
            host.Say("replication session, in sync");
            foreach (var operation in operations.ToList())
            {
                if (operation.Block >= 0)
                    dirty[operation.Block] = false;
                Send(operation);
            }

            return;
        }

        var mine = host.Machine!.State;
        var theirs = host.Peer.Machine!.State.SyncBase;
        var comparable = theirs != Guid.Empty && (theirs == mine.SyncBase || theirs == mine.PendingSyncBase);
        resync = new Resync { SyncBase = world.Random.Guid(), Full = !comparable };
        var marks = host.Peer.Volume.Marks.ToArray(); // United on connecting (S6).
        for (var block = 0; block < Volume.Blocks; block++)
            if (marks[block] || resync.Full)
                host.Volume.Marks[block] = dirty[block] = true;
        host.Say($"resync begins, {(resync.Full ? "full" : "delta")}, {dirty.Count(is_ => is_)} blocks");
        var syncBase = resync.SyncBase;
        Raise(new RoleInput.ResyncStarting(syncBase));
        to.ToTarget(() => to.Target.Engine!.TargetStarts(to, syncBase));
    }

    private void Allow(Guid syncBase)
    {
        if (resync is { } mine && mine.SyncBase == syncBase)
        {
            mine.SourceAllowed = true;
            BeginCopy();
        }
        else if (upstream is { } from && upstreamBase == syncBase)
        {
            from.ToSource(() => from.Source.Engine!.TargetAllows(from));
        }
    }

    private void TargetAllows(SimSession on)
    {
        if (session != on || resync is null)
            return;
        resync.TargetAllowed = true;
        BeginCopy();
    }

    private void BeginCopy()
    {
        if (resync is not { SourceAllowed: true, TargetAllowed: true, Copying: false })
            return;
        resync.Copying = true;
        // What is under way was not mirrored: it is copied when it has ended.
        foreach (var operation in operations.Where(operation => operation.Block >= 0))
            dirty[operation.Block] = true;
        CopyOn(resync);
    }

    private void CopyOn(Resync mine)
    {
        if (resync != mine)
            return;
        for (var block = 0; block < Volume.Blocks && mine.CopiesOpen < CopiesOpenMax; block++)
            if (dirty[block] && InFlight(block) is null)
                Copy(mine, block);
        if (!mine.Final && mine.CopiesOpen == 0 && !dirty.Contains(true))
            Finish(mine);
        else if (!mine.Final)
            host.After(world.Random.Between(2, 20), () => CopyOn(mine));
    }

    private void Copy(Resync mine, int block)
    {
        var to = session!;
        var number = host.Volume.Applied[block];
        dirty[block] = false; // To "written": the mark stays until it is flushed on both.
        writtenOrder[block] = ++order;
        if (world.Sabotage == Sabotage.ClearMarksWithoutFlush)
            host.Volume.Marks[block] = false;
        mine.CopiesOpen++;
        to.ToTarget(() => to.Target.Engine!.Receive(to, copy: true, block, number, () => to.ToSource(() => mine.CopiesOpen--)));
    }

    /// <summary>From now on acknowledgements wait for the target as for a member (S7); then everything is flushed on both.</summary>
    private void Finish(Resync mine)
    {
        mine.Final = true;
        peerHolds = true;
        var to = session!;
        StartFlush(() => false);
        to.ToTarget(() => to.Target.Engine!.FinalFlush(to, mine.SyncBase));
    }

    private void TargetConfirmed(SimSession on, Guid syncBase)
    {
        if (session != on || resync is not { Final: true } mine || mine.SyncBase != syncBase)
            return;
        mine.CaughtUp = true;
        host.Say("peer caught up");
        world.Truth.CheckEqual("S6: caught up");
        Raise(new RoleInput.PeerCaughtUp(syncBase));
    }

    public void SessionBroke(SimSession broken, string why)
    {
        if (upstream == broken)
        {
            upstream = null;
            arrived.Clear();
        }

        if (session != broken)
            return;
        var caughtUp = resync is null or { CaughtUp: true };
        session = null;
        resync = null;
        if (!caughtUp)
            peerHolds = false; // The machine knows nothing of this hold.
        for (var block = 0; block < Volume.Blocks; block++)
            dirty[block] |= host.Volume.Marks[block];
        host.Say($"session ends: {why}");
        foreach (var operation in operations.ToList())
            Check(operation);
        Raise(new RoleInput.SessionLost(why));
    }

    // The replica.

    private bool Accepts(long newEpoch) => following is { } least && newEpoch >= least && newEpoch >= host.Machine!.State.Record.Epoch;

    private void Accept(SimSession from)
    {
        upstream?.Break("replaced");
        upstream = from;
        upstreamBase = Guid.Empty;
        arrived.Clear();
    }

    private void Follow(long least) => following = least;

    private void StopFollowing()
    {
        following = null;
        upstream?.Break("the target stops following");
        upstream = null;
        arrived.Clear();
        host.After(world.Random.Between(10, 60), () => Raise(new RoleInput.FollowingStopped()));
    }

    private void TargetStarts(SimSession on, Guid syncBase)
    {
        if (upstream != on)
            return;
        upstreamBase = syncBase;
        Raise(new RoleInput.ResyncStarting(syncBase));
    }

    /// <summary>Block -1 is a flush. Frames are applied one after the other.</summary>
    private void Receive(SimSession on, bool copy, int block, long number, Action done)
    {
        if (upstream != on)
            return; // S1: a frame of an older session.
        arrived.Enqueue(() =>
        {
            if (block < 0)
                MakeStable([.. host.Volume.Applied]);
            else
                host.Volume.Apply(block, number);
            if (copy)
                world.Truth.TargetOverwritten(host);
            done();
        });
        ApplyOn();
    }

    private void FinalFlush(SimSession on, Guid syncBase)
    {
        if (upstream != on)
            return;
        arrived.Enqueue(() =>
        {
            MakeStable([.. host.Volume.Applied]);
            Raise(new RoleInput.ReplicaFlushed(syncBase));
        });
        ApplyOn();
    }

    private void ApplyOn()
    {
        if (applying || arrived.Count == 0)
            return;
        applying = true;
        host.After(world.Random.Between(0, 6), () =>
        {
            applying = false;
            if (arrived.TryDequeue(out var apply))
                apply();
            ApplyOn();
        });
    }

    private void Confirm(Guid syncBase)
    {
        if (upstream is not { } from || upstreamBase != syncBase)
            return;
        // Equal and flushed on both: this host's own marks have done their duty.
        Array.Clear(host.Volume.Marks);
        from.ToSource(() => from.Source.Engine!.TargetConfirmed(from, syncBase));
    }
}
