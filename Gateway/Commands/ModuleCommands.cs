using System.CommandLine;
using Pollux.Gateway.Api;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module …</c></summary>
internal static class ModuleCommands
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(250);

    internal static readonly Option<TimeSpan?> Wait = new("--wait")
    {
        Description = "Wait for the end, at most so long; without it the command returns when it is accepted.", HelpName = "TIME",
        CustomParser = result => Durations.Parse(result),
    };

    public static void AddTo(RootCommand root) => root.Add(new Command("module", "Mirror modules: replicated directories with a VM.")
    {
        Create(),
        Command("start", "Starts a module.", (api, module, wait, cancel) => SetRunAsync(api, module, "start", wait, IsStarted, cancel), Wait),
        Command("stop", "Stops a module and its VM.", (api, module, wait, cancel) => SetRunAsync(api, module, "stop", wait, IsStopped, cancel), Wait),
        Command("restart", "Ends the VM in order and starts it again on the same host; the mirror goes on.", (api, module, wait, cancel) => RunAsync(api, module, "restart", wait, cancel), Wait),
        Command("stopstart", "Stops a module on both hosts and starts it again.", (api, module, wait, cancel) => RunAsync(api, module, "stopstart", wait, cancel), Wait),
        Command("swap", "Moves a module to the other host.", (api, module, wait, cancel) => RunAsync(api, module, "swap", wait, cancel), Wait),
        PlaceCommands.MakePrim(),
        PlaceCommands.MakeSecond(),
        ForceCommand.Make(),
        PolicyCommands.Make(),
        CheckerCommands.Make(),
        WaitCommand.Make(),
        Command("delete", "Forgets a stopped module; its data stays on both hosts.", DeleteAsync, null),
        VerifyCommands.MakeVerify(),
        VerifyCommands.MakeResyncLimits(),
        ConfirmRecordCommand.Make(),
        Show(),
    });

    internal static string Path(Key module) => $"/api/v1/clusters/{ClusterCommands.Escape(module.Cluster)}/modules/{ClusterCommands.Escape(module.Name)}";

    private static Command Create()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The new module.");
        var directories = new Option<string[]>("--directory", "--dir")
        {
            Description = "A directory of the VM, the same path on both hosts; once for each, 8 at most. The first holds the VM's definition.", HelpName = "DIR", Required = true,
        };
        var primary = new Option<string>("--primary") { Description = "The host whose directories hold the data.", HelpName = "HOST", Required = true };
        var vm = new Option<string?>("--vm") { Description = "libvirt's name of the VM; without it the directories are only replicated and served.", HelpName = "DOMAIN" };
        var definition = new Option<string?>("--definition") { Description = "Domain XML in the first directory; DOMAIN.xml by default.", HelpName = "FILE" };
        var command = new Command("create", "Creates a module from one directory or several, each perhaps on a file system of its own.") { key, directories, primary, vm, definition };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var module = parsed.GetRequiredValue(key);
            var created = await api.PostAsync<ModuleDocument>($"/api/v1/clusters/{ClusterCommands.Escape(module.Cluster)}/modules", new CreateModuleRequest(
                module.Name, parsed.GetRequiredValue(primary), null, parsed.GetValue(vm), parsed.GetValue(definition),
                Directories: [.. parsed.GetRequiredValue(directories)]), cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(created);
            else parsed.Output().WriteLine($"Module {module} created: {string.Join(", ", created.Directories)}, accepted by both hosts. Start it: pollux module start {module}");
            return PolluxCommandLine.Done;
        });
        return command;
    }

    private static Command Command(
        string name, string description, Func<ApiClient, Key, TimeSpan?, CancellationToken, Task<string>> run, Option<TimeSpan?>? wait)
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var command = new Command(name, description) { key };
        if (wait is not null) command.Add(wait);
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var said = await run(api, parsed.GetRequiredValue(key), wait is null ? null : parsed.GetValue(wait), cancel);
            parsed.Output().WriteLine(said);
            return PolluxCommandLine.Done;
        });
        return command;
    }

    private static async Task<string> SetRunAsync(
        ApiClient api, Key module, string verb, TimeSpan? wait, Func<ModuleDocument, bool> ended, CancellationToken cancel)
    {
        await api.PostAsync($"{Path(module)}/{verb}", null, cancel);
        if (wait is not { } most) return $"Module {module}: {verb} accepted. See: pollux status";
        var last = await WaitAsync(api, module, most, ended, verb, cancel);
        return StatusText.ModuleLine(last.Status);
    }

    /// <summary>A command with an id: its end stands in the module.</summary>
    internal static async Task<string> RunAsync(ApiClient api, Key module, string verb, TimeSpan? wait, CancellationToken cancel)
    {
        var accepted = await api.PostAsync<CommandAccepted>($"{Path(module)}/{verb}", new CommandRequest(Guid.NewGuid()), cancel);
        if (wait is not { } most) return $"Module {module}: {verb} accepted. See: pollux module show {module}";
        CommandEndDocument? End(ModuleDocument document) => document.CommandEnds.FirstOrDefault(end => end.OperationId == accepted.OperationId);
        var last = await WaitAsync(api, module, most, document => End(document) is { Succeeded: false } || (End(document) is not null && IsStarted(document)), verb, cancel);
        ThrowIfFailed(last, accepted.OperationId, verb, module);
        return StatusText.ModuleLine(last.Status);
    }

    /// <exception cref="CommandFailure">The command has ended, and not as it was meant.</exception>
    internal static void ThrowIfFailed(ModuleDocument document, Guid operation, string verb, Key module)
    {
        if (document.CommandEnds.FirstOrDefault(end => end.OperationId == operation) is { Succeeded: false } failed)
            throw new CommandFailure(new Problem($"{verb}.failed", $"The {verb} did not succeed", "The module stays where it is.", failed.Reason, $"See: pollux module show {module}."));
    }

    private static async Task<string> DeleteAsync(ApiClient api, Key module, TimeSpan? wait, CancellationToken cancel)
    {
        await api.DeleteAsync(Path(module), cancel);
        return $"Module {module} deleted. Its data stays on both hosts.";
    }

    private static Command Show()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var command = new Command("show", "Shows a module: why it is as it is, and what happened to it.") { key };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var document = await api.GetAsync<ModuleDocument>(Path(parsed.GetRequiredValue(key)), cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(document);
            else parsed.Output().Write(ModuleText.Of(document));
            return PolluxCommandLine.Done;
        });
        return command;
    }

    internal static async Task<ModuleDocument> WaitAsync(
        ApiClient api, Key module, TimeSpan most, Func<ModuleDocument, bool> ended, string verb, CancellationToken cancel)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var document = await api.GetAsync<ModuleDocument>(Path(module), cancel);
            if (ended(document)) return document;
            if (TimeProvider.System.GetElapsedTime(started) >= most)
                throw new CommandFailure(new Problem(
                    "module.wait", $"The {verb} has not ended yet", "It goes on.", StatusText.ModuleLine(document.Status).Trim(), $"See: pollux module show {module}."));
            await Task.Delay(LookEvery, cancel);
        }
    }

    internal static bool IsStarted(ModuleDocument document) => document.Status.Hosts.Any(host =>
        host.Host == document.Status.Record.Primary && host is { Ready: true, Role: "ALONE" or "PRIM" } && (document.Status.Vm is null || host.VmState == "running"));

    internal static bool IsStopped(ModuleDocument document) => document.Status.Hosts.All(host => host.Role is "STOP" && host.Ready || host.Role == "UNKNOWN")
        && document.Status.Hosts.Any(host => host.Role == "STOP");
}
