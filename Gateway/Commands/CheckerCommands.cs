using System.CommandLine;
using System.Globalization;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module checker</c>: what the host that serves a module tests while its VM runs, and what follows.</summary>
internal static class CheckerCommands
{
    public static Command Make() => new("checker", "Tests of what runs in a module, and what follows when they fail.") { Add(), Remove(), List() };

    private static Command Add()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var name = new Argument<string>("NAME") { Description = "Of the checker; an existing one is changed." };
        var tcp = new Option<string?>("--tcp") { Description = "A connection is accepted there.", HelpName = "HOST:PORT" };
        var ping = new Option<string?>("--ping") { Description = "It answers a ping.", HelpName = "ADDRESS" };
        var guest = new Option<bool>("--guest") { Description = "The QEMU guest agent answers." };
        var script = new Option<string?>("--script") { Description = "A script in checkers.d of the host's data directory, on both hosts, exits with 0.", HelpName = "NAME" };
        var every = Time("--every", "From the end of one test to the next; 10s by default.");
        var timeout = Time("--timeout", "A test that has not ended by then has failed; 3s by default.");
        var failures = new Option<int?>("--failures") { Description = "So many in a row, and something follows; 3 by default.", HelpName = "N" };
        var grace = Time("--grace", "After a start of the VM; failures do not count before; 60s by default.");
        var then = new Option<string?>("--then") { Description = "What follows: the VM is restarted (by default), or the module moves to its secondary.", HelpName = "restart|move" };
        then.AcceptOnlyFromAmong("restart", "move");
        var command = new Command("add", "Adds a checker, or changes the one of this name.") { key, name, tcp, ping, guest, script, every, timeout, failures, grace, then };
        command.Validators.Add(result =>
        {
            var kinds = new[] { result.GetValue(tcp) is not null, result.GetValue(ping) is not null, result.GetValue(guest), result.GetValue(script) is not null };
            if (kinds.Count(given => given) != 1) result.AddError("Give one of --tcp, --ping, --guest and --script.");
        });
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var (module, named) = (parsed.GetRequiredValue(key), parsed.GetRequiredValue(name));
            var (kind, target) = parsed.GetValue(tcp) is { } endpoint ? ("tcp", endpoint)
                : parsed.GetValue(ping) is { } address ? ("ping", address)
                : parsed.GetValue(script) is { } file ? ("script", file) : ("guest", "");
            var checker = new CheckerDocument(
                named, kind, target, Milliseconds(parsed.GetValue(every)), Milliseconds(parsed.GetValue(timeout)), parsed.GetValue(failures),
                Milliseconds(parsed.GetValue(grace)), parsed.GetValue(then));
            await api.PutAsync(Path(module, named), checker, cancel);
            parsed.Output().WriteLine($"Module {module} has the checker {named}. What its host finds: pollux module checker list {module}");
            return PolluxCommandLine.Done;
        });
        return command;
    }

    private static Command Remove()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var name = new Argument<string>("NAME") { Description = "Of the checker." };
        var command = new Command("remove", "Removes a checker.") { key, name };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var (module, named) = (parsed.GetRequiredValue(key), parsed.GetRequiredValue(name));
            await api.DeleteAsync(Path(module, named), cancel);
            parsed.Output().WriteLine($"Module {module} has no checker {named} any more.");
            return PolluxCommandLine.Done;
        });
        return command;
    }

    private static Command List()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var command = new Command("list", "Shows the checkers of a module, and what each host says of them.") { key };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var name = parsed.GetRequiredValue(key);
            var module = await api.GetAsync<ModuleDocument>(ModuleCommands.Path(name), cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(module.Checkers);
            else if (module.Checkers.IsEmpty) parsed.Output().WriteLine($"Module {name} has no checkers.");
            else parsed.Output().Write(string.Concat(module.Checkers.Select(checker => Tell(module, checker, ""))));
            return PolluxCommandLine.Done;
        });
        return command;
    }

    /// <summary>What is tested, and below it each host's word; of a host that has none, that it tests nothing.</summary>
    public static string Tell(ModuleDocument module, CheckerDocument checker, string indent)
    {
        var lines = new List<string>
        {
            $"{indent}checker {checker.Name}: {checker.Kind}{(checker.Target is { Length: > 0 } target ? " " + target : "")}, every {Durations.Text(checker.EveryMs ?? 0)} within {Durations.Text(checker.TimeoutMs ?? 0)}; {checker.Failures} failures in a row, {Durations.Text(checker.GraceMs ?? 0)} after a start: {checker.Then}",
        };
        foreach (var host in module.Status.Hosts.Where(host => host.Role != "UNKNOWN"))
        {
            var said = host.Checkers?.FirstOrDefault(each => each.Name == checker.Name);
            lines.Add(said is null
                ? $"{indent}  {host.Host}: NOT TESTED: {(host.Checkers is null ? "the host does not know of checkers; it runs an earlier release" : "the host does not have it yet")}"
                : string.Create(CultureInfo.InvariantCulture, $"{indent}  {host.Host}: {said.State} since {Clock(said.SinceUnixMs)}{(said.FailuresInRow > 0 ? $", {said.FailuresInRow} failures in a row" : "")}{(said.Reason.Length > 0 ? ": " + said.Reason : "")} {said.Next}"));
        }

        return string.Concat(lines.Select(line => line + "\n"));
    }

    private static string Path(Key module, string checker) => $"{ModuleCommands.Path(module)}/checkers/{Uri.EscapeDataString(checker)}";

    private static string Clock(long unixMs) => DateTimeOffset.FromUnixTimeMilliseconds(unixMs).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    private static long? Milliseconds(TimeSpan? time) => (long?)time?.TotalMilliseconds;

    private static Option<TimeSpan?> Time(string name, string description) =>
        new(name) { Description = description, HelpName = "TIME", CustomParser = result => Durations.Parse(result) };
}
