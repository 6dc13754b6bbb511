namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>What the search may do to the pair on one path; each number counts down and is part of the state.</summary>
internal sealed record Bounds
{
    /// <summary>Faults and disturbances of all kinds together.</summary>
    public int Faults { get; init; }

    public int Crashes { get; init; }

    public int PowerLosses { get; init; }

    /// <summary>Directions of the link between the hosts that are cut; two cut it whole.</summary>
    public int Cuts { get; init; }

    /// <summary>The arbiter is out of reach of one host, or (both of them) away.</summary>
    public int ArbiterCuts { get; init; }

    /// <summary>Processes stopped as by SIGSTOP, VM and guard going on.</summary>
    public int Freezes { get; init; }

    /// <summary>Beacons, answers, requests or replies lost.</summary>
    public int Losses { get; init; }

    /// <summary>Requests that reach the arbiter any time later, instead of or as well as now.</summary>
    public int Strays { get; init; }

    /// <summary>Requests that a second activation with the record before this one decides.</summary>
    public int StaleDecisions { get; init; }

    /// <summary>Steps of time while something that is ready to happen has not happened: a slow disk, network or hypervisor.</summary>
    public int Delays { get; init; }

    /// <summary>Writes of the guest.</summary>
    public int Writes { get; init; }

    public int Swaps { get; init; }

    /// <summary>Hosts that are shut down in order; they may come back at any time.</summary>
    public int Leaves { get; init; }

    /// <summary>A host ends what it has to do by itself (store, serve, release, start and stop the VM) before it takes another message. Faults
    /// come in between all the same, and a delay lets time pass before it.</summary>
    public bool Prompt { get; init; }

    public const int Kinds = 11;

    /// <summary>Reads "faults=2 crashes=1 writes=0"; what is not named is none.</summary>
    /// <exception cref="ArgumentException">A name that is not known, or no number.</exception>
    public static Bounds Parse(string text)
    {
        var bounds = new Bounds();
        foreach (var word in text.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = word.Split('=');
            if (parts.Length != 2 || !int.TryParse(parts[1], out var number))
                throw new ArgumentException($"'{word}' is not name=number.", nameof(text));
            bounds = parts[0] switch
            {
                "faults" => bounds with { Faults = number },
                "crashes" => bounds with { Crashes = number },
                "powerlosses" => bounds with { PowerLosses = number },
                "cuts" => bounds with { Cuts = number },
                "arbitercuts" => bounds with { ArbiterCuts = number },
                "freezes" => bounds with { Freezes = number },
                "losses" => bounds with { Losses = number },
                "strays" => bounds with { Strays = number },
                "stale" => bounds with { StaleDecisions = number },
                "delays" => bounds with { Delays = number },
                "writes" => bounds with { Writes = number },
                "swaps" => bounds with { Swaps = number },
                "leaves" => bounds with { Leaves = number },
                "prompt" => bounds with { Prompt = number != 0 },
                _ => throw new ArgumentException($"'{parts[0]}' is not a bound.", nameof(text)),
            };
        }

        return bounds;
    }

    public int[] Left() => [Crashes, PowerLosses, Cuts, ArbiterCuts, Freezes, Losses, Strays, StaleDecisions, Delays, Swaps, Leaves];

    public override string ToString()
    {
        (string Name, int Number)[] all =
        [
            ("faults", Faults), ("crashes", Crashes), ("powerlosses", PowerLosses), ("cuts", Cuts), ("arbitercuts", ArbiterCuts), ("freezes", Freezes),
            ("losses", Losses), ("strays", Strays), ("stale", StaleDecisions), ("delays", Delays), ("swaps", Swaps), ("leaves", Leaves), ("writes", Writes), ("prompt", Prompt ? 1 : 0),
        ];
        return string.Join(' ', all.Where(bound => bound.Number != 0).Select(bound => $"{bound.Name}={bound.Number}"));
    }
}

/// <summary>Places in <see cref="Bounds.Left"/>.</summary>
internal enum Budget
{
    Crash,
    PowerLoss,
    Cut,
    ArbiterCut,
    Freeze,
    Loss,
    Stray,
    Stale,
    Delay,
    Swap,
    Leave,
}
