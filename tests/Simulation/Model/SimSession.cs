namespace Pollux.Tests.Simulation.Model;

/// <summary>A replication connection: frames arrive once and in order, stall while their direction is cut, and it breaks when it has
/// stalled too long or an end dies. The ends learn of that one by one.</summary>
internal sealed class SimSession(World world, SimHost source, SimHost target)
{
    private readonly Way toTarget = new(source, target, target.Life);
    private readonly Way toSource = new(target, source, source.Life);
    private readonly long stallMaxMs = world.Random.Between(300, 3_000);

    public bool Broken { get; private set; }

    public SimHost Source => source;

    public SimHost Target => target;

    public void ToTarget(Action action) => Send(toTarget, action);

    public void ToSource(Action action) => Send(toSource, action);

    /// <summary>Both ends learn of it, each in its time; what is on the way is lost.</summary>
    public void Break(string why)
    {
        if (Broken)
            return;
        Broken = true;
        foreach (var (host, life) in new[] { (source, toSource.ReceiverLife), (target, toTarget.ReceiverLife) })
            world.Schedule.After(world.Random.Between(0, 200), () => host.InProcess(life, () => host.Engine!.SessionBroke(this, why)));
    }

    private void Send(Way way, Action action)
    {
        if (Broken)
            return;
        way.Frames.Enqueue(action);
        if (way.Frames.Count == 1)
            Plan(way);
    }

    private void Plan(Way way) => world.Schedule.After(world.Random.Between(0, 4), () => Pump(way));

    private void Pump(Way way)
    {
        if (Broken)
            return;
        if (!world.Reaches(way.From) || !way.To.Powered)
        {
            way.StalledSinceMs ??= world.Schedule.NowMs;
            if (world.Schedule.NowMs - way.StalledSinceMs > stallMaxMs)
                Break("stalled");
            else
                world.Schedule.After(25, () => Pump(way));
            return;
        }

        way.StalledSinceMs = null;
        var frame = way.Frames.Dequeue();
        way.To.InProcess(way.ReceiverLife, frame);
        if (way.Frames.Count > 0)
            Plan(way);
    }

    private sealed class Way(SimHost from, SimHost to, int receiverLife)
    {
        public SimHost From { get; } = from;

        public SimHost To { get; } = to;

        public int ReceiverLife { get; } = receiverLife;

        public Queue<Action> Frames { get; } = new();

        public long? StalledSinceMs { get; set; }
    }
}
