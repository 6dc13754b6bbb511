using System.Collections.Concurrent;
using System.Collections.Immutable;
using Pollux.DataPlane.Core.Fencing;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Fencing;

/// <summary>Fences this host when it cannot stop a VM: does what <see cref="FenceEscalation"/> decides.</summary>
/// <remarks>One loop owns escalation and call. It wakes when a VM does not stop, and looks once a second while that is so.</remarks>
public sealed class HostFencing : IHostFencing, IAsyncDisposable
{
    private const int LookMs = 1_000;

    /// <summary>A process that was killed may take a moment; after this it is a problem. Milliseconds.</summary>
    private const long ShownMs = 5_000;

    private readonly FencingOptions _options;
    private readonly string? _unusable;
    private readonly string _statusPath;
    private readonly FenceAgent? _agent;
    private readonly Action<string?> _starve;
    private readonly Func<string, bool> _executes;
    private readonly Func<long> _nowMs;
    private readonly FenceEscalation _escalation;
    private readonly ConcurrentDictionary<string, long> _stuckMs = new();
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;
    private Task<FenceAnswer>? _call;
    private bool _starving;
    private volatile FenceStage _stage;
    private volatile string? _agentSaid;

    /// <param name="statusPath">Where the guard writes its <see cref="WatchdogStatus"/>.</param>
    /// <param name="starve">Tells the guard why it must not feed the watchdog; null: it may again.</param>
    /// <param name="executes">Whether a VM, by its libvirt domain, has a process. Who said that it does not stop may be gone with its module.</param>
    /// <param name="unusable">Why the configured options cannot be used; then <paramref name="options"/> are none, what runs is served, and no VM starts.</param>
    public HostFencing(
        FencingOptions options, string statusPath, Action<string?> starve, Func<string, bool> executes, Func<long> nowMs, string? unusable = null)
    {
        _options = options;
        _unusable = unusable;
        _statusPath = statusPath;
        _starve = starve;
        _executes = executes;
        _nowMs = nowMs;
        _agent = options.Agent is { } agent ? new FenceAgent(agent) : null;
        _escalation = new FenceEscalation(new FenceMeans(options.StopSeconds * 1000L, options.Watchdog?.TimeoutMs ?? 0, _agent is not null));
        _loop = options.IsConfigured ? Vital.Run("fencing", RunAsync) : Task.CompletedTask;
    }

    public void CannotStop(string domain, long sinceMs)
    {
        // What is tried again counts from its first time.
        if (_stuckMs.TryAdd(domain, sinceMs))
            Wake();
    }

    public void Stops(string domain)
    {
        if (_stuckMs.TryRemove(domain, out _))
            Wake();
    }

    public string? RefusesStart()
    {
        if (_unusable is not null)
            return $"How this host fences itself cannot be read, so it starts no VM. {_unusable}";
        if (_options.Watchdog is not { Required: true } watchdog)
            return null;
        return Status() switch
        {
            { State: not WatchdogState.Unusable } => null,
            { } status => $"The watchdog {watchdog.Device} cannot be used, and fencing.json requires it: {status.Reason}",
            null => $"The guard of this host does not hold the watchdog {watchdog.Device}, and fencing.json requires it.",
        };
    }

    /// <summary>What operators are told of it, for each module of this host.</summary>
    public ImmutableArray<ObservedProblem> Problems()
    {
        var problems = ImmutableArray.CreateBuilder<ObservedProblem>();
        if (_unusable is not null)
        {
            problems.Add(new ObservedProblem("fencing.unusable", "How this host fences itself cannot be read",
                "VMs that run go on; none starts on this host. If it cannot stop a VM, it does not end itself.",
                _unusable, "Mend the file until pollux-host fencing finds no fault. Then replace the process, which keeps its VMs: systemctl kill --signal=SIGUSR2 --kill-whom=main pollux-host"));
        }

        if (_options.Watchdog is { } watchdog)
            AddWatchdog(watchdog, problems);
        var stuck = _stuckMs.ToArray();
        if (stuck.Length == 0 || _nowMs() - stuck.Min(static one => one.Value) < ShownMs)
            return problems.ToImmutable();
        var domain = stuck.MinBy(static one => one.Value).Key;
        var next = _stage switch
        {
            FenceStage.Waiting or FenceStage.Idle when _options.IsConfigured => $"This host is fenced when that lasts for {_options.StopSeconds} s.",
            FenceStage.Starving => "The watchdog is no longer fed: this host is reset within seconds.",
            FenceStage.Asking => "The fence agent is asked to switch this host off.",
            FenceStage.Pausing => $"The fence agent was asked ({_agentSaid}), and this host runs on; it is asked again.",
            _ => "This host has nothing to fence itself with.",
        };
        problems.Add(new ObservedProblem("vm.unstoppable", "A VM was killed and does not end",
            "The VM's module cannot be served or started on this host; the others of this host end when it is fenced.",
            $"The process of {domain} waits for something in the kernel, most often a disk that does not answer. {next}",
            "Look at this host's kernel log and disks. If the host is not reset by itself: switch it off. docs/runbooks/host-will-not-stop-a-vm.md"));
        return problems.ToImmutable();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        _stop.Dispose();
        _wake.Dispose();
    }

