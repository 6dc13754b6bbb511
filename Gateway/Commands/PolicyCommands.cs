using System.CommandLine;
using System.Globalization;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module policy</c>: maintenance, limit of restarts, order of starts, preferred primary.</summary>
internal static class PolicyCommands
{
    private const string None = "none";

    public static Command Make()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var failover = OnOff("--failover", "Whether a secondary takes over from a lost primary.");
        var boot = OnOff("--start-at-boot", "Whether a host that has booted runs the module without a start by command.");
        var checkers = OnOff("--checkers", "Whether the module's checkers test, and something follows.");
        var restarts = new Option<int?>("--restarts") { Description = "How often a crashing VM is started again within the window.", HelpName = "N" };
        var window = new Option<TimeSpan?>("--restart-window") { Description = "24h by default.", HelpName = "TIME", CustomParser = result => Durations.Parse(result) };
        var priority = new Option<int?>("--start-priority") { Description = "1 first, 9 last: the order when a host starts many VMs at once.", HelpName = "N" };
        var preferred = new Option<string?>("--preferred") { Description = $"Host to which the module goes back by itself, or {None}.", HelpName = "HOST" };
        var hold = new Option<TimeSpan?>("--failback-hold")
        {
            Description = "So long the pair has to be whole before it goes back; 10m by default.", HelpName = "TIME", CustomParser = result => Durations.Parse(result),
        };
        var command = new Command("policy", "Sets or, without options, shows what hosts do by themselves with a module.") { key, failover, boot, checkers, restarts, window, priority, preferred, hold };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var module = parsed.GetRequiredValue(key);
            var change = new PolicyDocument(
                IsOn(parsed.GetValue(failover)), IsOn(parsed.GetValue(boot)), parsed.GetValue(restarts), Milliseconds(parsed.GetValue(window)), parsed.GetValue(priority),
                parsed.GetValue(preferred) is { } host ? host == None ? "" : host : null, Milliseconds(parsed.GetValue(hold)),
                IsOn(parsed.GetValue(checkers)));
            if (change != new PolicyDocument()) await api.PutAsync($"{ModuleCommands.Path(module)}/policy", change, cancel);
            var now = (await api.GetAsync<ModuleDocument>(ModuleCommands.Path(module), cancel)).Policy;
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(now);
            else parsed.Output().WriteLine($"Module {module}: {Tell(now)}.");
            return PolluxCommandLine.Done;
        });
        return command;
    }

    /// <summary>In one line, what is switched off first.</summary>
    public static string Tell(PolicyDocument policy) => string.Create(CultureInfo.InvariantCulture,
        $"failover {Word(policy.Failover)}, start at boot {Word(policy.StartAtBoot)}, {policy.Restarts} restarts in {Durations.Text(policy.RestartWindowMs ?? 0)}, start priority {policy.StartPriority}, {(policy.Preferred is { } host ? $"preferred primary {host} (failback after {Durations.Text(policy.FailbackHoldMs ?? 0)})" : "no preferred primary")}, checkers {Word(policy.Checkers)}");

    private static string Word(bool? on) => on == false ? "OFF" : "on";

    private static bool? IsOn(string? word) => word is null ? null : word == "on";

    private static long? Milliseconds(TimeSpan? time) => (long?)time?.TotalMilliseconds;

    private static Option<string?> OnOff(string name, string description)
    {
        var option = new Option<string?>(name) { Description = description, HelpName = "on|off" };
        option.AcceptOnlyFromAmong("on", "off");
        return option;
    }
}
