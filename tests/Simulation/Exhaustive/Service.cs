namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>How long the module is without a VM that executes, and without protection: from each state that the search finds, the calm
/// schedule is followed, in which nothing more goes wrong. Its ways meet, so that each state is walked through once.</summary>
/// <param name="faultsEnd">Links heal and processes start again; otherwise what is broken stays so.</param>
/// <param name="reached">What the ways lead to.</param>
/// <param name="stepsMax">More steps of time than this are a violation.</param>
internal sealed class Service(bool faultsEnd, Func<Pair, bool> reached, int stepsMax)
{
    private readonly Dictionary<UInt128, int> known = [];
    private readonly CanonicalWriter writer = new();
    private readonly List<PairEvent> events = [];
    private readonly List<(UInt128 Hash, bool Time)> way = [];

    /// <summary>The longest that it took from any state, steps of time.</summary>
    public int StepsSeenMax { get; private set; }

    public string? Judge(Pair state)
    {
        way.Clear();
        var at = state;
        var steps = 0;
        while (true)
        {
            if (reached(at))
                break;
            var hash = at.Hash(writer);
            if (known.TryGetValue(hash, out steps))
                break;
            if (way.Count(passed => passed.Time) > stepsMax || at.Calm(events, faultsEnd) is not { } next)
                return $"not reached within {stepsMax} steps of time: {at}";
            way.Add((hash, next.What == What.TimePasses));
            at = at.After(next);
            if (at.Violation is { } violation)
                return $"on the calm way: {violation}";
        }

        for (var index = way.Count - 1; index >= 0; index--)
        {
            steps += way[index].Time ? 1 : 0;
            known[way[index].Hash] = steps;
        }

        StepsSeenMax = Math.Max(StepsSeenMax, steps);
        return steps > stepsMax ? $"reached after {steps} steps of time only: {state}" : null;
    }
}
