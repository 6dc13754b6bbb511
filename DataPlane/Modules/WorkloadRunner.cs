using System.Diagnostics;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>Runs the VM of one module as the role machine wants it.</summary>
/// <remarks>
/// Level-triggered: wishes are kept as levels, and one loop brings the domain towards them, looking instead of assuming. The loop wakes by
/// a wish, by an event of the hypervisor, and by itself. Whether a domain executes is read from the process table; the hypervisor's daemon
/// is asked for reasons. The guard is told before a start and after each change, so that it never lets a domain execute longer than its
/// lease.
/// </remarks>
internal sealed class WorkloadRunner : IAsyncDisposable
{
    /// <summary>Interval of looks while something is to be done, and while nothing is, milliseconds.</summary>
    private const int ActingMs = 100;
    private const int WatchingMs = 500;

    /// <summary>Interval of looks while a pause is under way, milliseconds: a small part of the guard's shortest grace (250 ms).</summary>
    private const int PausingMs = 20;

    /// <summary>A guest that has not reacted is asked again after this.</summary>
    private const long AskAgainMs = 10_000;

    /// <summary>Two destroys with their deadlines.</summary>
    internal static readonly TimeSpan ClearPatience = TimeSpan.FromSeconds(10);

    private readonly string _module;
    private readonly string _domain;
    private readonly IHypervisor _hypervisor;
    private readonly IGuard _guard;
    private readonly long _guardGraceMs;
    private readonly Func<CancellationToken, Task<string>> _definition;
    private readonly Action<RoleInput> _report;
    private readonly Func<long> _nowMs;
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;

    // Wishes, under the gate.
    private bool _startWished;
    private long? _stopBeforeMs;
    private bool _pauseWished;
    private long _leaseUntilMs;
    private GuardedPhase? _phase;
    private CancellationTokenSource? _starting;

    // The loop's own.
    private long _askedMs;
    private Task _suspending = Task.CompletedTask;

    /// <summary>A resume was asked whose outcome is unknown: for the guard the domain executes until it is seen paused again.</summary>
    private bool _resumeOpen;
    private volatile bool _happened;
    private volatile string _state = "stopped";

    /// <param name="guardGraceMs">Time after the end of a lease in which this runner pauses the VM, before the guard kills it.</param>
    public WorkloadRunner(
        string module, string domain, IHypervisor hypervisor, IGuard guard, long guardGraceMs,
        Func<CancellationToken, Task<string>> definition, Action<RoleInput> report, Func<long> nowMs)
    {
        _module = module;
        _domain = domain;
        _hypervisor = hypervisor;
        _guard = guard;
        _guardGraceMs = guardGraceMs;
        _definition = definition;
        _report = report;
        _nowMs = nowMs;
        _hypervisor.Changed += OnChanged;
        _loop = Vital.Run("VM of " + module, RunAsync);
    }

    /// <summary><c>running</c>, <c>paused</c>, <c>stopped</c> or <c>unknown</c>.</summary>
    public string State => _state;

    public void Start()
    {
        lock (_gate)
        {
            _startWished = true;
            _stopBeforeMs = null;
        }

        Wake();
    }

    /// <summary>Graceful until <paramref name="graceMs"/> have passed, hard then.</summary>
    public void Stop(long graceMs)
    {
        lock (_gate)
        {
            _startWished = false;
            _stopBeforeMs = _nowMs() + graceMs;
            _askedMs = long.MinValue / 2;
            // A start that is under way is not waited for.
            _starting?.Cancel();
        }

        Wake();
    }

    public void Pause()
    {
        lock (_gate)
            _pauseWished = true;
        Wake();
    }

    public void Resume()
    {
        lock (_gate)
            _pauseWished = false;
        Wake();
    }

    /// <param name="untilMs">As <see cref="RoleEffect.ExtendLease"/>.</param>
    public void Lease(long untilMs)
    {
        lock (_gate)
        {
            _leaseUntilMs = untilMs;
            if (_phase is { } phase)
                TellGuard(phase);
        }
    }

