using System.CommandLine;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module prim</c> and <c>second</c>: which host is the primary, and a full resync of the other.</summary>
internal static class PlaceCommands
{
    public static Command MakePrim()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var host = new Option<string>("--host") { Description = "The host that shall be the primary.", HelpName = "HOST", Required = true };
        var command = new Command("prim", "Runs a module on this host: starts it there, or swaps. Refused if acknowledged writes are missing there.") { key, host, ModuleCommands.Wait };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            parsed.Output().WriteLine(await PlaceAsync(api, parsed.GetRequiredValue(key), "prim", parsed.GetRequiredValue(host), parsed.GetValue(ModuleCommands.Wait), cancel));
            return PolluxCommandLine.Done;
        });
        return command;
    }

    public static Command MakeSecond()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var host = new Option<string?>("--host") { Description = "The host that shall be the secondary.", HelpName = "HOST" };
        var full = new Option<bool>("--full") { Description = "Compares and copies the secondary as a whole; the VM runs on, unprotected until that has ended." };
        var command = new Command("second", "Makes this host the secondary, or resyncs the secondary in full.") { key, host, full, ModuleCommands.Wait };
        command.Validators.Add(result =>
        {
            if (result.GetValue(full) == (result.GetValue(host) is not null)) result.AddError("Give either --host HOST or --full.");
        });
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var (module, wait) = (parsed.GetRequiredValue(key), parsed.GetValue(ModuleCommands.Wait));
            parsed.Output().WriteLine(parsed.GetValue(host) is { } named
                ? await PlaceAsync(api, module, "second", named, wait, cancel)
                : await FullAsync(api, module, wait, cancel));
            return PolluxCommandLine.Done;
        });
        return command;
    }

    private static async Task<string> PlaceAsync(ApiClient api, Key module, string verb, string host, TimeSpan? wait, CancellationToken cancel)
    {
        var accepted = await api.PostAsync<PlaceAccepted>($"{ModuleCommands.Path(module)}/{verb}", new PlaceRequest(host, Guid.NewGuid()), cancel);
        if (accepted.Begun == "nothing") return $"Module {module}: it is so already.";
        if (wait is not { } most) return $"Module {module}: a {accepted.Begun} was begun. See: pollux module show {module}";
        var isPrimary = verb == "prim";
        var last = await ModuleCommands.WaitAsync(
            api, module, most, document => HasFailed(document, accepted.OperationId) || (ModuleCommands.IsStarted(document) && (document.Status.Record.Primary == host) == isPrimary),
            verb, cancel);
        ModuleCommands.ThrowIfFailed(last, accepted.OperationId, accepted.Begun, module);
        return StatusText.ModuleLine(last.Status);
    }

    /// <summary>Waits for the end of the resync too: that is what the operator asked for.</summary>
    private static async Task<string> FullAsync(ApiClient api, Key module, TimeSpan? wait, CancellationToken cancel)
    {
        var accepted = await api.PostAsync<CommandAccepted>($"{ModuleCommands.Path(module)}/full-resync", new CommandRequest(Guid.NewGuid()), cancel);
        if (wait is not { } most) return $"Module {module}: full resync accepted. See: pollux module show {module}";
        var last = await ModuleCommands.WaitAsync(
            api, module, most, document => document.CommandEnds.FirstOrDefault(end => end.OperationId == accepted.OperationId) is { } end
                && (!end.Succeeded || document.Status.Record.InSync.Length == 2),
            "full resync", cancel);
        ModuleCommands.ThrowIfFailed(last, accepted.OperationId, "full-resync", module);
        return StatusText.ModuleLine(last.Status);
    }

    private static bool HasFailed(ModuleDocument document, Guid operation) =>
        document.CommandEnds.Any(end => end.OperationId == operation && !end.Succeeded);
}
