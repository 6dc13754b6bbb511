using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>What the decision on a failback looks at.</summary>
/// <param name="Preferred">Grain key; null: none.</param>
/// <param name="SinceRecordMs">Since the record last changed: how long the pair has been in sync at least.</param>
/// <param name="SinceFailbackMs">Since the last failback was begun, whatever became of it; null: never.</param>
/// <param name="Failed">Why one that was begun in this epoch was not done; null: none was.</param>
/// <param name="PlacedByOperator">The primary is where it is by an operator's word.</param>
public sealed record FailbackFacts(
    bool Run, bool CommandOpen, ArbiterRecord Record, string? Preferred, long HoldMs, long SinceRecordMs, long? SinceFailbackMs, string? Failed, bool PlacedByOperator,
    HostWord PrimaryWord, HostWord PreferredWord);

/// <summary>When a module goes back to its preferred primary by itself: an ordinary swap, once the pair has been whole and quiet for the hold time.</summary>
public static class Failback
{
    /// <summary>Who asked, in the history.</summary>
    public const string By = "failback";

    /// <summary>Hold times between two failbacks: a preferred host that fails again and again is not gone back to each time it looks well.</summary>
    public const int HoldsBetween = 3;

    /// <returns>Null: now. Otherwise why not, for people; empty if there is nothing to go back to.</returns>
    public static string? WhyNot(FailbackFacts facts)
    {
        if (facts.Preferred is not { } preferred || !facts.Run || facts.Record.Primary is not { } primary || primary == preferred) return "";
        if (facts.PlacedByOperator) return "The operator has moved the module here; it stays until the next failover, or until the policy is set anew.";
        // Each try stops the VM.
        if (facts.Failed is { } failed) return $"The failback was not done, and is not tried again before the next failover or the next setting of the policy. {failed}";
        if (!facts.Record.InSync.Contains(preferred)) return $"{preferred} is not in sync.";
        if (facts.CommandOpen) return "Another command is under way.";
        if (facts.PrimaryWord is not { Connected: true, Report: { Role: "PRIM", Ready: true } }) return $"{primary} is not PRIM, ready.";
        if (facts.PreferredWord is not { Connected: true, Report: { Role: "SECOND", Ready: true } }) return $"{preferred} is not SECOND, ready.";
        if (facts.SinceRecordMs < facts.HoldMs) return $"The pair is whole since {facts.SinceRecordMs / 1_000} s; {facts.HoldMs / 1_000} s are wanted.";
        return facts.SinceFailbackMs < HoldsBetween * facts.HoldMs ? $"The last failback was {facts.SinceFailbackMs / 1_000} s ago." : null;
    }
}
