using System.CommandLine;
using System.Globalization;
using Pollux.Gateway.Api;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module verify</c> and <c>pollux module resync-limits</c>.</summary>
internal static class VerifyCommands
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(500);

    public static Command MakeVerify()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var repair = new Option<bool>("--repair") { Description = "Make the secondary equal to the primary where it differs." };
        var limit = Rate("--limit", "Compare no faster; without it as fast as guests leave room.");
        var stop = new Option<bool>("--stop") { Description = "End the verify that runs." };
        var wait = new Option<TimeSpan?>("--wait")
        {
            Description = "Wait for the end, at most so long; then exit code 1 says that the copies differ.", HelpName = "TIME",
            CustomParser = result => Durations.Parse(result),
        };
        var command = new Command("verify", "Compares both copies of a module while it runs.") { key, repair, limit, stop, wait };
        command.Validators.Add(result =>
        {
            if (result.GetValue(stop) && (result.GetValue(repair) || result.GetValue(limit) is not null || result.GetValue(wait) is not null))
                result.AddError("--stop stands alone.");
        });
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var module = parsed.GetRequiredValue(key);
            var path = ModuleCommands.Path(module);
            if (parsed.GetValue(stop))
            {
                await api.DeleteAsync($"{path}/verify", cancel);
                parsed.Output().WriteLine($"Module {module}: the verify is to end. See: pollux module show {module}");
                return PolluxCommandLine.Done;
            }
            var accepted = await api.PostAsync<CommandAccepted>(
                $"{path}/verify", new VerifyRequest(parsed.GetValue(repair), Bytes(parsed.GetValue(limit)), Guid.NewGuid()), cancel);
            if (parsed.GetValue(wait) is not { } most)
            {
                parsed.Output().WriteLine($"Module {module}: verify accepted. See: pollux module show {module}");
                return PolluxCommandLine.Done;
            }
            var report = await WaitAsync(api, module, accepted.OperationId, most, cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(report);
            else parsed.Output().Write(VerifyText.Of(report, ""));
            return report is { State: "completed" } and ({ DifferentBytes: 0, DifferentEntries: 0 } or { Repaired: true }) ? PolluxCommandLine.Done : PolluxCommandLine.Failed;
        });
        return command;
    }

    public static Command MakeResyncLimits()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var min = Rate("--min", "Keep up this rate beside guests, as far as disk and link allow.");
        var max = Rate("--max", "Never be faster; 0 means no limit.");
        var command = new Command("resync-limits", "Sets how fast resyncs of a module may be, now and later; shows the limits without options.") { key, min, max };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var module = parsed.GetRequiredValue(key);
            var now = (await api.GetAsync<ModuleDocument>(ModuleCommands.Path(module), cancel)).ResyncLimits;
            var limits = new ResyncLimitsDocument(
                parsed.GetValue(min) is { } least ? Bytes(least) : now?.BytesPerSecondMin ?? MinDefault,
                parsed.GetValue(max) is { } most ? Bytes(most) : now?.BytesPerSecondMax ?? 0);
            if (parsed.GetValue(min) is not null || parsed.GetValue(max) is not null)
                await api.PutAsync($"{ModuleCommands.Path(module)}/resync-limits", limits, cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(limits);
            else parsed.Output().WriteLine($"Module {module}: a resync keeps up {VerifyText.Rate(limits.BytesPerSecondMin)} and has {(limits.BytesPerSecondMax == 0 ? "no limit" : "a limit of " + VerifyText.Rate(limits.BytesPerSecondMax))}.");
            return PolluxCommandLine.Done;
        });
        return command;
    }

    /// <summary>The hosts' own default, bytes per second (ResyncLimits.Default of the data plane).</summary>
    private const long MinDefault = 8_000_000;

    private static async Task<VerifyReport> WaitAsync(ApiClient api, Key module, Guid operation, TimeSpan most, CancellationToken cancel)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var document = await api.GetAsync<ModuleDocument>(ModuleCommands.Path(module), cancel);
            var report = document.Status.Hosts.Select(host => host.Verify).FirstOrDefault(verify => verify?.OperationId == operation);
            // A resync that makes the trees equal belongs to it.
            if (report is { State: not "running", ResyncFollows: false })
                return report;
            if (TimeProvider.System.GetElapsedTime(started) >= most)
                throw new CommandFailure(new Problem("verify.wait", "The verify has not ended yet", "It goes on.",
                    report is null ? "The primary has not said anything about it yet." : VerifyText.Line(report), $"See: pollux module show {module}."));
            await Task.Delay(LookEvery, cancel);
        }
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
