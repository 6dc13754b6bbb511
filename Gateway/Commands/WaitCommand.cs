using System.CommandLine;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module wait</c>: for scripts. Ends with 0 when the state is reached, with 1 and what is so instead when the time is over.</summary>
internal static class WaitCommand
{
    private static readonly TimeSpan TimeoutDefault = TimeSpan.FromSeconds(60);

    /// <summary>States of the module, and below them the roles of a host, each ready but <c>wait</c>, which never is.</summary>
    public static readonly string[] States = ["mirrored", "running", "stopped", "prim", "alone", "second", "wait", "stop"];

    public static Command Make()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var state = new Option<string>("--state")
        {
            Description = "mirrored (PRIM and SECOND), running or stopped; or a role of a host: prim, alone, second, wait, stop.", HelpName = "STATE", Required = true,
        };
        state.AcceptOnlyFromAmong(States);
        var host = new Option<string?>("--host") { Description = "The host that shall have the role; either one without it.", HelpName = "HOST" };
        var timeout = new Option<TimeSpan>("--timeout")
        {
            Description = "Wait at most so long; 60s by default.", HelpName = "TIME", CustomParser = result => Durations.Parse(result),
            DefaultValueFactory = _ => TimeoutDefault,
        };
        var command = new Command("wait", "Waits until a module is in a state.") { key, state, host, timeout };
        command.Validators.Add(result =>
        {
            if (result.GetValue(host) is not null && result.GetValue(state) is "mirrored" or "running" or "stopped")
                result.AddError("--host goes with a role: prim, alone, second, wait or stop.");
        });
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var wanted = parsed.GetRequiredValue(state);
            var last = await ModuleCommands.WaitAsync(
                api, parsed.GetRequiredValue(key), parsed.GetRequiredValue(timeout), document => IsReached(document, wanted, parsed.GetValue(host)), $"wait for {wanted}", cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(last);
            else parsed.Output().WriteLine(StatusText.ModuleLine(last.Status));
            return PolluxCommandLine.Done;
        });
        return command;
    }

    internal static bool IsReached(ModuleDocument module, string state, string? host)
    {
        return state switch
        {
            "mirrored" => Has("PRIM", null) && Has("SECOND", null) && ModuleCommands.IsStarted(module),
            "running" => ModuleCommands.IsStarted(module),
            "stopped" => ModuleCommands.IsStopped(module),
            _ => Has(state.ToUpperInvariant(), host),
        };

        bool Has(string role, string? on) => module.Status.Hosts.Any(said => said.Role == role && (said.Ready || role == "WAIT") && (on is null || said.Host == on));
    }
}
