using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>Where searches begin.</summary>
internal static class Roots
{
    /// <summary>Nobody has started yet.</summary>
    public static Pair Fresh(Sabotage sabotage) => new(sabotage);

    /// <summary>ALONE, and a target that is about to be overwritten.</summary>
    public static Pair Joining(Sabotage sabotage) => Calmly(Fresh(sabotage), pair => pair.Joining);

    /// <summary>PRIM and SECOND.</summary>
    public static Pair Paired(Sabotage sabotage) => Calmly(Fresh(sabotage), pair => pair.Whole);

    /// <summary>PRIM and SECOND, and the link between them has just been cut in both directions.</summary>
    public static Pair Parted(Sabotage sabotage)
    {
        var pair = Paired(sabotage);
        pair.Allow(new Bounds { Faults = 2, Cuts = 2 });
        return pair.After(new PairEvent(What.LinkCut)).After(new PairEvent(What.LinkCut, 1));
    }

    /// <summary>PRIM and SECOND, the arbiter out of reach of both, and SECOND has just been told to end.</summary>
    public static Pair Leaving(Sabotage sabotage)
    {
        var pair = Paired(sabotage);
        pair.Allow(new Bounds { Faults = 3, ArbiterCuts = 2, Leaves = 1 });
        return pair.After(new PairEvent(What.ArbiterCut)).After(new PairEvent(What.ArbiterCut, 1)).After(new PairEvent(What.HostStops, 1));
    }

    /// <summary>Reads "paired: faults=1 cuts=1": where it begins, and the bounds.</summary>
    public static Pair Parse(string search, Sabotage sabotage)
    {
        var parts = search.Split(':', 2);
        var root = parts[0] switch
        {
            "fresh" => Fresh(sabotage),
            "joining" => Joining(sabotage),
            "paired" => Paired(sabotage),
            "parted" => Parted(sabotage),
            "leaving" => Leaving(sabotage),
            _ => throw new ArgumentException($"A search begins fresh, joining, paired, parted or leaving, not {parts[0]}.", nameof(search)),
        };
        root.Allow(Bounds.Parse(parts[1]));
        return root;
    }

    private static Pair Calmly(Pair pair, Func<Pair, bool> until)
    {
        var events = new List<PairEvent>();
        for (var steps = 0; steps < 2_000; steps++)
        {
            if (until(pair))
                return pair;
            pair = pair.After(pair.Calm(events, faultsEnd: true)!.Value);
            if (pair.Violation is { } violation)
                throw new InvalidOperationException($"{violation} on the way to a root: {pair}");
        }

        throw new InvalidOperationException($"No such state is reached: {pair}");
    }
}
