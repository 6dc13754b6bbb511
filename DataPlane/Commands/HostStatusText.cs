using System.Globalization;
using System.Text.Json;
using Pollux.DataPlane.Modules;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Commands;

/// <summary><c>pollux-host status</c> for people: the links, then a line for each module with what is wrong below it.</summary>
internal static class HostStatusText
{
    public static async Task PrintAsync(string socketPath, bool json, bool history, CancellationToken cancel)
    {
        var answer = await LocalCommands.AskAsync(socketPath, default, cancel).ConfigureAwait(false);
        if (json)
        {
            await using var output = Console.OpenStandardOutput();
            await output.WriteAsync(answer, cancel).ConfigureAwait(false);
            return;
        }

        var status = JsonSerializer.Deserialize(answer, HostStatusJson.Default.HostStatus)!;
        Print(status, history, Console.Out);
    }

    private static void Print(HostStatus status, bool history, TextWriter output)
    {
        output.WriteLine($"host        {status.Host}{(status.LostPower ? "  (the machine has started anew)" : "")}");
        output.WriteLine($"control     {status.Control}");
        output.WriteLine($"peer        {status.Peer ?? "none"}: {(status.PeerReachable ? "reachable" : "unreachable")}; {status.PeerLink}");
        foreach (var network in status.Observed.Networks ?? [])
        {
            output.WriteLine($"  network {network.Number}  {network.PeerAddress}  {(network.Up ? "up" : "DOWN")}{Heard(network)}{RoundTrip(network)}");
            if (!network.Up)
                output.WriteLine($"    {network.Status}");
        }
        output.WriteLine($"hypervisor  {status.Hypervisor ?? "none answers"}");
        foreach (var module in status.Observed.Modules)
        {
            var replication = module.Replication;
            output.WriteLine();
            output.WriteLine($"{module.Module}  {module.Role} {(module.Ready ? "ready" : "transient")}  {module.DataState}  epoch {module.Record.Epoch}  vm {module.VmState ?? "none"}");
            output.WriteLine($"  {module.Code}: {module.Cause}");
            if (replication is { SessionUp: true, Network: { } network })
                output.WriteLine($"  replicates over network {network}");
            if (replication.WaitingFor is { } waiting)
                output.WriteLine($"  waits for: {waiting}");
            if (replication.Resyncing)
                output.WriteLine($"  {Resync(replication)}");
            if (module.Verify is { } verify)
                PrintVerify(verify, output);
            foreach (var checker in module.Checkers ?? [])
                output.WriteLine($"  checker {checker.Name}: {checker.State}{(checker.FailuresInRow > 0 ? $", {checker.FailuresInRow} failures in a row" : "")}{(checker.Reason.Length > 0 ? $": {checker.Reason}" : "")}; next: {checker.Next}");
            foreach (var problem in module.Problems)
            {
                output.WriteLine($"  problem {problem.Code}: {problem.Title}");
                output.WriteLine($"    impact: {problem.Impact}");
                output.WriteLine($"    cause:  {problem.Cause}");
                output.WriteLine($"    action: {problem.Action}");
            }
            if (!history)
                continue;
            foreach (var happened in module.Events)
                output.WriteLine($"  {DateTimeOffset.FromUnixTimeMilliseconds(happened.UnixMs).ToString("yyyy-MM-dd HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture)}  {happened.Kind}: {happened.Text}");
        }
    }

    private static string Resync(ObservedReplication resync)
    {
        var text = string.Create(CultureInfo.InvariantCulture,
            $"resync: {resync.ResyncDoneBytes} of {resync.ResyncTotalBytes} bytes, {resync.ResyncLeftBytes} left, {resync.ResyncBytesPerSecond / 1e6:0.#} MB/s");
        if (resync.ResyncRemainingSeconds is { } seconds)
            text += string.Create(CultureInfo.InvariantCulture, $", {seconds:0} s to go");
        if (resync.ResyncLimits is { } limits)
            text += string.Create(CultureInfo.InvariantCulture, $" (at least {limits.BytesPerSecondMin / 1e6:0.#}, at most {(limits.BytesPerSecondMax == 0 ? "any" : (limits.BytesPerSecondMax / 1e6).ToString("0.#", CultureInfo.InvariantCulture))} MB/s)");
        return text;
    }

    private static void PrintVerify(ObservedVerify verify, TextWriter output)
    {
        var when = DateTimeOffset.FromUnixTimeMilliseconds(verify.EndedUnixMs ?? verify.StartedUnixMs).ToString("yyyy-MM-dd HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  verify {verify.State} {when}: {verify.DoneBytes} of {verify.TotalBytes} bytes, {verify.DoneEntries} of {verify.TotalEntries} entries; {verify.DifferentBytes} bytes and {verify.DifferentEntries} entries differ{(verify.Repaired ? ", repaired" : verify.ResyncFollows ? ", a resync follows" : "")}{(verify.Reason is { } reason ? $": {reason}" : "")}"));
        foreach (var difference in verify.Differences)
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"    {difference.Path}: {(difference.OffsetBytes is { } offset ? $"{difference.LengthBytes} bytes at {offset}" : difference.What)}"));
        if (verify.MoreDifferences > 0)
            output.WriteLine($"    and {verify.MoreDifferences} more");
    }

    private static string Heard(ObservedNetwork network) =>
        network.SilentMs is { } silentMs ? string.Create(CultureInfo.InvariantCulture, $"  heard {silentMs} ms ago") : "  never heard";

    private static string RoundTrip(ObservedNetwork network) =>
        network is { Up: true, RoundTripMicroseconds: { } microseconds } ? string.Create(CultureInfo.InvariantCulture, $"  round trip {microseconds} µs") : "";
}
