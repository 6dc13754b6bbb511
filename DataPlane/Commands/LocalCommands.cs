using System.CommandLine;
using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Modules;

namespace Pollux.DataPlane.Commands;

/// <summary><c>pollux-host verify</c> and <c>pollux-host resync-limits</c>: by the local socket, with or without a control plane.</summary>
internal static class LocalCommands
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(10);

    private static readonly Option<string> Module = new("--module") { Required = true, Description = "Module, as 'pollux-host status' names it: CLUSTER/MODULE, or MODULE.", HelpName = "M" };

    public static Command MakeVerify(Option<string> runDirectory, Func<Func<Task<int>>, Task<int>> guarded)
    {
        var repair = new Option<bool>("--repair") { Description = "Make the secondary equal to this host where it differs." };
        var limit = Rate("--limit", "Compare no faster; without it as fast as guests leave room.");
        var stop = new Option<bool>("--stop") { Description = "End the verify that runs." };
        var command = new Command("verify", "Compares both copies of a module while it is in use. On the primary.") { Module, repair, limit, stop, runDirectory };
        command.SetAction((parsed, cancel) => guarded(() => AskAsync(parsed, runDirectory, parsed.GetValue(stop)
            ? new AskVerifyStop(parsed.GetRequiredValue(Module))
            : new AskVerify(parsed.GetRequiredValue(Module), parsed.GetValue(repair), Bytes(parsed.GetValue(limit))), cancel)));
        return command;
    }

    public static Command MakeResyncLimits(Option<string> runDirectory, Func<Func<Task<int>>, Task<int>> guarded)
    {
        var min = Rate("--min", "Keep up this rate beside guests, as far as disk and link allow; 8 by default.");
        var max = Rate("--max", "Never be faster; no limit by default.");
        var command = new Command("resync-limits", "Sets how fast a resync of a module may be, until this host restarts.") { Module, min, max, runDirectory };
        command.SetAction((parsed, cancel) => guarded(() => AskAsync(parsed, runDirectory, new AskResyncLimits(
            parsed.GetRequiredValue(Module), parsed.GetValue(min) is { } least ? Bytes(least) : ResyncLimits.Default.BytesPerSecondMin, Bytes(parsed.GetValue(max))), cancel)));
        return command;
    }

    /// <exception cref="HostStartException">None answers.</exception>
    public static async Task<byte[]> AskAsync(string socketPath, ReadOnlyMemory<byte> question, CancellationToken cancel)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(Deadline);
        try
        {
            return await LocalSocket.AskAsync(socketPath, question, deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or IOException or OperationCanceledException)
        {
            throw new HostStartException("host.not-running",
                $"No pollux-host answers at {socketPath}: {e.Message}. Start it ('pollux-host run'), and ask as root.", e);
        }
    }

    private static async Task<int> AskAsync(ParseResult parsed, Option<string> runDirectory, LocalQuestion question, CancellationToken cancel)
    {
        var path = new DataPlaneOptions { RunDirectory = parsed.GetRequiredValue(runDirectory) }.SocketPath;
        var answer = JsonSerializer.Deserialize(await AskAsync(path, question.Write(), cancel).ConfigureAwait(false), LocalJson.Default.LocalAnswer)!;
        if (answer.Code is { } code)
            throw new HostStartException(code, answer.Text);
        await Console.Out.WriteLineAsync(answer.Text).ConfigureAwait(false);
        return 0;
    }

    private static long Bytes(double? megabytes) => megabytes is { } rate ? (long)(rate * 1e6) : 0;

    private static Option<double?> Rate(string name, string description) => new(name)
    {
        Description = description, HelpName = "MB/s",
        CustomParser = result =>
        {
            if (double.TryParse(result.Tokens[0].Value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var rate) && rate <= 1e6)
                return rate;
            result.AddError($"'{result.Tokens[0].Value}' is not a rate between 0 and 1000000 MB/s.");
            return null;
        },
    };
}
