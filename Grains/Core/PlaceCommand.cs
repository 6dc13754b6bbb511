using System.Collections.Immutable;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>What follows from the wish to have a module's primary on a certain host.</summary>
public abstract record PlaceStep
{
    private PlaceStep() { }

    /// <summary>It is there already.</summary>
    public sealed record Nothing : PlaceStep;

    /// <summary>The primary serves, and the wanted host is in sync.</summary>
    public sealed record Swap : PlaceStep;

    /// <summary>Nobody serves: a start that leaves the takeover to the wanted host.</summary>
    public sealed record Start : PlaceStep;

    public sealed record Refuse(Problem Problem) : PlaceStep;
}

/// <summary>Decides on <c>prim --host</c> and <c>second --host</c>. A host out of the in-sync set is never made primary: it lacks acknowledged writes.</summary>
public static class PlaceCommand
{
    /// <param name="hosts">Grain keys of the pair.</param>
    /// <param name="wanted">Grain key of the host that shall be the primary.</param>
    /// <param name="primary">What the recorded primary says; null if there is none.</param>
    public static PlaceStep Decide(string module, ImmutableArray<string> hosts, bool run, ArbiterRecord record, string wanted, HostWord? primary)
    {
        if (!hosts.Contains(wanted)) return new PlaceStep.Refuse(Problems.PlaceForeign(module, wanted));
        var serves = primary is not { Connected: true, Report: { } report } || report.Role is "PRIM" or "ALONE";
        if (run && record.Primary == wanted) return new PlaceStep.Nothing();
        if (!record.InSync.Contains(wanted)) return new PlaceStep.Refuse(Problems.PlaceNotInSync(module, wanted, string.Join(" and ", record.InSync)));
        return run && record.Primary is not null && serves ? new PlaceStep.Swap() : new PlaceStep.Start();
    }
}
