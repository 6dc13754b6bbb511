using System.Text;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Two machines back to back over queues: "a" serves, "b" follows.</summary>
internal sealed class MachinePair
{
    public MachinePair()
    {
        A = new MachineHost("a", Clock);
        B = new MachineHost("b", Clock) { Peer = A };
        A.Peer = B;
    }

    public MachinePairClock Clock { get; } = new();
    public MachineHost A { get; }
    public MachineHost B { get; }

    public static byte[] Bytes(int count, int seed = 1)
    {
        var bytes = new byte[count];
        new SeededRandom((ulong)seed).Fill(bytes);
        return bytes;
    }

    /// <summary>Lets everything happen until nothing does.</summary>
    public void Run()
    {
        while (Step())
        {
        }
    }

    /// <summary>One turn of each host.</summary>
    public bool Step()
    {
        var any = false;
        foreach (var host in (MachineHost[])[A, B])
        {
            host.Source?.Tick(Clock.NowMs);
            host.Replica?.Tick(Clock.NowMs);
            any |= host.Receive();
            host.FinishTurn();
            any |= host.Run();
        }
        return any;
    }

    public void Pass(long ms)
    {
        for (var end = Clock.NowMs + ms; Clock.NowMs < end;)
        {
            Clock.NowMs = Math.Min(Clock.NowMs + 50, end);
            Run();
        }
    }

    public void ServeAlone()
    {
        A.Record(1, "a", "a");
        A.State = A.State with { DataState = DataState.UpToDate };
        A.Serve(1);
    }

    public void Attach(long epoch = 1)
    {
        B.Record(epoch, "a", "a");
        if (B.Replica is null)
            B.Follow(epoch);
        A.Source!.AttachPeer(epoch, inSync: false);
    }

    /// <summary>B, out of the record, is resynced and joins.</summary>
    public void Join()
    {
        var epoch = A.State.Record.Epoch;
        Attach(epoch);
        Run();
        Assert.Contains("caught-up", A.Events);
        Joined();
        Run();
    }

    public void Joined()
    {
        var epoch = A.State.Record.Epoch + 1;
        A.Record(epoch, "a", "a", "b");
        B.Record(epoch, "a", "a", "b");
        A.Source!.SetEpoch(epoch);
    }

    public void ServeMirrored()
    {
        ServeAlone();
        Join();
    }

    public void Exclude(bool run = true)
    {
        var epoch = A.State.Record.Epoch + 1;
        A.Record(epoch, "a", "a");
        A.Source!.DetachPeer(epoch);
        if (run)
            Run();
    }

    public ulong Create(string name, ulong tag = 90)
    {
        A.Completed.Remove(tag);
        A.Mutate(tag, new Mutation(MutationKind.CreateFile) { Parent = 1, Name = Encoding.UTF8.GetBytes(name), Mode = 0x81A4 });
        Run();
        Assert.Equal(0, A.Completed[tag]);
        return A.Mutated[tag].Object;
    }

    public void AssertEqual()
    {
        Assert.Equal(A.Objects.Keys.Order(), B.Objects.Keys.Order());
        foreach (var (obj, mine) in A.Objects)
        {
            Assert.Equal(mine.Links, B.Objects[obj].Links);
            Assert.True(mine.Content.AsSpan().SequenceEqual(B.Objects[obj].Content), $"object {obj:x} differs");
        }
    }
}
