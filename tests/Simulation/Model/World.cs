using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Two hosts with the production role machine, the production arbiter's decision behind a faulty link, and the true time.</summary>
internal sealed class World
{
    private const int TraceLinesMax = 4_000;

    /// <summary>No VM of the run ever wrote it, so none may read it.</summary>
    private static readonly byte[] OfUnknownAge = [.. Enumerable.Repeat((byte)0xEE, 4 * Cell.Bytes)];

    private readonly Queue<string> trace = new();
    private long requests;

    /// <param name="quiet">Nothing fails by chance and the guest writes nothing by itself.</param>
    public World(ulong seed, Sabotage sabotage, bool quiet = false)
    {
        Seed = seed;
        Sabotage = sabotage;
        Quiet = quiet;
        Random = new SeededRandom(seed);
        Choose = possibilities => (int)Random.Between(0, possibilities - 1);
        DetectionMs = Random.Of([2_000L, 2_500, 4_000]);
        BeaconLossPerMille = quiet ? 0 : (int)Random.Of([0L, 0, 20, 100]);
        ArbiterLossPerMille = quiet ? 0 : (int)Random.Of([0L, 50, 200]);
        LinkFaultsPerMille = quiet ? 0 : (int)Random.Of([0L, 0, 0, 1, 5]);
        GuestWrites = !quiet;
        ResyncFlushBytes = Random.Of([2L << 16, 1L << 30]);
        Layout = new Layout(wide: !quiet && Random.Chance(15));
        Arbiter = new SimArbiter(this);
        Hosts = [new SimHost(this, "a"), new SimHost(this, "b")];
        Truth = new Truth(this);
        Hosts[0].Disk.MakeFiles(Layout);
        // A first pairing finds nothing, or a copy of which nobody knows how old it is.
        if (!quiet && Random.Chance(300))
        {
            Hosts[1].Disk.MakeFiles(Layout);
            foreach (var spot in Layout.Spots)
                Hosts[1].Disk.Write(spot.Object, spot.OffsetBytes, OfUnknownAge);
        }
    }

    public ulong Seed { get; }

    public Sabotage Sabotage { get; }

    /// <summary>No fault comes by chance.</summary>
    public bool Quiet { get; }

    public SeededRandom Random { get; }

    public Schedule Schedule { get; } = new();

    public long DetectionMs { get; }

    public int BeaconLossPerMille { get; set; }

    public int ArbiterLossPerMille { get; set; }

    /// <summary>Of the frames of the replication link, so many are lost, doubled, swapped, cut or changed.</summary>
    public int LinkFaultsPerMille { get; set; }

    public long LinkFaults { get; set; }

    public long Resyncs { get; set; }

    /// <summary>Verifies that came to their end.</summary>
    public long Verified { get; set; }

    /// <summary>Between two flushes of a resync; some blocks only, so that a run has several.</summary>
    public long ResyncFlushBytes { get; }

    public Layout Layout { get; }

    public SimArbiter Arbiter { get; }

    public IReadOnlyList<SimHost> Hosts { get; }

    public Truth Truth { get; }

    public bool GuestWrites { get; set; }

    public long WritesBegun { get; private set; }

    /// <summary>By the arbiter's record, as it truly is.</summary>
    public IEnumerable<SimHost> Members => Hosts.Where(host => Arbiter.Record.InSync.Contains(host.Name));

    /// <summary>Members that may become primary: one that has promised to leave cannot, until it has been resynced (S9).</summary>
    public IEnumerable<SimHost> Heirs => Members.Where(host => host.Stored.PromisedEpoch == 0);

    /// <summary>Every code that a host has shown.</summary>
    public HashSet<string> CodesSeen { get; } = [];

    public IEnumerable<string> Trace => trace;

    public SimHost Host(string name) => Hosts.Single(host => host.Name == name);

    public long NextWrite() => ++WritesBegun;

    public long NextRequest() => ++requests;

    /// <summary>What nobody can foretell of a disk that loses power, or of a call that is cut short. An enumeration sets its own.</summary>
    public Choose Choose { get; set; }

    /// <summary>Called before each step of an engine: a call of its disk ends, something arrives. An enumeration of crashes counts them.</summary>
    public Action<SimHost>? BeforeEngineStep { get; set; }

    public void EngineStep(SimHost host)
    {
        BeforeEngineStep?.Invoke(host);
        Truth.CheckMarked("at a step");
    }

    /// <summary>Called with each line of the trace; for scenarios that wait for one.</summary>
    public Action<string, string>? Said { get; set; }

    public void Say(string who, string what)
    {
        if (trace.Count == TraceLinesMax)
            trace.Dequeue();
        trace.Enqueue($"{Schedule.NowMs,8} {who,-8} {what}");
        Said?.Invoke(who, what);
    }

    /// <summary>The operator's wish reaches each host at its own time.</summary>
    /// <param name="wantedPrimary">The host that shall run it after this start; null: either.</param>
    public void Desire(bool run, string? wantedPrimary = null)
    {
        Say("operator", run ? $"start{(wantedPrimary is null ? "" : " on " + wantedPrimary)}" : "stop");
        Wish(host => host.Desired with
        {
            Run = run, Starts = host.Desired.Starts + (run ? 1 : 0), WantedPrimary = wantedPrimary, WantedEpoch = Arbiter.Record.Epoch,
        });
    }

    public void SetPolicy(ModulePolicy policy)
    {
        Say("operator", $"failover {(policy.FailoverOff ? "off" : "on")}, start at boot {(policy.StaysDownAtBoot ? "off" : "on")}");
        Wish(host => host.Desired with { Policy = policy });
    }

    private void Wish(Func<SimHost, RoleInput.Desired> wish)
    {
        foreach (var host in Hosts)
        {
            host.Desired = wish(host);
            Schedule.After(Random.Between(0, 1_500), () => host.Feed(host.Desired));
        }
    }

    /// <summary>One-way: what a host sends on a cut direction is lost, or stalls if it is a stream.</summary>
    public void Cut(SimHost from, long forMs)
    {
        from.CutUntilMs = Math.Max(from.CutUntilMs, Schedule.NowMs + forMs);
        Say("fault", $"cut {from.Name} to {from.Peer.Name} for {forMs} ms");
    }

    public bool Reaches(SimHost from) => Schedule.NowMs >= from.CutUntilMs;

    /// <summary>The same for the replication link, which may be cut by itself.</summary>
    public bool Carries(SimHost from) => Reaches(from) && Schedule.NowMs >= from.ReplicationCutUntilMs;

    /// <summary>A datagram: may be lost, late, and overtaken.</summary>
    public void Deliver(SimHost from, Action<SimHost> action)
    {
        if (!Reaches(from) || Schedule.NowMs < from.BeaconsCutUntilMs || Random.Chance(BeaconLossPerMille))
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
