using System.Collections.Immutable;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>A change of a module's policy: checked, applied, and told in one sentence for each part.</summary>
public static class PolicyCommand
{
    /// <summary>Tries of a crashing VM: each is kept in the stored state of a host.</summary>
    public const int RestartsLimit = 100;

    /// <summary>A week.</summary>
    public const long WindowMsMax = 7 * 24 * 3_600_000L;

    /// <summary>Shorter than this a failback would follow a resync before anybody has looked.</summary>
    public const long FailbackHoldMsMin = 10_000;

    public const int PriorityFirst = 1;
    public const int PriorityLast = 9;

    /// <param name="hosts">Grain keys of the cluster's hosts.</param>
    public static Problem? Check(ImmutableArray<string> hosts, PolicyChange change) =>
        change.RestartsMax is < 0 or > RestartsLimit ? Problems.PolicyRange("restarts", change.RestartsMax.Value, 0, RestartsLimit)
        : change.RestartWindowMs is < 1_000 or > WindowMsMax ? Problems.PolicyRange("restart window in ms", change.RestartWindowMs.Value, 1_000, WindowMsMax)
        : change.StartPriority is < PriorityFirst or > PriorityLast ? Problems.PolicyRange("start priority", change.StartPriority.Value, PriorityFirst, PriorityLast)
        : change.FailbackHoldMs is < FailbackHoldMsMin or > WindowMsMax ? Problems.PolicyRange("failback hold in ms", change.FailbackHoldMs.Value, FailbackHoldMsMin, WindowMsMax)
        : change.Preferred is { Length: > 0 } preferred && !hosts.Any(host => GrainKey.NameOf(host) == preferred) ? Problems.PolicyPreferred(preferred)
        : null;

    public static ModulePolicy Apply(ModulePolicy policy, PolicyChange change) => policy with
    {
        FailoverOff = change.FailoverOff ?? policy.FailoverOff,
        StaysDownAtBoot = change.StaysDownAtBoot ?? policy.StaysDownAtBoot,
        RestartsMax = change.RestartsMax ?? policy.RestartsMax,
        RestartWindowMs = change.RestartWindowMs ?? policy.RestartWindowMs,
        StartPriority = change.StartPriority ?? policy.StartPriority,
        Preferred = change.Preferred is null ? policy.Preferred : change.Preferred.Length == 0 ? null : change.Preferred,
        FailbackHoldMs = change.FailbackHoldMs ?? policy.FailbackHoldMs,
        ChecksOff = change.ChecksOff ?? policy.ChecksOff,
    };

    /// <summary>For the history; empty if nothing changed.</summary>
    public static string Tell(ModulePolicy before, ModulePolicy after)
    {
        var said = new List<string>();
        if (before.FailoverOff != after.FailoverOff) said.Add($"failover {OnOff(!after.FailoverOff)}");
        if (before.StaysDownAtBoot != after.StaysDownAtBoot) said.Add($"start at boot {OnOff(!after.StaysDownAtBoot)}");
        if (before.ChecksOff != after.ChecksOff) said.Add($"checkers {OnOff(!after.ChecksOff)}");
        if ((before.RestartsMax, before.RestartWindowMs) != (after.RestartsMax, after.RestartWindowMs))
            said.Add($"{after.RestartsMax} restarts within {after.RestartWindowMs / 1_000} s");
        if (before.StartPriority != after.StartPriority) said.Add($"start priority {after.StartPriority}");
        if ((before.Preferred, before.FailbackHoldMs) != (after.Preferred, after.FailbackHoldMs))
            said.Add(after.Preferred is null ? "no preferred primary" : $"preferred primary {after.Preferred}, failback after {after.FailbackHoldMs / 1_000} s in sync");
        return string.Join(", ", said);
    }

    private static string OnOff(bool on) => on ? "on" : "off";
}
