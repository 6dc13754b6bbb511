using System.Diagnostics;
using System.Text;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <param name="Exhausted">Everything within the bounds was seen; otherwise a limit ended the search.</param>
/// <param name="Violation">The first broken rule, with the shortest way to it; or null.</param>
internal sealed record Explored(long States, long Transitions, int Depth, double Seconds, bool Exhausted, string? Violation)
{
    public override string ToString() =>
        $"{States:N0} states, {Transitions:N0} transitions, depth {Depth}, {Seconds:F1} s, {(Exhausted ? "exhausted" : "ended at a limit")}";
}

/// <summary>Breadth first, so that the first violation has the shortest trace. A state is known by 128 bits of its canonical bytes.</summary>
internal sealed class Explorer(long statesMax, TimeSpan timeMax)
{
    private readonly record struct Step(UInt128 From, PairEvent Event);

    private readonly Dictionary<UInt128, Step> seen = [];
    private readonly CanonicalWriter writer = new();

    /// <summary>Called with each new state.</summary>
    public Func<Pair, string?>? Judge { get; init; }

    public Explored Run(Pair root)
    {
        var watch = Stopwatch.StartNew();
        List<(Pair State, UInt128 Hash)> level = [(root, root.Hash(writer))];
        var events = new List<PairEvent>();
        long transitions = 0;
        seen[level[0].Hash] = default;
        var depth = 0;
        for (; level.Count > 0; depth++)
        {
            var next = new List<(Pair State, UInt128 Hash)>();
            foreach (var (state, from) in level)
            {
                state.MayHappen(events);
                foreach (var item in events)
                {
                    var after = state.After(item);
                    transitions++;
                    if (after.Violation is { } violation)
                        return new Explored(seen.Count, transitions, depth + 1, watch.Elapsed.TotalSeconds, false, Tell(root, from, item, violation));
                    var hash = after.Hash(writer);
                    if (!seen.TryAdd(hash, new Step(from, item)))
                        continue;
                    if (Judge?.Invoke(after) is { } judged)
                        return new Explored(seen.Count, transitions, depth + 1, watch.Elapsed.TotalSeconds, false, Tell(root, from, item, judged));
                    next.Add((after, hash));
                }

                if (seen.Count > statesMax || watch.Elapsed > timeMax)
                    return new Explored(seen.Count, transitions, depth + 1, watch.Elapsed.TotalSeconds, false, null);
            }

            level = next;
        }

        return new Explored(seen.Count, transitions, depth, watch.Elapsed.TotalSeconds, true, null);
    }

    private string Tell(Pair root, UInt128 last, PairEvent item, string violation)
    {
        var steps = new Stack<PairEvent>();
        steps.Push(item);
        var rootHash = root.Hash(writer);
        for (var at = last; at != rootHash; at = seen[at].From)
            steps.Push(seen[at].Event);
        var text = new StringBuilder($"{violation}\n     from {root}\n");
        var state = root;
        var number = 0;
        foreach (var step in steps)
        {
            state = state.After(step);
            text.Append($"{++number,4} {step}\n       {state}\n");
        }

        return text.ToString();
    }
}
