using System.Collections.Immutable;
using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>force-promote: whether an operator's word may make a copy the module that lacks acknowledged writes (S3), and what is given up.</summary>
/// <remarks>
/// The word is that the other host is off: a recorded ALONE host has no lease that would end (S8). What can be seen against it is refused: the
/// other host is connected or heard by this one, or this one's copy is the half of a resync, or this host needs no force. The record then names this host alone, at the
/// next epoch; it takes over by itself, and the other one, when it comes back, is left out and resynced.
/// </remarks>
public static class ForcePromotion
{
    public const string Change = "force-promote";

    /// <summary>As RoleCodes.WaitLeft of the data plane: a member that has promised not to become primary.</summary>
    private const string PromisedCode = "wait.left";

    /// <param name="otherSeen">The other host is connected to the control plane, or the named one hears it.</param>
    /// <returns>Null if it may be done.</returns>
    public static Problem? Check(string module, ArbiterRecord record, string host, HostWord itself, bool otherSeen)
    {
        var other = record.Hosts.FirstOrDefault(one => one != host);
        if (!record.Hosts.Contains(host) || other is null) return Problems.PlaceForeign(module, host);
        if (record.Primary is null) return Problems.ModuleNoPrimary(module);
        if (otherSeen) return Problems.ForceOtherConnected(module, other);
        if (itself.Report is not { } report) return Problems.ForceHostSilent(module, host);
        if (record.InSync.Contains(host) && report.Code != PromisedCode) return Problems.ForceNotNeeded(module, host);
        return report.DataState is "Outdated" or "UpToDate" ? null : Problems.ForceCopyTorn(module, host, report.DataState);
    }

    /// <summary>The change that left the host out, if the history has it.</summary>
    public static RecordHistoryEntry? Left(ImmutableArray<RecordHistoryEntry> history, string host)
    {
        RecordHistoryEntry? left = null;
        foreach (var entry in history.Reverse())
        {
            if (entry.InSync.Contains(host)) return left;
            left = entry;
        }

        return null;
    }
}