    /// <summary>Ends the watch; does not touch the domain.</summary>
    public async ValueTask DisposeAsync()
    {
        _hypervisor.Changed -= OnChanged;
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        _stop.Dispose();
        _wake.Dispose();
    }

    /// <summary>Makes certain that the domain does not execute on this host: for what an earlier process may have left.</summary>
    /// <param name="patience">A killed process may wait for its disks still; after this the caller shows that and tries again.</param>
    /// <exception cref="IOException">It is still there.</exception>
    public static async Task<bool> ClearAsync(IHypervisor hypervisor, string domain, TimeSpan patience, CancellationToken cancel)
    {
        var cleared = false;
        var begun = Stopwatch.GetTimestamp();
        while (hypervisor.EmulatorPid(domain) is { } pid)
        {
            if (cleared && Stopwatch.GetElapsedTime(begun) >= patience)
                throw new IOException($"Process {pid}, which executes the VM {domain}, was killed and does not end.");
            cleared = true;
            await hypervisor.DestroyAsync(domain, cancel).ConfigureAwait(false);
            if (hypervisor.EmulatorPid(domain) is null)
                break;
            hypervisor.KillEmulator(domain);
            await Task.Delay(ActingMs, cancel).ConfigureAwait(false);
        }

        return cleared;
    }

    private void OnChanged(string domain)
    {
        if (domain != _domain)
            return;
        _happened = true;
        Wake();
    }

    private void Wake()
    {
        lock (_gate)
        {
            if (_wake.CurrentCount == 0 && !_stop.IsCancellationRequested)
                _wake.Release();
        }
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                var acting = await StepAsync().ConfigureAwait(false);
                bool idle;
                lock (_gate)
                    idle = !acting && _phase is null && !_startWished && _stopBeforeMs is null;
                await _wake.WaitAsync(acting ? ActingMs : idle ? Timeout.Infinite : WatchingMs, _stop.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The module goes; its VM was stopped before, or the guard ends it.
        }
    }

    /// <returns>True if it has to be gone on soon.</returns>
    private async Task<bool> StepAsync()
    {
        bool start, pause;
        long? stopBefore;
        GuardedPhase? phase;
        lock (_gate)
            (start, stopBefore, pause, phase) = (_startWished, _stopBeforeMs, _pauseWished, _phase);

        if (stopBefore is { } before)
            return await StopAsync(before).ConfigureAwait(false);
        if (start)
        {
            await StartAsync().ConfigureAwait(false);
            return true;
        }

        // A start that failed stays known to the guard until the machine's stop has made certain that nothing comes of it.
        if (phase is null or GuardedPhase.Starting)
            return false;
        if (_hypervisor.EmulatorPid(_domain) is null)
        {
            await EndedByItselfAsync().ConfigureAwait(false);
            return false;
        }

        if (pause && phase != GuardedPhase.Paused)
            return !await PauseAsync().ConfigureAwait(false);
        if (!pause && (phase == GuardedPhase.Paused || _resumeOpen))
            return !await ResumeAsync().ConfigureAwait(false);
        return phase == GuardedPhase.Paused && await WentOnByItselfAsync().ConfigureAwait(false);
    }

