using System.Collections.Concurrent;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>KVM by libvirt, through the <c>virsh</c> program.</summary>
/// <remarks>
/// Why a program and not the C library: a call that hangs in libvirt's daemon hangs a process that can be killed at its deadline, never
/// a thread of ours; a crash in its client library is not a crash of the data plane, which holds the VM's disks; and no binary interface
/// ties us to a version. The price, some 20 ms per call, is paid at starts and stops only: the state between is watched by
/// <c>virsh event</c> and the process table.
/// </remarks>
public sealed partial class LibvirtHypervisor : IHypervisor
{
    /// <summary>Characters of an answer that are kept: it becomes part of causes, events and the cover's text, all of which are bounded.</summary>
    private const int TextMax = 600;

    private static readonly TimeSpan Quick = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Starting = TimeSpan.FromSeconds(30);

    /// <summary>QEMU answers a stop when its I/O has ended, which waits while there is no lease; and libvirt lets a call wait 30 s for the
    /// one before it. A shorter deadline would only leave more of them waiting in its daemon, whose workers are few.</summary>
    private static readonly TimeSpan Pausing = TimeSpan.FromSeconds(30);

    private readonly string _uri;
    private readonly DomainEvents _events;
    private readonly ConcurrentDictionary<string, int> _pids = new();

    /// <param name="uri">libvirt's connection URI, usually <c>qemu:///system</c>.</param>
    public LibvirtHypervisor(string uri)
    {
        _uri = uri;
        _events = new DomainEvents(uri, domain => Changed?.Invoke(domain));
    }

    public event Action<string>? Changed;

    /// <summary>Begins to watch events.</summary>
    public void Start() => _events.Start();

    public async Task<string?> DescribeAsync(CancellationToken cancel)
    {
        var result = await RunAsync(["version"], null, Quick, cancel).ConfigureAwait(false);
        if (result.ExitCode != 0)
            return null;
        var library = LibraryVersion().Match(result.Output).Groups[1].Value;
        var emulator = EmulatorVersion().Match(result.Output).Groups[1].Value;
        return $"{(emulator.Length > 0 ? emulator : "QEMU")} / libvirt {library}";
    }

    public Task<HypervisorAnswer> ValidateAsync(string definition, CancellationToken cancel) =>
        // Parses and checks like a start, and starts nothing.
        CallAsync(["domxml-to-native", "qemu-argv", "/dev/stdin"], definition, Starting, cancel);

    public async Task<HypervisorAnswer> DefineAsync(string domain, string definition, CancellationToken cancel)
    {
        var defined = await CallAsync(["define", "/dev/stdin"], definition, Quick, cancel).ConfigureAwait(false);
        if (defined.Outcome != CallOutcome.Done)
            return defined;
        // libvirt must never start it at boot: whether it may run here is not libvirt's to know.
        return await CallAsync(["autostart", "--disable", domain], null, Quick, cancel).ConfigureAwait(false);
    }

    public Task<HypervisorAnswer> StartAsync(string domain, CancellationToken cancel) => CallAsync(["start", domain], null, Starting, cancel);

    public Task<HypervisorAnswer> ShutDownAsync(string domain, CancellationToken cancel) => CallAsync(["shutdown", domain], null, Quick, cancel);

    public async Task<HypervisorAnswer> DestroyAsync(string domain, CancellationToken cancel)
    {
        var answer = await CallAsync(["destroy", domain], null, Quick, cancel).ConfigureAwait(false);
        return answer.Outcome == CallOutcome.Refused && NotRunning().IsMatch(answer.Text)
            ? new HypervisorAnswer(CallOutcome.Done, answer.Text)
            : answer;
    }

    public Task<HypervisorAnswer> SuspendAsync(string domain, CancellationToken cancel) => CallAsync(["suspend", domain], null, Pausing, cancel);

    public Task<HypervisorAnswer> ResumeAsync(string domain, CancellationToken cancel) => CallAsync(["resume", domain], null, Pausing, cancel);

