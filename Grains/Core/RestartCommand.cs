using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>When a restart of a module's VM may begin, and when it has ended. The primary does it alone; the record does not change.</summary>
public static class RestartCommand
{
    public const string Kind = "restart";

    public static Problem? MayBegin(string module, bool run, ArbiterRecord record) =>
        !run ? Problems.ModuleNotRunning(module) : record.Primary is null ? Problems.ModuleNoPrimary(module) : null;

    /// <summary>Null while it goes on.</summary>
    /// <param name="from">The primary when the command was given.</param>
    /// <param name="hostSays">The end that the host reports, or null.</param>
    public static (bool Succeeded, string Reason)? End(string from, ArbiterRecord record, CommandReport? hostSays, long sinceMs) =>
        hostSays is not null ? (hostSays.Succeeded, hostSays.Reason)
        : record.Primary != from ? (false, $"{record.Primary} became the primary at epoch {record.Epoch} before the restart had ended; the VM is started there.")
        : sinceMs >= SwapCommand.DeadlineMs ? (false, "The host did not report an end in time. Status shows what it does.")
        : null;
}
