using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>An abstract replication engine: the contract of the role machine's effects, on a volume of a few blocks. This part is the
/// primary side; the replica side is in the other.</summary>
internal sealed partial class SimEngine(World world, SimHost host)
{
    private sealed class Operation
    {
        public required int Block { get; init; }

        public required long Number { get; init; }

        public required long BegunMs { get; init; }

        /// <summary>For a flush: what it must make stable.</summary>
        public long[]? Flushes { get; init; }

        /// <summary>For a flush: blocks with a write under way at its begin, which it does not cover.</summary>
        public HashSet<int> Uncovered { get; init; } = [];

        public long Order { get; init; }

        public required Func<bool> Ends { get; init; }

        public bool Local { get; set; }

        public bool Remote { get; set; }

        public bool Ended { get; set; }
    }

    private readonly List<Operation> operations = [];
    private readonly List<Operation> finished = [];
    private readonly Queue<Action> held = new();
    private readonly bool[] dirty = new bool[Volume.Blocks];
    private readonly long[] writtenOrder = new long[Volume.Blocks];
    private long order;
    private long flushesBegun;
    private long flushStable;
    private bool serving;
    private bool freeze;
    private bool quiescing;
    private bool quiesceFlushed;
    private long epoch;

    /// <summary>Acknowledgements wait for the peer: told by the machine, or begun by the end of a resync.</summary>
    private bool peerHolds;
    private int attachment;
    private SimSession? session;
    private Resync? resync;
    private int servings;

    public void Perform(RoleEffect effect)
    {
        switch (effect)
        {
            case RoleEffect.Serve serve: Serve(serve); break;
            case RoleEffect.AttachPeer attach: Attach(attach); break;
            case RoleEffect.DetachPeer: Detach(); break;
            case RoleEffect.SetEpoch set: epoch = set.Epoch; break;
            case RoleEffect.AllowResync allow: Allow(allow.SyncBase); break;
            case RoleEffect.ConfirmResynced confirm: Confirm(confirm.SyncBase); break;
            case RoleEffect.Freeze: freeze = true; break;
            case RoleEffect.Unfreeze: Unfreeze(); break;
            case RoleEffect.Quiesce: BeginQuiesce(); break;
            case RoleEffect.Follow follow: Follow(follow.Epoch); break;
            case RoleEffect.StopFollowing: StopFollowing(); break;
            case RoleEffect.Release: Release(); break;
            default: throw new InvalidOperationException(effect.ToString());
        }
    }

    /// <summary>The number that is being written to a block, if any.</summary>
    public long? InFlight(int block) =>
        operations.Find(operation => operation.Flushes is null && operation.Block == block)?.Number;

    public bool HoldsForPeer => peerHolds;

    public void Dies()
    {
        session?.Break("the other end died");
        upstream?.Break("the other end died");
    }

    /// <summary>Events come from the engine's own threads: after what is being done now.</summary>
    private void Raise(RoleInput input) => host.After(0, () => host.Feed(input));

    private void Serve(RoleEffect.Serve serve)
    {
        var mine = ++servings;
        host.After(world.Random.Between(5, 120), () =>
        {
            if (mine != servings)
                return;
            serving = true;
            epoch = serve.Epoch;
            peerHolds = serve.PeerIsMember;
            host.Volume.Marks.CopyTo(dirty, 0);
            Raise(new RoleInput.Serving(serve.Epoch));
        });
    }

    public void Write(int block, Func<bool> ends) => Begin(() => StartWrite(block, ends));

    private void StartWrite(int block, Func<bool> ends)
    {
        if (InFlight(block) is not null)
        {
            host.After(3, () => Write(block, ends)); // The range lock; left by a VM that ended.
            return;
        }

        var operation = new Operation { Block = block, Number = world.NextWrite(), BegunMs = world.Schedule.NowMs, Order = ++order, Ends = ends };
        // S6: the mark is durable before the data is written.
        host.Volume.Marks[block] = true;
        dirty[block] |= !Mirrors;
        writtenOrder[block] = order;
        operations.Add(operation);
        world.Truth.WriteBegins(block, operation.Number);
        Send(operation);
        host.After(world.Random.Between(1, 8), () =>
        {
            host.Volume.Apply(block, operation.Number);
            operation.Local = true;
            Check(operation);
        });
    }

    public void Flush(Func<bool> ends) => Begin(() => StartFlush(ends));

