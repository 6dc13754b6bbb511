using System.CommandLine;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux module confirm-record</c>: an operator's word after a restore of the control plane (rule S10).</summary>
internal static class ConfirmRecordCommand
{
    public static Command Make()
    {
        var key = Key.Argument("CLUSTER/MODULE", "The module.");
        var host = new Option<string?>("--host") { Description = "The host whose report counts. The other one must be off for certain, or gone for good.", HelpName = "HOST" };
        var epoch = new Option<long?>("--epoch") { Description = "The epoch of its report, as the status shows it.", HelpName = "N" };
        var forget = new Option<bool>("--forget") { Description = "Instead: no host has the module; forget it. Directories stay as they are." };
        var command = new Command("confirm-record", "After a restore of the control plane: takes the record that one host has reported, without the other.") { key, host, epoch, forget };
        command.Validators.Add(result =>
        {
            var named = result.GetValue(host) is not null && result.GetValue(epoch) is not null;
            if (result.GetValue(forget) ? result.GetValue(host) is not null || result.GetValue(epoch) is not null : !named)
                result.AddError("Give --host and --epoch, or --forget.");
        });
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var module = parsed.GetRequiredValue(key);
            await api.PostAsync($"{ModuleCommands.Path(module)}/confirm-record",
                new ConfirmRecordRequest(parsed.GetValue(host), parsed.GetValue(epoch) ?? 0, parsed.GetValue(forget)), cancel);
            parsed.Output().WriteLine(parsed.GetValue(forget)
                ? $"Module {module} is forgotten."
                : $"The report of {parsed.GetValue(host)} of epoch {parsed.GetValue(epoch)} counts for {module}. See: pollux status.");
            return PolluxCommandLine.Done;
        });
        return command;
    }
}
