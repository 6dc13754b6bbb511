using System.Collections.Concurrent;
using Pollux.DataPlane.Hypervisor;

namespace Pollux.Tests.Unit.Hosts;

/// <summary>A hypervisor in memory that records its calls and can be told to refuse, to hang up, or to ignore a shutdown.</summary>
internal sealed class FakeHypervisor : IHypervisor
{
    private readonly ConcurrentDictionary<string, DomainState> _domains = new();

    public event Action<string>? Changed;

    public ConcurrentQueue<string> Calls { get; } = new();

    public string? Name { get; set; } = "fake 1";

    /// <summary>Answers instead of doing; by the first word of the call.</summary>
    public ConcurrentDictionary<string, HypervisorAnswer> Instead { get; } = new();

    /// <summary>This domain runs although the call that started it does not say so.</summary>
    public string? StartsLate { get; set; }

    /// <summary>The reason that goes with a stopped domain.</summary>
    public volatile string StoppedReason = "crashed";

    /// <summary>The reason that goes with a paused domain.</summary>
    public volatile string PausedReason = "user";

    /// <summary>Called at the beginning of each call, with its first word.</summary>
    public Action<string>? Before { get; set; }

    /// <summary>Guests react to a shutdown.</summary>
    public bool Obedient { get; set; } = true;

    public void Set(string domain, DomainState state)
    {
        _domains[domain] = state;
        Changed?.Invoke(domain);
    }

    public DomainState Get(string domain) => _domains.GetValueOrDefault(domain, DomainState.Absent);

    public Task<string?> DescribeAsync(CancellationToken cancel) => Task.FromResult(Name);

    public Task<HypervisorAnswer> ValidateAsync(string definition, CancellationToken cancel) => Do("validate", "", null);

    public Task<HypervisorAnswer> DefineAsync(string domain, string definition, CancellationToken cancel) => Do("define", domain, DomainState.Stopped);

    public Task<HypervisorAnswer> StartAsync(string domain, CancellationToken cancel) => Do("start", domain, DomainState.Running);

    public Task<HypervisorAnswer> ShutDownAsync(string domain, CancellationToken cancel) => Do("shutdown", domain, Obedient ? DomainState.Stopped : null);

    public Task<HypervisorAnswer> DestroyAsync(string domain, CancellationToken cancel) => Do("destroy", domain, DomainState.Stopped);

    public Task<HypervisorAnswer> SuspendAsync(string domain, CancellationToken cancel) => Do("suspend", domain, DomainState.Paused);

    public Task<HypervisorAnswer> ResumeAsync(string domain, CancellationToken cancel) => Do("resume", domain, DomainState.Running);

    public Task<HypervisorAnswer> PingGuestAsync(string domain, TimeSpan timeout, CancellationToken cancel) => Do("ping-guest", domain, null);

    /// <summary>What the domain's disks say.</summary>
    public string? DiskErrors { get; set; }

    public Task<string?> DiskErrorsAsync(string domain, CancellationToken cancel) => Task.FromResult(DiskErrors);

    public Task<DomainStatus> LookAsync(string domain, CancellationToken cancel) =>
        Task.FromResult(new DomainStatus(Get(domain), Get(domain) switch
        {
            DomainState.Stopped => StoppedReason,
            DomainState.Paused => PausedReason,
            _ => "",
        }));

    /// <summary>Domains whose process is halted by a signal.</summary>
    public ConcurrentDictionary<string, bool> Halted { get; } = new();

    public bool IsHalted(string domain) => Halted.ContainsKey(domain);

    /// <summary>Domains whose process was killed and waits for its I/O: the hypervisor takes them for active still.</summary>
    public ConcurrentDictionary<string, bool> Exiting { get; } = new();

    /// <summary>A call, by its first word, is done when its task has ended.</summary>
    public ConcurrentDictionary<string, Task> After { get; } = new();

    /// <summary>Ends a halted domain, which does not hear the hypervisor; all others end by their calls only.</summary>
    public void KillEmulator(string domain)
    {
        Calls.Enqueue("kill");
        if (Halted.TryRemove(domain, out _))
            Set(domain, DomainState.Stopped);
    }

    public int? EmulatorPid(string domain) => Get(domain) is DomainState.Running or DomainState.Paused && !Exiting.ContainsKey(domain) ? 1 : null;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private async Task<HypervisorAnswer> Do(string call, string domain, DomainState? state)
    {
        Calls.Enqueue(call);
        Before?.Invoke(call);
        if (After.TryGetValue(call, out var gate))
            await gate;
        if (call == "start" && domain == StartsLate)
            Set(domain, DomainState.Running);
        if (Instead.TryGetValue(call, out var answer))
            return answer;
        if (state is { } reached && !Halted.ContainsKey(domain))
            Set(domain, reached);
        return new HypervisorAnswer(CallOutcome.Done, "");
    }
}
