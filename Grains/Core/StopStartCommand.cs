using Pollux.Grains.Abstractions;

namespace Pollux.Grains.Core;

/// <summary>Stop a module on both hosts, then start it: one command, so that nobody has to wait in between to give the second half.</summary>
/// <remarks>The wish (run or not) is the module's; the hosts see a stop and later a start, and know nothing of the command.</remarks>
public static class StopStartCommand
{
    public const string Kind = "stopstart";

    /// <summary>Milliseconds after which the module is wanted to run again although it has not stopped: a guest's graceful stop takes 60 s at most, the
    /// secondary stops after it.</summary>
    public const long DeadlineMs = 180_000;

    public static Problem? MayBegin(string module, bool run, ArbiterRecord record) => RestartCommand.MayBegin(module, run, record);

    /// <summary>Null while a host has yet to stop.</summary>
    /// <param name="from">The primary when the command was given: its word is needed. A peer that is away is not waited for.</param>
    public static (bool Succeeded, string Reason)? End(string from, IReadOnlyList<(string Host, HostWord Word)> hosts, long sinceMs)
    {
        var pending = hosts.Where(host => host.Word.Report is { } said ? said is not { Role: "STOP", Ready: true } : host.Host == from || host.Word.Connected).ToList();
        if (pending.Count == 0)
            return (true, "Stopped on every host that is there; wanted to run again.");
        return sinceMs < DeadlineMs ? null
            : (false, $"{string.Join(" and ", pending.Select(host => $"{host.Host} ({host.Word.Report?.Role ?? "silent"})"))} did not stop in time; the module is wanted to run again.");
    }
}
