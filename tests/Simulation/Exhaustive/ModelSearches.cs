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
        "paired: faults=1 leaves=1 writes=1 prompt=1",
        "leaving:",
    ];

    /// <summary>All of them within three minutes on two processors.</summary>
    private static readonly string[] Large =
    [
        .. Small,
        "paired: faults=1 cuts=1",
        "paired: faults=1 losses=1 writes=1 prompt=1",
        "paired: faults=1 freezes=1 prompt=1",
        "parted: faults=1 strays=1 prompt=1",
        "leaving: writes=1 prompt=1",
        "leaving: faults=1 crashes=1 writes=1 prompt=1",
        "leaving: faults=1 losses=1 writes=1 prompt=1",
    ];

    private static readonly string? Wanted = Environment.GetEnvironmentVariable("POLLUX_MODEL");

    /// <summary>What takes longer is searched as well.</summary>
    public static bool Thorough => Wanted == "large";

    public static string[] Asked => Wanted switch
    {
        null or "" => Small,
        "large" => Large,
        _ => Wanted.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries),
    };

    /// <summary>What was asked for by hand may take a day; the rest must end within minutes.</summary>
    public static TimeSpan TimeMax => Wanted is null or "" or "large" ? TimeSpan.FromMinutes(3) : TimeSpan.FromDays(1);
}