    private void StartFlush(Func<bool> ends)
    {
        var operation = new Operation
        {
            Block = -1, Number = 0, BegunMs = world.Schedule.NowMs, Order = order, Ends = ends, Flushes = world.Truth.FlushBegins(),
            Uncovered = [.. operations.Where(other => other.Flushes is null).Select(other => other.Block)],
        };
        operations.Add(operation);
        var snapshot = host.Volume.Applied.ToArray();
        var begun = ++flushesBegun;
        Send(operation);
        host.After(world.Random.Between(2, 25), () =>
        {
            if (begun > flushStable)
            {
                flushStable = begun;
                MakeStable(snapshot);
            }

            operation.Local = true;
            Check(operation);
        });
    }

    private void MakeStable(long[] snapshot)
    {
        for (var block = 0; block < Volume.Blocks; block++)
            host.Volume.Stable[block] = snapshot[block];
    }

    /// <summary>Range lock and admission: one operation per block, none while frozen or quiescing.</summary>
    private void Begin(Action start)
    {
        if (serving && !freeze && !quiescing)
            start();
        else
            held.Enqueue(start);
    }

    /// <summary>New operations go to the peer as well.</summary>
    private bool Mirrors => session is not null && resync is null or { Copying: true };

    private void Send(Operation operation)
    {
        if (!Mirrors)
            return;
        var to = session!;
        var (block, number, target) = (operation.Block, operation.Number, to.Target);
        to.ToTarget(() => target.Engine!.Receive(to, copy: false, block, number, () => to.ToSource(() =>
        {
            operation.Remote = true;
            Check(operation);
        })));
    }

    private void Check(Operation operation)
    {
        if (operation.Ended || !operation.Local)
            return;
        if (operation.Flushes is not null && operation.Remote)
            Settle(operation);
        var waits = peerHolds && world.Sabotage != Sabotage.AcknowledgeBeforePeer
            && !(world.Sabotage == Sabotage.ExcludeNotAsked && session is null);
        if (waits && !operation.Remote)
            return;
        operation.Ended = true;
        operations.Remove(operation);
        if (freeze)
            finished.Add(operation);
        else
            Acknowledge(operation);
        if (quiescing)
            ContinueQuiesce();
    }

    /// <summary>Flushed on both: what was written before is proven equal (S6).</summary>
    private void Settle(Operation flush)
    {
        for (var block = 0; block < Volume.Blocks; block++)
            if (!dirty[block] && writtenOrder[block] <= flush.Order && !flush.Uncovered.Contains(block))
                host.Volume.Marks[block] = false;
    }

    private void Acknowledge(Operation operation)
    {
        if (!operation.Ends())
            return;
        if (operation.Flushes is { } flushes)
            world.Truth.FlushAcknowledged(host, epoch, flushes);
        else if (operation.Block >= 0)
            world.Truth.WriteAcknowledged(host, epoch, operation.Block, operation.Number, operation.BegunMs);
    }

    private void Unfreeze()
    {
        freeze = quiescing = false;
        foreach (var operation in finished)
            Acknowledge(operation);
        finished.Clear();
        while (serving && !freeze && !quiescing && held.TryDequeue(out var start))
            start();
    }

    private void BeginQuiesce()
    {
        quiescing = true;
        quiesceFlushed = false;
        ContinueQuiesce();
    }

    private void ContinueQuiesce()
    {
        if (operations.Count > 0)
            return;
        if (quiesceFlushed)
        {
            host.After(1, () => Raise(new RoleInput.Quiesced()));
            return;
        }

        quiesceFlushed = true;
        StartFlush(() => false);
    }

    private void Release()
    {
        servings++;
        serving = freeze = quiescing = peerHolds = false;
        attachment++;
        following = null;
        held.Clear();
        foreach (var operation in operations)
            operation.Ended = true; // Given up: never acknowledged, marked as long as it may differ.
        operations.Clear();
        finished.Clear();
        CloseSession("released");
        upstream?.Break("the target released");
        upstream = null;
        arrived.Clear();
        host.After(world.Random.Between(10, 200), () => Raise(new RoleInput.Released()));
    }

    private void CloseSession(string why)
    {
        var closed = session;
        session = null;
        resync = null;
        closed?.Break(why);
        if (closed is not null)
            Raise(new RoleInput.SessionLost(why));
    }
}
