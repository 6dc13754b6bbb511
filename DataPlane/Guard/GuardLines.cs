using System.Globalization;

namespace Pollux.DataPlane.Guard;

/// <summary>What the domain does as far as the data plane knows.</summary>
public enum GuardedPhase
{
    /// <summary>A start is under way: its process may appear later.</summary>
    Starting,
    Running,

    /// <summary>Confirmed paused: does not execute, so a lease may end.</summary>
    Paused,
}

/// <summary>The latest word on one domain.</summary>
/// <param name="UntilMs">End of its right to execute, CLOCK_BOOTTIME milliseconds; <see cref="long.MaxValue"/>: no lease needed; 0: it is
/// given up, and to be ended.</param>
public readonly record struct GuardedDomain(string Domain, long UntilMs, GuardedPhase Phase);

/// <summary>The lines from data plane to guard: <c>lease UNTIL PHASE DOMAIN</c>, <c>forget DOMAIN</c>, and <c>alive</c>, which says only that
/// the data plane is there. The domain stands last: its name may contain spaces.</summary>
internal static class GuardLines
{
    public const string Alive = "alive";

    public static string Lease(GuardedDomain domain) =>
        string.Create(CultureInfo.InvariantCulture, $"lease {domain.UntilMs} {domain.Phase} {domain.Domain}");

    public static string Forget(string domain) => "forget " + domain;

    /// <summary>Applies a line to the set of guarded domains.</summary>
    /// <exception cref="FormatException">Not such a line.</exception>
    public static void Apply(string line, Dictionary<string, GuardedDomain> domains)
    {
        var words = line.Split(' ', 4);
        if (words is ["lease", var until, var phase, { Length: > 0 } leased])
            domains[leased] = new GuardedDomain(leased, long.Parse(until, CultureInfo.InvariantCulture), Enum.Parse<GuardedPhase>(phase));
        else if (line == Alive)
            return;
        else if (line.StartsWith("forget ", StringComparison.Ordinal))
            domains.Remove(line["forget ".Length..]);
        else
            throw new FormatException($"'{line}' is no line of the guard");
    }
}
