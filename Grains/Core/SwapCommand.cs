using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>When a swap may begin, and when it has ended. The handover itself is between the hosts and the arbiter.</summary>
public static class SwapCommand
{
    public const string Kind = "swap";

    /// <summary>Milliseconds after which the command is no longer offered to the hosts: a guest's graceful stop takes 60 s at most,
    /// the last flush and the handover some seconds.</summary>
    public const long DeadlineMs = 180_000;

    public static Problem? MayBegin(string module, bool run, ArbiterRecord record) =>
        !run ? Problems.ModuleNotRunning(module)
        : record.Primary is null ? Problems.SwapNoPrimary(module)
        : record.InSync.Length < 2 ? Problems.SwapNotInSync(module, record.Primary)
        : null;

    /// <summary>Null while it goes on.</summary>
    /// <param name="from">The primary when the command was given.</param>
    /// <param name="hostSays">The end that a host reports, or null. The record outranks it: a report can be lost, a handover cannot.</param>
    public static (bool Succeeded, string Reason)? End(string from, ArbiterRecord record, CommandReport? hostSays, long sinceMs) =>
        record.Primary != from ? (true, $"{record.Primary} is the primary since epoch {record.Epoch}.")
        : hostSays is not null ? (hostSays.Succeeded, hostSays.Reason)
        : sinceMs >= DeadlineMs ? (false, "No host reported an end in time. The record has not changed; status shows what the hosts do.")
        : null;
}