    private void AddWatchdog(WatchdogOptions watchdog, ImmutableArray<ObservedProblem>.Builder problems)
    {
        var status = Status();
        if (status is null or { State: WatchdogState.Unusable })
        {
            problems.Add(new ObservedProblem("fencing.watchdog-unusable", "The watchdog cannot be used",
                watchdog.Required ? "VMs that run go on; none starts on this host." : "If this host hangs, nothing resets it.",
                status?.Reason ?? $"The guard of this host does not hold {watchdog.Device}: it was started before that was configured.",
                "Mend it, or change fencing.json. A guard takes a new fencing.json over when the host's service was stopped and started: pollux module swap first."));
        }
        else if (status.Device != watchdog.Device || status.State != WatchdogState.Off && status.TimeoutMs > watchdog.TimeoutMs)
        {
            problems.Add(new ObservedProblem("fencing.watchdog-other", "The guard uses another watchdog than the one configured", "None.",
                $"The guard holds {status.Device} with {status.TimeoutMs / 1000} s; fencing.json names {watchdog.Device} with {watchdog.TimeoutSeconds} s.",
                "Stop and start the host's service when its modules are elsewhere: pollux module swap first."));
        }

        if (status is { State: WatchdogState.Unfed })
        {
            problems.Add(new ObservedProblem("fencing.watchdog-unfed", "The watchdog is not fed",
                $"This host is reset within {status.TimeoutMs / 1000} s if that does not clear.", status.Reason, "None if it clears: it does when the lease is renewed or the VM is paused."));
        }

        if (status is { LateMs: > 0 })
        {
            problems.Add(new ObservedProblem("fencing.watchdog-late", "The watchdog's timeout is long for the detection time",
                $"If this host and its guard hang, its VMs may execute up to {status.LateMs / 1000} s longer than their leases. No write of theirs is acknowledged then.",
                $"{status.TimeoutMs / 1000} s do not fit into the lease of a module, which is half of its detection time.",
                "Choose a shorter timeoutSeconds in fencing.json (a third of the detection time), or a longer detection time of the cluster."));
        }
    }

    private WatchdogStatus? Status() => WatchdogStatus.Read(_statusPath);

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            await StepAsync().ConfigureAwait(false);
            await _wake.WaitAsync(_stuckMs.IsEmpty ? Timeout.Infinite : LookMs, _stop.Token)
                .ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default).ConfigureAwait(false);
        }
    }

    private async Task StepAsync()
    {
        FenceOutcome? ended = null;
        if (_call is { IsCompleted: true } call)
        {
            var answer = await call.ConfigureAwait(false);
            (_call, ended, _agentSaid) = (null, answer.Outcome, $"{Word(answer.Outcome)}: {answer.Text}");
            HostLog.Error("fencing", "the fence agent has ended and this host runs on", ("outcome", answer.Outcome), ("text", answer.Text));
        }

        foreach (var (domain, _) in _stuckMs)
        {
            if (!_executes(domain))
                _stuckMs.TryRemove(domain, out _);
        }

        var stuck = _stuckMs.ToArray();
        var asks = _escalation.Step(_nowMs(), stuck.Length > 0 ? stuck.Min(static one => one.Value) : null, ended);
        if (_stage != _escalation.Stage)
            HostLog.Warn("fencing", "stage", ("stage", _escalation.Stage), ("vms", string.Join(", ", stuck.Select(static one => one.Key))));
        _stage = _escalation.Stage;
        // A guard that holds no watchdog is of a time before fencing.json and would not understand.
        if (_starving != _escalation.Starves && Status() is not null)
        {
            _starving = _escalation.Starves;
            _starve(_starving ? $"{string.Join(", ", stuck.Select(static one => one.Key))} was killed and does not end" : null);
        }

        if (!asks || _call is not null)
            return;
        HostLog.Error("fencing", "this host switches itself off", ("agent", _options.Agent!.Program), ("action", _options.Agent.Action));
        _call = _agent!.FenceAsync(CancellationToken.None);
        _ = _call.ContinueWith(_ => Wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    private static string Word(FenceOutcome outcome) => outcome switch
    {
        FenceOutcome.Done => "it says that it is done",
        FenceOutcome.Refused => "it failed",
        _ => "its outcome is unknown",
    };

    private void Wake()
    {
        lock (_wake)
        {
            if (_wake.CurrentCount == 0 && !_stop.IsCancellationRequested)
                _wake.Release();
        }
    }
}