    private async Task StartAsync()
    {
        CancellationToken cancel;
        bool runs;
        lock (_gate)
            (_startWished, runs) = (false, _phase is GuardedPhase.Running);
        if (runs && _hypervisor.EmulatorPid(_domain) is not null)
        {
            // A stop was taken back before the guest obeyed it.
            _report(new RoleInput.WorkloadStarted());
            return;
        }

        lock (_gate)
        {
            if (_stopBeforeMs is not null)
                return;
            _starting = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
            cancel = _starting.Token;
            SetPhase(GuardedPhase.Starting);
        }

        string? failure = null;
        try
        {
            if (await ClearAsync(_hypervisor, _domain, ClearPatience, cancel).ConfigureAwait(false))
                HostLog.Warn("hypervisor", "ended a leftover of the VM before its start", ("domain", _domain));
            var definition = DomainDefinition.Complete(await _definition(cancel).ConfigureAwait(false), _domain, _module);
            failure = Failure("define", await _hypervisor.DefineAsync(_domain, definition, cancel).ConfigureAwait(false))
                ?? (HoldsLease() ? null : "The lease ended before the start.")
                ?? Failure("start", await _hypervisor.StartAsync(_domain, cancel).ConfigureAwait(false));
        }
        catch (OperationCanceledException) when (!_stop.IsCancellationRequested)
        {
            failure = "The start was given up.";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException)
        {
            failure = $"The VM cannot be started: {e.Message}";
        }

        lock (_gate)
        {
            _starting?.Dispose();
            _starting = null;
            if (_stopBeforeMs is not null)
                return;
        }

        if (failure is null || _hypervisor.EmulatorPid(_domain) is not null)
        {
            SetPhase(GuardedPhase.Running);
            _report(new RoleInput.WorkloadStarted());
        }
        else
        {
            // Not forgotten by the guard: a start that timed out may yet begin to run. The machine's stop makes it certain.
            _report(new RoleInput.WorkloadFailed(failure));
        }
    }

    /// <returns>True until it is certain that the domain does not execute.</returns>
    private async Task<bool> StopAsync(long beforeMs)
    {
        if (_hypervisor.EmulatorPid(_domain) is null && await CertainlyOffAsync().ConfigureAwait(false))
        {
            lock (_gate)
                _stopBeforeMs = null;

            Off();
            _report(new RoleInput.WorkloadStopped(Commanded: true, "stopped"));
            return false;
        }

        GuardedPhase? phase;
        bool pause;
        lock (_gate)
            (phase, pause) = (_phase, _pauseWished);
        if (_nowMs() >= beforeMs || phase == GuardedPhase.Paused)
        {
            await _hypervisor.DestroyAsync(_domain, _stop.Token).ConfigureAwait(false);
            if (_hypervisor.EmulatorPid(_domain) is not null)
                _hypervisor.KillEmulator(_domain);
        }
        else if (pause)
        {
            await PauseAsync().ConfigureAwait(false);
        }
        else if (_nowMs() - _askedMs >= AskAgainMs)
        {
            _askedMs = _nowMs();
            var asked = await _hypervisor.ShutDownAsync(_domain, _stop.Token).ConfigureAwait(false);
            if (asked.Outcome != CallOutcome.Done)
                HostLog.Warn("hypervisor", "the guest could not be asked to shut down", ("domain", _domain), ("reason", asked.Text));
        }

        return true;
    }

    /// <summary>No process executes it now; a start that is under way in the hypervisor's daemon could still make one.</summary>
    private async Task<bool> CertainlyOffAsync()
    {
        GuardedPhase? phase;
        lock (_gate)
            phase = _phase;
        if (phase is not GuardedPhase.Starting)
            return true;
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        if (status.State is DomainState.Stopped or DomainState.Absent)
            return true;
        await _hypervisor.DestroyAsync(_domain, _stop.Token).ConfigureAwait(false);
        return false;
    }

    private async Task EndedByItselfAsync()
    {
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        Off();
        var reason = status.State == DomainState.Unknown ? "its process is gone; the hypervisor does not say why" : $"{status.State}: {status.Reason}";
        HostLog.Warn("hypervisor", "the VM ended by itself", ("domain", _domain), ("reason", reason));
        _report(new RoleInput.WorkloadStopped(Commanded: false, $"The VM ended ({reason}).", Clean: status.Reason == "shutdown"));
    }

