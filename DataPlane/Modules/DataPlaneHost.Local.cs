using System.Text.Json;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>What an operator on this host asks by the local socket.</summary>
public sealed partial class DataPlaneHost
{
    /// <summary>Answers a question as it came; see <see cref="LocalQuestion"/>.</summary>
    public async Task<byte[]> AnswerAsync(ReadOnlyMemory<byte> question)
    {
        var asked = LocalQuestion.Read(question);
        if (asked is AskStatus)
            return JsonSerializer.SerializeToUtf8Bytes(Status(), HostStatusJson.Default.HostStatus);
        var answer = asked switch
        {
            AskVerify verify => await WithModuleAsync(verify.Module, runtime => VerifyAsync(runtime, verify)).ConfigureAwait(false),
            AskVerifyStop stop => await WithModuleAsync(stop.Module, runtime => Task.FromResult(StopVerify(runtime))).ConfigureAwait(false),
            AskResyncLimits limits => await WithModuleAsync(limits.Module, runtime => Task.FromResult(SetLimits(runtime, limits))).ConfigureAwait(false),
            _ => new LocalAnswer("local.not-understood", "The host does not understand the question: it is of another version."),
        };
        return JsonSerializer.SerializeToUtf8Bytes(answer, LocalJson.Default.LocalAnswer);
    }

    private static async Task<LocalAnswer> VerifyAsync(ModuleRuntime runtime, AskVerify asked)
    {
        if (asked.BytesPerSecondMax < 0)
            return new LocalAnswer("verify.limit", "The limit is below 0.");
        var order = new VerifyOrder(Guid.NewGuid(), "", asked.Repair, asked.BytesPerSecondMax, Stop: false);
        return await runtime.VerifyAsync(order).ConfigureAwait(false) is { } refusal
            ? new LocalAnswer("verify.refused", $"The verify was not begun: {refusal}.")
            : new LocalAnswer(null, $"Verify of {runtime.Module} begun{(asked.Repair ? "; what differs is repaired" : "")}. See: pollux-host status");
    }

    private static LocalAnswer StopVerify(ModuleRuntime runtime) => runtime.StopVerify() is { } refusal
        ? new LocalAnswer("verify.not-running", $"Nothing was stopped: {refusal}.")
        : new LocalAnswer(null, $"Verify of {runtime.Module} stopped.");

    private static LocalAnswer SetLimits(ModuleRuntime runtime, AskResyncLimits asked)
    {
        var limits = new ResyncLimits(asked.BytesPerSecondMin, asked.BytesPerSecondMax == 0 ? long.MaxValue : asked.BytesPerSecondMax);
        if (!limits.IsValid)
            return new LocalAnswer("resync.limits", "The minimum is below 0 or above the maximum.");
        runtime.SetResyncLimits(limits);
        return new LocalAnswer(null,
            $"Limits of {runtime.Module}'s resync are in force on this host until it restarts or the control plane sets others. For good: pollux module resync-limits {runtime.Module}");
    }

    private async Task<LocalAnswer> WithModuleAsync(string name, Func<ModuleRuntime, Task<LocalAnswer>> act)
    {
        var found = _slots.Where(slot => slot.Key == name || slot.Key.EndsWith("/" + name, StringComparison.Ordinal)).ToArray();
        return found switch
        {
            [{ Value.Runtime: { } runtime }] => await act(runtime).ConfigureAwait(false),
            [_] => new LocalAnswer("module.not-open", $"Module {name} is not open on this host. See: pollux-host status"),
            [] => new LocalAnswer("module.unknown", $"This host has no module {name}. See: pollux-host status"),
            _ => new LocalAnswer("module.ambiguous", $"Several modules are named {name}. Name it in full: {string.Join(", ", found.Select(slot => slot.Key))}."),
        };
    }
}
