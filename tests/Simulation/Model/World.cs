using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Two hosts with the production role machine, the production arbiter's decision behind a faulty link, and the true time.</summary>
internal sealed class World
{
    private const int TraceLinesMax = 4_000;
    private readonly Queue<string> trace = new();

    public World(ulong seed, Sabotage sabotage)
    {
        Seed = seed;
        Sabotage = sabotage;
        Random = new SeededRandom(seed);
        DetectionMs = Random.Of([2_000L, 2_500, 4_000]);
        BeaconLossPerMille = (int)Random.Of([0L, 0, 20, 100]);
        ArbiterLossPerMille = (int)Random.Of([0L, 50, 200]);
        Arbiter = new SimArbiter(this);
        Hosts = [new SimHost(this, "a"), new SimHost(this, "b")];
        Truth = new Truth(this);
    }

    public ulong Seed { get; }

    public Sabotage Sabotage { get; }

    public SeededRandom Random { get; }

    public Schedule Schedule { get; } = new();

    public long DetectionMs { get; }

    public int BeaconLossPerMille { get; set; }

    public int ArbiterLossPerMille { get; set; }

    public SimArbiter Arbiter { get; }

    public IReadOnlyList<SimHost> Hosts { get; }

    public Truth Truth { get; }

    public bool GuestWrites { get; set; } = true;

    public long WritesBegun { get; private set; }

    /// <summary>By the arbiter's record, as it truly is.</summary>
    public IEnumerable<SimHost> Members => Hosts.Where(host => Arbiter.Record.InSync.Contains(host.Name));

    /// <summary>Every code that a host has shown.</summary>
    public HashSet<string> CodesSeen { get; } = [];

    public IEnumerable<string> Trace => trace;

    public SimHost Host(string name) => Hosts.Single(host => host.Name == name);

    public long NextWrite() => ++WritesBegun;

    public void Say(string who, string what)
    {
        if (trace.Count == TraceLinesMax)
            trace.Dequeue();
        trace.Enqueue($"{Schedule.NowMs,8} {who,-8} {what}");
    }

    /// <summary>The operator's wish reaches each host at its own time.</summary>
    public void Desire(bool run)
    {
        Say("operator", run ? "start" : "stop");
        foreach (var host in Hosts)
        {
            host.Desired = run;
            Schedule.After(Random.Between(0, 1_500), () => host.Feed(new RoleInput.Desired(host.Desired)));
        }
    }

    /// <summary>One-way: what a host sends on a cut direction is lost, or stalls if it is a stream.</summary>
    public void Cut(SimHost from, long forMs)
    {
        from.CutUntilMs = Math.Max(from.CutUntilMs, Schedule.NowMs + forMs);
        Say("fault", $"cut {from.Name} to {from.Peer.Name} for {forMs} ms");
    }

    public bool Reaches(SimHost from) => Schedule.NowMs >= from.CutUntilMs;

    /// <summary>A datagram: may be lost, late, and overtaken.</summary>
    public void Deliver(SimHost from, Action<SimHost> action)
    {
        if (!Reaches(from) || Random.Chance(BeaconLossPerMille))
            return;
        var delayMs = Random.Chance(10) ? Random.Between(100, 2 * DetectionMs) : Random.Between(0, 12);
        Schedule.After(delayMs, () =>
        {
            if (Reaches(from))
                action(from.Peer);
        });
    }

    public static Grains.Core.ArbiterRequest ToArbiter(DataPlane.Core.Roles.ArbiterRequest request) => new(
        request.OperationId, request.RecordIncarnation, request.ExpectedEpoch, Enum.Parse<ArbiterChange>(request.Change.ToString()), request.By, request.Peer);
}
