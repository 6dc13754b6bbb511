namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>The searches that are run: POLLUX_MODEL is "large", or one or several of its own kind with ';' in between.</summary>
internal static class ModelSearches
{
    /// <summary>Some seconds each on one processor.</summary>
    private static readonly string[] Small =
    [
        "fresh:",
        "joining: writes=1",
        "paired: faults=1 losses=1 prompt=1",
        "paired: faults=1 delays=1 prompt=1",
        "paired: faults=1 swaps=1",
        "paired: faults=1 arbitercuts=1 writes=1",
        "paired: faults=1 cuts=1 prompt=1",
        "paired: faults=1 crashes=1 prompt=1",
    ];

    private static readonly string[] Large = [.. Small, "LARGE"];

    private static readonly string? Wanted = Environment.GetEnvironmentVariable("POLLUX_MODEL");

    public static string[] Asked => Wanted switch
    {
        null or "" => Small,
        "large" => Large,
        _ => Wanted.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries),
    };

    /// <summary>What was asked for by hand may take a day; the rest must end within minutes.</summary>
    public static TimeSpan TimeMax => Wanted is null or "" or "large" ? TimeSpan.FromMinutes(3) : TimeSpan.FromDays(1);
}
