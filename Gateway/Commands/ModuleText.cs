using System.Globalization;
using System.Text;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary>A module for people: the status line, why each host is in its role, and the history of record and hosts in one order of time.</summary>
internal static class ModuleText
{
    public static string Of(ModuleDocument module)
    {
        var text = new StringBuilder();
        text.Append(StatusText.ModuleLine(module.Status)).Append('\n');
        text.Append(CultureInfo.InvariantCulture, $"    {(module.Directories.Length == 1 ? "directory" : "directories")} {string.Join(", ", module.Directories)}, created from {module.Primary}");
        if (module.Status.Vm is { } vm) text.Append(CultureInfo.InvariantCulture, $"; VM {vm} by {module.Definition}");
        text.Append('\n');
        text.Append(CultureInfo.InvariantCulture, $"    record: epoch {module.Status.Record.Epoch}, primary {module.Status.Record.Primary ?? "none yet"}, in sync {string.Join(" and ", module.Status.Record.InSync)}\n");
        foreach (var host in module.Status.Hosts)
        {
            text.Append(CultureInfo.InvariantCulture, $"    {host.Host}: {host.Role}{(host.Ready ? "" : " (transient)")} since {Time(host.SinceUnixMs)}: {host.Code}: {host.Cause}\n");
            foreach (var problem in host.Problems) text.Append(ProblemText.Of(problem, "      "));
        }
        text.Append(CultureInfo.InvariantCulture, $"    policy: {PolicyCommands.Tell(module.Policy)}\n");
        foreach (var checker in module.Checkers) text.Append(CheckerCommands.Tell(module, checker, "    "));
        if (module.WantedPrimary is { } wanted) text.Append(CultureInfo.InvariantCulture, $"    wanted as primary: {wanted}\n");
        if (module.FailbackWaits is { } waits) text.Append(CultureInfo.InvariantCulture, $"    failback: {waits}\n");
        if (module.ResyncLimits is { } limits)
            text.Append(CultureInfo.InvariantCulture, $"    resync: at least {VerifyText.Rate(limits.BytesPerSecondMin)}, {(limits.BytesPerSecondMax == 0 ? "no limit" : $"at most {VerifyText.Rate(limits.BytesPerSecondMax)}")}\n");
        if (module.Verify is { Report: { } verify }) text.Append(VerifyText.Of(verify, $"    {module.Verify.Host}: "));
        if (module.Verify is { Ordered: { } ordered }) text.Append(CultureInfo.InvariantCulture, $"    ordered: verify {ordered}\n");
        if (module.Command is { } command) text.Append(CultureInfo.InvariantCulture, $"    under way: {command.Kind} {command.OperationId}\n");
        foreach (var end in module.CommandEnds)
            text.Append(CultureInfo.InvariantCulture, $"    command {end.OperationId}: {(end.Succeeded ? "done" : "failed")} {Time(end.UnixMs)}: {end.Reason}\n");
        text.Append("  history\n");
        foreach (var (_, line) in Lines(module).OrderBy(line => line.UnixMs)) text.Append("    ").Append(line).Append('\n');
        return text.ToString();
    }

    private static IEnumerable<(long UnixMs, string Line)> Lines(ModuleDocument module)
    {
        foreach (var entry in module.History)
            yield return (entry.UnixMs, $"{Time(entry.UnixMs)}  record  epoch {entry.Epoch}: {entry.Cause} Primary {entry.Primary ?? "none"}, in sync {string.Join(" and ", entry.InSync)}.");
        foreach (var host in module.Status.Hosts)
            foreach (var happened in host.Events)
                yield return (happened.UnixMs, $"{Time(happened.UnixMs)}  {host.Host}  {happened.Kind}: {happened.Text}{(happened.TraceId is { } trace ? $" [{trace}]" : "")}");
    }

    private static string Time(long unixMs) =>
        DateTimeOffset.FromUnixTimeMilliseconds(unixMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);
}