    /// <summary>QEMU stops the processors at once and then waits for its I/O, which is held while there is no lease. So the end of the call
    /// is not waited for: what counts is that the domain is seen to be paused, before the guard's patience ends.</summary>
    private async Task<bool> PauseAsync()
    {
        var suspending = _hypervisor.SuspendAsync(_domain, _stop.Token);
        while (true)
        {
            var ended = suspending.IsCompleted;
            var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
            if (StaysPaused(status))
            {
                _suspending = suspending;
                _resumeOpen = false;
                SetPhase(GuardedPhase.Paused);
                return true;
            }

            if (ended)
            {
                HostLog.Warn("hypervisor", "the VM is not paused yet", ("domain", _domain), ("reason", (await suspending.ConfigureAwait(false)).Text));
                return false;
            }

            await Task.WhenAny(suspending, Task.Delay(PausingMs, _stop.Token)).ConfigureAwait(false);
        }
    }

    /// <summary>Rule S8: not without a lease, which may have ended while this process was stopped or waited for the hypervisor.</summary>
    private async Task<bool> ResumeAsync()
    {
        // The I/O goes on, so the call that suspended ends now; a resume must not overtake it.
        await _suspending.ConfigureAwait(false);
        if (!HoldsLease())
            return false;
        _resumeOpen = true;
        SetPhase(GuardedPhase.Running);
        var answer = await _hypervisor.ResumeAsync(_domain, _stop.Token).ConfigureAwait(false);
        if (answer.Outcome == CallOutcome.Done
            || await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false) is { State: DomainState.Running })
        {
            _resumeOpen = false;
            return true;
        }

        // Refused or without an answer it may still go on later (S11): it is tried again, and the guard watches it as one that executes.
        HostLog.Warn("hypervisor", "the VM is not resumed yet", ("domain", _domain), ("reason", answer.Text));
        return false;
    }

    /// <summary>Somebody else can resume a paused domain: the guard must know that it executes, and it is paused again.</summary>
    private async Task<bool> WentOnByItselfAsync()
    {
        if (!_happened)
            return false;
        _happened = false;
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        if (status.State is not (DomainState.Running or DomainState.Paused) || StaysPaused(status))
            return false;
        HostLog.Warn("hypervisor", "the paused VM was resumed by somebody else", ("domain", _domain));
        SetPhase(GuardedPhase.Running);
        return true;
    }

    /// <summary>libvirt itself lets a domain go on that it has paused for one of its own jobs (virsh domstate --reason).</summary>
    private static bool StaysPaused(DomainStatus status) => status.State == DomainState.Paused && status.Reason is not
        ("starting up" or "saving" or "dumping" or "migrating" or "from snapshot" or "creating snapshot" or "shutting down");

    private bool HoldsLease()
    {
        lock (_gate)
            return _nowMs() < _leaseUntilMs;
    }

    private void SetPhase(GuardedPhase phase)
    {
        lock (_gate)
        {
            _phase = phase;
            _state = phase switch { GuardedPhase.Paused => "paused", GuardedPhase.Running => "running", _ => "unknown" };
            TellGuard(phase);
        }
    }

    private void TellGuard(GuardedPhase phase)
    {
        var until = _leaseUntilMs >= long.MaxValue - _guardGraceMs ? long.MaxValue : _leaseUntilMs + _guardGraceMs;
        _guard.Lease(new GuardedDomain(_domain, until, phase));
    }

    private void Off()
    {
        lock (_gate)
        {
            _phase = null;
            // What is gone needs no pause, and the next start must not be met by it.
            _pauseWished = _resumeOpen = false;
            _state = "stopped";
            _guard.Forget(_domain);
        }
    }

    private static string? Failure(string what, HypervisorAnswer answer) => answer.Outcome switch
    {
        CallOutcome.Done => null,
        CallOutcome.Refused => $"The hypervisor refused to {what} the VM: {answer.Text}",
        _ => $"The hypervisor did not answer to {what}: {answer.Text}",
    };
}
