using System.CommandLine;
using System.Globalization;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module force-promote</c>: says what would be lost, and does it only with the operator's word.</summary>
internal static class ForceCommand
{
    public static Command Make()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var host = new Option<string>("--host") { Description = "The host whose copy shall be the module, whatever it lacks.", HelpName = "HOST", Required = true };
        var off = new Option<bool>("--other-host-is-off") { Description = "Your word that the other host is off, or gone for good. If it is not, two VMs may run." };
        var epoch = new Option<long?>("--epoch") { Description = "The epoch that the warning showed.", HelpName = "N" };
        var command = new Command("force-promote", "The last resort when the newest copy is lost: runs a module from an older one. Without --other-host-is-off it only says what would be lost.")
        {
            key, host, off, epoch,
        };
        command.Validators.Add(result =>
        {
            if (result.GetValue(off) != (result.GetValue(epoch) is not null)) result.AddError("Give --other-host-is-off and --epoch together.");
        });
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var (module, named) = (parsed.GetRequiredValue(key), parsed.GetRequiredValue(host));
            var path = $"{ModuleCommands.Path(module)}/force-promote";
            if (parsed.GetValue(epoch) is { } seen)
            {
                await api.PostAsync(path, new ForcePromoteRequest(named, seen, OtherHostIsOff: true), cancel);
                parsed.Output().WriteLine($"The copy of {named} is the module {module} from now on; it takes over by itself. See: pollux module show {module}");
                return PolluxCommandLine.Done;
            }

            var preview = await api.GetAsync<ForcePreviewDocument>($"{path}?host={Uri.EscapeDataString(named)}", cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(preview);
            else parsed.Output().WriteLine(Warn(module.ToString(), preview));
            return PolluxCommandLine.Done;
        });
        return command;
    }

    internal static string Warn(string module, ForcePreviewDocument preview)
    {
        var lines = new List<string>
        {
            $"force-promote of {module} on {preview.Host} gives up every write that was acknowledged without {preview.Host}.",
            preview.LeftUnixMs is { } left
                ? $"  {preview.Host} has been out of the in-sync set since {Time(left)} (epoch {preview.LeftEpoch}; the record is at epoch {preview.Epoch})."
                : $"  Since when {preview.Host} has been out of the in-sync set is not in the history (the record is at epoch {preview.Epoch}).",
            $"  {preview.Other} was last heard {(preview.OtherSeenUnixMs == 0 ? "never" : Time(preview.OtherSeenUnixMs))}; it may have gone on for longer.",
            preview.OtherMarkedBytes is { } bytes
                ? $"  Its last words: {bytes.ToString("N0", CultureInfo.InvariantCulture)} bytes at most are missing on {preview.Host}."
                : "  How much is missing is not known.",
            $"  The copy on {preview.Host} is {preview.DataState ?? "not known: the host says nothing"}.",
        };
        lines.Add(preview.WhyNot is { } problem
            ? $"It cannot be done now: {problem.Cause} {problem.Action}"
            : $"If {preview.Other} is off for certain: pollux module force-promote {module} --host {preview.Host} --other-host-is-off --epoch {preview.Epoch}");
        return string.Join(Environment.NewLine, lines);
    }

    private static string Time(long unixMs) => DateTimeOffset.FromUnixTimeMilliseconds(unixMs).UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture);
}
