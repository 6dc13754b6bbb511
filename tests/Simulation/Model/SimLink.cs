namespace Pollux.Tests.Simulation.Model;

/// <summary>What a process does with what arrives on its end of a connection.</summary>
internal interface ISimLinkUser
{
    void Received(SimLinkEnd end, ReadOnlySpan<byte> bytes);

    /// <summary>Bytes that were sent have left: there is room again.</summary>
    void RoomFreed(SimLinkEnd end);

    void Closed(SimLinkEnd end, string why);
}

/// <summary>A connection of two processes: bytes arrive in order, in pieces of any length, late, not at all while their direction is cut.
/// It breaks when it has stalled too long or an end dies or closes. A faulty one also loses, doubles, swaps, cuts and changes frames.</summary>
internal sealed class SimLink
{
    private readonly World world;
    private readonly long stallMaxMs;
    private readonly long delayMaxMs;

    public SimLink(World world, SimHost dialler, ISimLinkUser diallerUser, SimHost listener, ISimLinkUser listenerUser)
    {
        this.world = world;
        stallMaxMs = world.Random.Between(300, 3_000);
        delayMaxMs = world.Random.Of([1L, 2, 4, 12]);
        Dialler = new SimLinkEnd(this, dialler, diallerUser);
        Listener = new SimLinkEnd(this, listener, listenerUser);
        (Dialler.Other, Listener.Other) = (Listener, Dialler);
    }

    public SimLinkEnd Dialler { get; }

    public SimLinkEnd Listener { get; }

    public bool Broken { get; private set; }

    /// <summary>Both ends learn of it, each in its time; what is on the way is lost.</summary>
    public void Break(string why)
    {
        if (Broken)
            return;
        Broken = true;
        foreach (var end in new[] { Dialler, Listener })
            world.Schedule.After(world.Random.Between(0, 200), () => end.Host.InProcess(end.Life, () => end.Close(why)));
    }

    /// <summary>An end closes: it hears nothing more at once, the other reads what is on the way and then learns of it.</summary>
    public void CloseAfterSending(SimLinkEnd closing, string why)
    {
        if (Broken)
            return;
        closing.Close(why);
        closing.Other.EndOfStream = why;
        Plan(closing);
    }

    internal void Plan(SimLinkEnd from)
    {
        if (from.Planned)
            return;
        from.Planned = true;
        world.Schedule.After(world.Random.Between(0, delayMaxMs), () => Pump(from));
    }

    private void Pump(SimLinkEnd from)
    {
        from.Planned = false;
        var to = from.Other;
        if (Broken)
            return;
        if (!world.Carries(from.Host) || !to.Host.Powered)
        {
            from.StalledSinceMs ??= world.Schedule.NowMs;
            if (world.Schedule.NowMs - from.StalledSinceMs > stallMaxMs)
            {
                Break("stalled");
                return;
            }

            from.Planned = true;
            world.Schedule.After(25, () => Pump(from));
            return;
        }

        from.StalledSinceMs = null;
        var bytes = from.TakeSegment(world.Random);
        if (bytes.Length > 0)
            to.Host.InProcess(to.Life, () => to.Deliver(bytes));
        if (from.QueuedBytes > 0)
        {
            Plan(from);
        }
        else if (to.EndOfStream is { } why)
        {
            Broken = true;
            to.Host.InProcess(to.Life, () => to.Close(why));
        }

        if (bytes.Length > 0)
            from.Host.InProcess(from.Life, from.FreeRoom);
    }

    /// <summary>What a faulty network makes of a frame.</summary>
    internal void Spoil(List<byte[]> queue, byte[] frame)
    {
        var random = world.Random;
        if (!random.Chance(world.LinkFaultsPerMille))
        {
            queue.Add(frame);
            return;
        }

        var fault = random.Between(0, 5);
        world.LinkFaults++;
        world.Say("fault", $"frame of kind {(DataPlane.Core.Replication.FrameKind)frame[8]} is {((string[])["changed", "lost", "doubled", "swapped", "cut", "early"])[fault]}");
        switch (fault)
        {
            case 0:
                frame = frame.ToArray();
                frame[random.Between(0, frame.Length - 1)] ^= (byte)(1 << (int)random.Between(0, 7));
                queue.Add(frame);
                break;
            case 1: break;
            case 2:
                queue.Add(frame);
                queue.Add(frame);
                break;
            case 3: queue.Insert(Math.Max(queue.Count - 1, Math.Min(1, queue.Count)), frame); break;
            case 4: queue.Add(frame[..(int)random.Between(0, frame.Length - 1)]); break;
            default: queue.Insert(Math.Min(1, queue.Count), frame); break;
        }
    }
}

/// <summary>One end of a <see cref="SimLink"/>.</summary>
internal sealed class SimLinkEnd(SimLink link, SimHost host, ISimLinkUser user)
{
    /// <summary>Room for the longest frame and a few short ones: senders meet the limit.</summary>
    public const int QueuedBytesMax = 2 << 20;

    private readonly List<byte[]> queue = [];
    private int takenOfFirst;
    private bool closed;

    public SimLinkEnd Other { get; internal set; } = null!;

    public SimHost Host => host;

    /// <summary>The process that holds this end.</summary>
    public int Life { get; } = host.Life;

    public int QueuedBytes { get; private set; }

    public int RoomBytes => Math.Max(QueuedBytesMax - QueuedBytes, 0);

    internal bool Planned { get; set; }

    internal long? StalledSinceMs { get; set; }

    internal string? EndOfStream { get; set; }

    /// <summary>Hands a whole frame to the network, which may split it anywhere.</summary>
    public void Send(byte[] frame)
    {
        if (closed || link.Broken)
            return;
        link.Spoil(queue, frame);
        Recount();
        link.Plan(this);
    }

    public void CloseAfterSending(string why) => link.CloseAfterSending(this, why);

    public void Break(string why) => link.Break(why);

    internal byte[] TakeSegment(SeededRandom random)
    {
        if (QueuedBytes == 0)
        {
            queue.Clear();
            return [];
        }

        // Mostly what has gathered; now and then a piece of a frame only.
        var bytes = random.Chance(100) ? (int)random.Between(1, QueuedBytes) : QueuedBytes;
        var segment = new byte[bytes];
        var filled = 0;
        while (filled < bytes)
        {
            var piece = queue[0].AsSpan(takenOfFirst);
            if (piece.Length > bytes - filled)
                piece = piece[..(bytes - filled)];
            piece.CopyTo(segment.AsSpan(filled));
            filled += piece.Length;
            takenOfFirst += piece.Length;
            if (takenOfFirst < queue[0].Length)
                continue;
            queue.RemoveAt(0);
            takenOfFirst = 0;
        }

        Recount();
        return segment;
    }

    internal void Deliver(byte[] bytes)
    {
        if (!closed)
            user.Received(this, bytes);
    }

    internal void FreeRoom()
    {
        if (!closed)
            user.RoomFreed(this);
    }

    internal void Close(string why)
    {
        if (closed)
            return;
        closed = true;
        user.Closed(this, why);
    }

    private void Recount() => QueuedBytes = queue.Sum(frame => frame.Length) - takenOfFirst;
}
