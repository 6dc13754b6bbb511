using System.Net.NetworkInformation;
using System.Net.Sockets;
using Pollux.DataPlane.Core.Checkers;
using Pollux.DataPlane.Hypervisor;

namespace Pollux.DataPlane.Checkers;

/// <summary>Tests of one module from its host.</summary>
/// <param name="domain">libvirt's name of the VM, or null.</param>
/// <param name="scripts">The directory of the host's own scripts.</param>
internal sealed class HostProbe(string module, string? domain, IHypervisor hypervisor, string scripts) : IProbe
{
    /// <summary>Name of the directory of scripts in the data directory of the host.</summary>
    public const string ScriptDirectory = "checkers.d";

    /// <summary>libvirt's words for VIR_ERR_AGENT_UNRESPONSIVE and VIR_ERR_AGENT_COMMAND_TIMEOUT (virterror.c).</summary>
    private static readonly string[] SilentAgent = ["guest agent is not responding", "guest agent command timed out"];

    /// <summary>Characters of what a script says that are kept.</summary>
    private const int TextMax = 200;

    public async Task<CheckResult> TestAsync(CheckerSpec checker, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var timeout = TimeSpan.FromMilliseconds(checker.TimeoutMs);
        limit.CancelAfter(timeout);
        try
        {
            return checker.Kind switch
            {
                CheckerKind.Tcp => await ConnectAsync(checker.Target, limit.Token).ConfigureAwait(false),
                CheckerKind.Ping => await PingAsync(checker.Target, timeout, limit.Token).ConfigureAwait(false),
                CheckerKind.Guest => await AskGuestAsync(timeout, cancel).ConfigureAwait(false),
                CheckerKind.Script => await RunAsync(checker.Target, timeout, cancel).ConfigureAwait(false),
                _ => throw new InvalidOperationException($"Unknown checker {checker.Kind}."),
            };
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return CheckResult.Failed($"{checker.Target} did not answer within {checker.TimeoutMs} ms.");
        }
    }

    private static async Task<CheckResult> ConnectAsync(string target, CancellationToken cancel)
    {
        if (!CheckerSpec.IsEndpoint(target, out var host, out var port))
            return CheckResult.Unable($"{target} is not HOST:PORT.");
        using var client = new TcpClient();
        try
        {
            await client.ConnectAsync(host, port, cancel).ConfigureAwait(false);
            return CheckResult.Well;
        }
        catch (SocketException e)
        {
            return CheckResult.Failed($"No connection to {target}: {e.Message}.");
        }
    }

    private static async Task<CheckResult> PingAsync(string target, TimeSpan timeout, CancellationToken cancel)
    {
        using var ping = new Ping();
        try
        {
            var reply = await ping.SendPingAsync(target, timeout, cancellationToken: cancel).ConfigureAwait(false);
            return reply.Status == IPStatus.Success ? CheckResult.Well : CheckResult.Failed($"{target} does not answer a ping: {reply.Status}.");
        }
        catch (PingException e)
        {
            return CheckResult.Failed($"{target} cannot be pinged: {e.InnerException?.Message ?? e.Message}.");
        }
    }

    /// <summary>The agent's silence is the guest's; a hypervisor that does not answer, or a VM without the agent's channel, says nothing of it.</summary>
    private async Task<CheckResult> AskGuestAsync(TimeSpan timeout, CancellationToken cancel)
    {
        if (domain is null)
            return CheckResult.Unable("The module has no VM.");
        var answer = await hypervisor.PingGuestAsync(domain, timeout, cancel).ConfigureAwait(false);
        cancel.ThrowIfCancellationRequested();
        return answer.Outcome == CallOutcome.Done ? CheckResult.Well
            : answer.Outcome == CallOutcome.Refused && SilentAgent.Any(words => answer.Text.Contains(words, StringComparison.OrdinalIgnoreCase))
                ? CheckResult.Failed($"The guest agent does not answer: {answer.Text}")
            : CheckResult.Unable($"The guest agent cannot be asked: {answer.Text}");
    }

    /// <summary>Killed at its timeout, with all that it has started. Arguments: the module and the domain's name, which may be empty.</summary>
    private async Task<CheckResult> RunAsync(string name, TimeSpan timeout, CancellationToken cancel)
    {
        if (!CheckerSpec.IsScriptName(name))
            return CheckResult.Unable($"{name} is not the plain name of a file.");
        var path = Path.Combine(scripts, name);
        if (WhyNotRun(path) is { } why)
            return CheckResult.Unable(why);
        var result = await ChildProcess.RunAsync(path, [module, domain ?? ""], null, timeout, cancel).ConfigureAwait(false);
        cancel.ThrowIfCancellationRequested();
        var said = Shorten(result.Error.Length > 0 ? result.Error : result.Output);
        return result.ExitCode switch
        {
            0 => CheckResult.Well,
            null when said.Contains("cannot be started", StringComparison.Ordinal) => CheckResult.Unable(said),
            null => CheckResult.Failed($"{name} was killed: it did not end within {timeout.TotalSeconds:0.#} s."),
            { } code => CheckResult.Failed($"{name} exits with {code}{(said.Length > 0 ? ": " + said : "")}"),
        };
    }

    /// <summary>What others than its owner may write is nobody's configuration.</summary>
    private static string? WhyNotRun(string path)
    {
        try
        {
            if (!File.Exists(path))
                return $"There is no script {path} on this host.";
            const UnixFileMode others = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;
            return (File.GetUnixFileMode(Path.GetDirectoryName(path)!) & others) != 0 || (File.GetUnixFileMode(path) & others) != 0
                ? $"{path}, or its directory, may be written by others than its owner: it is not run."
                : (File.GetUnixFileMode(path) & UnixFileMode.UserExecute) == 0 ? $"{path} is not executable." : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }
    }

    private static string Shorten(string text)
    {
        var line = string.Join(' ', text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        return line.Length <= TextMax ? line : string.Concat(line.AsSpan(0, TextMax), "…");
    }
}
