using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>When a full resync of the secondary may begin, and when it has ended: as soon as no resync by marks can follow any more. The copying is
/// seen in status.</summary>
public static class FullResyncCommand
{
    public const string Kind = "full-resync";

    public static Problem? MayBegin(string module, bool run, ArbiterRecord record) => RestartCommand.MayBegin(module, run, record);

    /// <summary>Null while it goes on.</summary>
    /// <param name="from">The primary when the command was given.</param>
    /// <param name="hostSays">The end that the host reports, or null.</param>
    public static (bool Succeeded, string Reason)? End(string from, ArbiterRecord record, CommandReport? hostSays, long sinceMs) =>
        hostSays is not null ? (hostSays.Succeeded, hostSays.Reason)
        : record.Primary != from ? (false, $"{record.Primary} became the primary at epoch {record.Epoch} meanwhile.")
        : sinceMs >= SwapCommand.DeadlineMs ? (false, "The host did not report an end in time. Status shows what it does.")
        : null;
}
