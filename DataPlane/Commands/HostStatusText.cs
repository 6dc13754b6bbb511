using System.Net.Sockets;
using System.Text.Json;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Modules;

namespace Pollux.DataPlane.Commands;

/// <summary><c>pollux-host status</c> for people: the links, then a line for each module with what is wrong below it.</summary>
internal static class HostStatusText
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(5);

    public static async Task PrintAsync(string socketPath, bool json, CancellationToken cancel)
    {
        byte[] answer;
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(Deadline);
        try
        {
            answer = await LocalSocket.ReadAsync(socketPath, deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or IOException or OperationCanceledException)
        {
            throw new HostStartException("host.not-running",
                $"No pollux-host answers at {socketPath}: {e.Message}. Start it ('pollux-host run'), and ask as root.", e);
        }

        if (json)
        {
            await using var output = Console.OpenStandardOutput();
            await output.WriteAsync(answer, cancel).ConfigureAwait(false);
            return;
        }

        var status = JsonSerializer.Deserialize(answer, HostStatusJson.Default.HostStatus)!;
        Print(status, Console.Out);
    }

    private static void Print(HostStatus status, TextWriter output)
    {
        output.WriteLine($"host        {status.Host}{(status.LostPower ? "  (the machine has started anew)" : "")}");
        output.WriteLine($"control     {status.Control}");
        output.WriteLine($"peer        {status.Peer ?? "none"}: {(status.PeerReachable ? "reachable" : "unreachable")}; {status.PeerLink}");
        output.WriteLine($"hypervisor  {status.Hypervisor ?? "none answers"}");
        foreach (var module in status.Observed.Modules)
        {
            var replication = module.Replication;
            output.WriteLine();
            output.WriteLine($"{module.Module}  {module.Role} {(module.Ready ? "ready" : "transient")}  {module.DataState}  epoch {module.Record.Epoch}  vm {module.VmState ?? "none"}");
            output.WriteLine($"  {module.Code}: {module.Cause}");
            if (replication.WaitingFor is { } waiting)
                output.WriteLine($"  waits for: {waiting}");
            if (replication.Resyncing)
                output.WriteLine($"  resync: {replication.ResyncDoneBytes} of {replication.ResyncTotalBytes} bytes");
            foreach (var problem in module.Problems)
            {
                output.WriteLine($"  problem {problem.Code}: {problem.Title}");
                output.WriteLine($"    impact: {problem.Impact}");
                output.WriteLine($"    cause:  {problem.Cause}");
                output.WriteLine($"    action: {problem.Action}");
            }
        }
    }
}
