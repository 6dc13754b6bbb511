using System.CommandLine;
using Pollux.DataPlane.Core.Fencing;
using Pollux.DataPlane.Fencing;

namespace Pollux.DataPlane.Commands;

/// <summary><c>pollux-host fencing</c>: checks what <c>fencing.json</c> names, without arming or switching anything.</summary>
internal static class FencingCommand
{
    public static Command Make(Option<string> data, Func<Func<Task<int>>, Task<int>> guarded)
    {
        var command = new Command("fencing",
            "Checks how this host fences itself when it cannot stop a VM (fencing.json in the data directory): the watchdog's device as far as that goes without opening it, and the fence agent's parameters and the state of its power switch.")
        {
            data,
        };
        command.SetAction((parsed, cancel) => guarded(() => CheckAsync(parsed.GetRequiredValue(data), cancel)));
        return command;
    }

    private static async Task<int> CheckAsync(string dataDirectory, CancellationToken cancel)
    {
        FencingOptions options;
        try
        {
            options = FencingOptions.Load(dataDirectory);
        }
        catch (FormatException e)
        {
            throw new HostStartException("host.fencing", e.Message, e);
        }

        if (!options.IsConfigured)
        {
            await Console.Out.WriteLineAsync($"none configured: there is no {Path.Combine(dataDirectory, FencingOptions.FileName)}").ConfigureAwait(false);
            return 0;
        }

        var refused = false;
        if (options.Watchdog is { } watchdog)
        {
            var refusal = watchdog.Refusal();
            refused |= refusal is not null;
            await Console.Out.WriteLineAsync($"watchdog  {watchdog.Device}  {watchdog.TimeoutSeconds} s  {(watchdog.Required ? "required" : "not required")}  {refusal ?? "ok"}").ConfigureAwait(false);
        }

        if (options.Agent is { } agent)
        {
            var (isRefused, text) = await CheckAgentAsync(agent, cancel).ConfigureAwait(false);
            refused |= isRefused;
            await Console.Out.WriteLineAsync($"agent     {agent.Program}  {agent.Action}  {text}").ConfigureAwait(false);
        }

        return refused ? 1 : 0;
    }

    private static async Task<(bool Refused, string Text)> CheckAgentAsync(FenceAgentOptions options, CancellationToken cancel)
    {
        var agent = new FenceAgent(options);
        try
        {
            var metadata = await agent.DescribeAsync(cancel).ConfigureAwait(false);
            if (metadata.Refuse(options.Action, [.. options.Given.Keys]) is { } refusal)
                return (true, refusal);
        }
        catch (FormatException e)
        {
            return (true, e.Message);
        }

        var answer = await agent.CheckAsync(cancel).ConfigureAwait(false);
        return (answer.Outcome != FenceOutcome.Done, answer.Text);
    }
}
