using Pollux.DataPlane.Core.Fencing;
using Pollux.DataPlane.Hypervisor;

namespace Pollux.DataPlane.Fencing;

/// <param name="Text">The agent's words, without secrets; for people.</param>
public sealed record FenceAnswer(FenceOutcome Outcome, string Text);

/// <summary>Runs one agent of the <c>fence-agents</c> package (FenceAgentAPI.md): parameters by standard input, the outcome by its exit code.</summary>
public sealed class FenceAgent(FenceAgentOptions options)
{
    /// <summary>An agent answers this without its device.</summary>
    private static readonly TimeSpan MetadataMax = TimeSpan.FromSeconds(20);

    private const int StatusOff = 2;

    /// <summary>Does the configured action. 0 is done, anything else is not; no end within the deadline is unknown.</summary>
    public Task<FenceAnswer> FenceAsync(CancellationToken cancel) => RunAsync(options.Action, cancel);

    /// <summary>Asks the device behind the agent for the state of its power, to see that the agent is set up: <c>status</c> exits with 0 for on and 2
    /// for off.</summary>
    public Task<FenceAnswer> CheckAsync(CancellationToken cancel) => RunAsync("status", cancel);

    /// <exception cref="FormatException">It gives none.</exception>
    public async Task<FenceAgentMetadata> DescribeAsync(CancellationToken cancel)
    {
        var run = await ChildProcess.RunAsync(options.Program, ["-o", "metadata"], "", MetadataMax, cancel).ConfigureAwait(false);
        return run.ExitCode == 0
            ? FenceAgentMetadata.Parse(run.Output)
            : throw new FormatException($"{options.Program} -o metadata: {(run.ExitCode is { } code ? $"exit code {code}" : run.Error)}");
    }

    private async Task<FenceAnswer> RunAsync(string action, CancellationToken cancel)
    {
        if (options.Refusal() is { } refusal)
            return new FenceAnswer(FenceOutcome.Refused, refusal);
        var run = await ChildProcess.RunAsync(options.Program, [], options.Input(action), TimeSpan.FromSeconds(options.DeadlineSeconds), cancel).ConfigureAwait(false);
        var words = options.Redact(run.Error.Length > 0 ? run.Error : run.Output);
        return run.ExitCode switch
        {
            0 => new FenceAnswer(FenceOutcome.Done, words.Length > 0 ? words : "done"),
            StatusOff when action == "status" => new FenceAnswer(FenceOutcome.Done, words.Length > 0 ? words : "the power is off"),
            { } code => new FenceAnswer(FenceOutcome.Refused, $"exit code {code}{(words.Length > 0 ? $": {words}" : "")}"),
            null => new FenceAnswer(FenceOutcome.Unknown, words),
        };
    }
}
