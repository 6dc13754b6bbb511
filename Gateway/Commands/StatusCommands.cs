using System.CommandLine;
using System.Text.Json;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux status</c> and <c>pollux watch</c>.</summary>
internal static class StatusCommands
{
    public static void AddTo(RootCommand root)
    {
        root.Add(Make("status", "Shows everything at a glance.", "status", async (parsed, api, path, cancel) =>
        {
            var status = await api.GetAsync<StatusDocument>(path, cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(status);
            else parsed.Output().Write(StatusText.Of(status, Now));
        }));
        root.Add(Make("watch", "Shows the status now and after each change, until interrupted.", "watch", async (parsed, api, path, cancel) =>
        {
            try
            {
                await foreach (var data in api.StreamAsync(path, cancel))
                {
                    if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.Output().WriteLine(data);
                    else parsed.Output().WriteLine(StatusText.Of(JsonSerializer.Deserialize<StatusDocument>(data, ApiClient.Json)!, Now));
                }
            }
            catch (OperationCanceledException) when (cancel.IsCancellationRequested)
            {
                // Interrupted: that is how watching ends.
            }
        }));
    }

    private static long Now => TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds();

    private static Command Make(string name, string description, string path, Func<ParseResult, ApiClient, string, CancellationToken, Task> run)
    {
        var cluster = new Argument<string?>("CLUSTER") { Description = "Only this cluster.", Arity = ArgumentArity.ZeroOrOne };
        var command = new Command(name, description) { cluster };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var query = parsed.GetValue(cluster) is { } only ? "?cluster=" + ClusterCommands.Escape(only) : "";
            await run(parsed, api, $"/api/v1/{path}{query}", cancel);
            return PolluxCommandLine.Done;
        });
        return command;
    }
}