    public async Task<string?> DiskErrorsAsync(string domain, CancellationToken cancel)
    {
        var result = await RunAsync(["domblkerror", domain], null, Quick, cancel).ConfigureAwait(false);
        var said = OneLine(result.Output);
        return result.ExitCode == 0 && said.Contains(": ", StringComparison.Ordinal) ? said : null;
    }

    /// <summary>libvirt counts whole seconds, and answers within them; only if it does not, the call is ended.</summary>
    public Task<HypervisorAnswer> PingGuestAsync(string domain, TimeSpan timeout, CancellationToken cancel)
    {
        var seconds = Math.Max(1, (int)Math.Ceiling(timeout.TotalSeconds));
        return CallAsync(["qemu-agent-command", domain, "--timeout", seconds.ToString(CultureInfo.InvariantCulture), """{"execute":"guest-ping"}"""], null,
            TimeSpan.FromSeconds(seconds) + Quick, cancel);
    }

    public async Task<DomainStatus> LookAsync(string domain, CancellationToken cancel)
    {
        var result = await RunAsync(["domstate", "--reason", domain], null, Quick, cancel).ConfigureAwait(false);
        if (result.ExitCode == 0)
        {
            var match = StateAndReason().Match(result.Output);
            return new DomainStatus(Parse(match.Groups[1].Value.Trim()), match.Groups[2].Value);
        }

        return result.ExitCode is not null && result.Error.Contains("failed to get domain", StringComparison.Ordinal)
            ? new DomainStatus(DomainState.Absent, "not defined")
            : new DomainStatus(DomainState.Unknown, OneLine(result.Error));
    }

    public bool IsHalted(string domain) => EmulatorPid(domain) is { } pid && EmulatorProcess.IsHalted(pid);

    public void KillEmulator(string domain) => EmulatorProcess.Kill(domain);

    public int? EmulatorPid(string domain)
    {
        // One look at a known process instead of one at every process of the machine.
        if (_pids.TryGetValue(domain, out var known) && EmulatorProcess.Executes(known, domain))
            return known;
        var found = EmulatorProcess.Find(domain);
        if (found is { } pid)
            _pids[domain] = pid;
        else
            _pids.TryRemove(domain, out _);
        return found;
    }

    public ValueTask DisposeAsync() => _events.DisposeAsync();

    private static DomainState Parse(string state) => state switch
    {
        "running" or "idle" or "in shutdown" => DomainState.Running,
        "paused" or "pmsuspended" => DomainState.Paused,
        "shut off" or "crashed" => DomainState.Stopped,
        _ => DomainState.Unknown,
    };

    private async Task<HypervisorAnswer> CallAsync(string[] arguments, string? input, TimeSpan deadline, CancellationToken cancel)
    {
        var result = await RunAsync(arguments, input, deadline, cancel).ConfigureAwait(false);
        return result.ExitCode switch
        {
            0 => new HypervisorAnswer(CallOutcome.Done, OneLine(result.Output)),
            null => new HypervisorAnswer(CallOutcome.Unknown, result.Error),
            _ => new HypervisorAnswer(CallOutcome.Refused, OneLine(result.Error)),
        };
    }

    private Task<ChildProcess.Result> RunAsync(string[] arguments, string? input, TimeSpan deadline, CancellationToken cancel) =>
        ChildProcess.RunAsync("virsh", ["--connect", _uri, "--quiet", .. arguments], input, deadline, cancel);

    private static string OneLine(string text)
    {
        var line = string.Join(' ', text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
            .Replace("error: ", "", StringComparison.Ordinal);
        return line.Length <= TextMax ? line : string.Concat(line.AsSpan(0, TextMax), "…");
    }

    [GeneratedRegex(@"library: libvirt ([\d.]+)")]
    private static partial Regex LibraryVersion();

    [GeneratedRegex(@"hypervisor: (QEMU [\d.]+)")]
    private static partial Regex EmulatorVersion();

    [GeneratedRegex(@"^([a-z ]+?)(?: \((.*)\))?\s*$")]
    private static partial Regex StateAndReason();

    [GeneratedRegex("domain is not running|failed to get domain")]
    private static partial Regex NotRunning();
}
