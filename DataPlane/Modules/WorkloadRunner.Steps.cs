using System.Diagnostics;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>What is done for each wish. Each step returns the milliseconds to the next one.</summary>
internal sealed partial class WorkloadRunner
{
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
        }

        string? failure = null;
        try
        {
            if (await ClearAsync(_hypervisor, _domain, ClearPatience, cancel).ConfigureAwait(false))
                HostLog.Warn("hypervisor", "ended a leftover of the VM before its start", ("domain", _domain));
            await FormerProcessEndsAsync(cancel).ConfigureAwait(false);
            // A stop that was taken back after the kill: what was killed has ended.
            _killedMs = null;
            Fencing.Stops(_domain);
            // Not before: what is left of the VM's former process is no start that may yet come to something.
            SetPhase(GuardedPhase.Starting);
            var definition = DomainDefinition.Complete(await _definition(cancel).ConfigureAwait(false), _domain, _module);
            failure = await MayNotStartAsync(cancel).ConfigureAwait(false)
                ?? Failure("define", await SpanAsync("define", () => _hypervisor.DefineAsync(_domain, definition, cancel)).ConfigureAwait(false))
                ?? (HoldsLease() ? null : "The lease ended before the start.")
                ?? Failure("start", await SpanAsync("start", () => _hypervisor.StartAsync(_domain, cancel)).ConfigureAwait(false));
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

    /// <summary>A guard that was started just now has no watchdog yet.</summary>
    private async Task<string?> MayNotStartAsync(CancellationToken cancel)
    {
        for (var waitedMs = 0; Fencing.RefusesStart() is { } refusal; waitedMs += ActingMs)
        {
            if (waitedMs >= FencingReadyMsMax)
                return refusal;
            await Task.Delay(ActingMs, cancel).ConfigureAwait(false);
        }

        return null;
    }

    /// <summary>As long as a guard may take until it listens (GuardClient), milliseconds.</summary>
    private const int FencingReadyMsMax = 10_000;

    /// <summary>A killed process has no memory and executes nothing, but it ends only when its I/O does, and that may be held until the arbiter
    /// answers. The hypervisor starts the domain anew only after that; it is no failure of the VM.</summary>
    private async Task FormerProcessEndsAsync(CancellationToken cancel)
    {
        try
        {
            while (await _hypervisor.LookAsync(_domain, cancel).ConfigureAwait(false) is { State: DomainState.Running or DomainState.Paused } status
                && _hypervisor.EmulatorPid(_domain) is null)
            {
                if (_waiting is null)
                {
                    HostLog.Warn("hypervisor", "the VM's former process has not ended yet", ("domain", _domain), ("state", status.State));
                    _waiting = "The VM's former process was killed, and waits for its I/O to end.";
                }

                await Task.Delay(ActingMs, cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            _waiting = null;
        }
    }

    /// <summary>Until it is certain that the domain does not execute.</summary>
    private async Task<int> StopAsync(long beforeMs)
    {
        if (_hypervisor.EmulatorPid(_domain) is null && await CertainlyOffAsync().ConfigureAwait(false))
        {
            lock (_gate)
                _stopBeforeMs = null;

            Off();
            _report(new RoleInput.WorkloadStopped(Commanded: true, "stopped"));
            return 0;
        }

        GuardedPhase? phase;
        bool pause;
        lock (_gate)
            (phase, pause) = (_phase, _pauseWished);
        if (_nowMs() >= beforeMs || phase == GuardedPhase.Paused || await CannotObeyAsync().ConfigureAwait(false))
        {
            // One that the guard has halted does not hear the hypervisor.
            if (_hypervisor.IsHalted(_domain))
                _hypervisor.KillEmulator(_domain);
            await SpanAsync("destroy", () => _hypervisor.DestroyAsync(_domain, _stop.Token)).ConfigureAwait(false);
            if (_hypervisor.EmulatorPid(_domain) is not null)
                _hypervisor.KillEmulator(_domain);
            AwaitEndOfKilled();
        }
        else if (pause)
        {
            return await PauseAsync().ConfigureAwait(false);
        }
        else if (_nowMs() - _askedMs >= AskAgainMs)
        {
            _askedMs = _nowMs();
            var asked = await SpanAsync("shutdown", () => _hypervisor.ShutDownAsync(_domain, _stop.Token)).ConfigureAwait(false);
            if (asked.Outcome != CallOutcome.Done)
                HostLog.Warn("hypervisor", "the guest could not be asked to shut down", ("domain", _domain), ("reason", asked.Text));
        }

        return ActingMs;
    }

    /// <summary>After kill comes only the end of the host. A process that waits for I/O that this host holds is no case for that.</summary>
    private void AwaitEndOfKilled()
    {
        if (IoIsHeld())
        {
            _killedMs = null;
            Fencing.Stops(_domain);
            return;
        }

        _killedMs ??= _nowMs();
        Fencing.CannotStop(_domain, _killedMs.Value);
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
        await SpanAsync("destroy", () => _hypervisor.DestroyAsync(_domain, _stop.Token)).ConfigureAwait(false);
        return false;
    }

    private async Task EndedByItselfAsync()
    {
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        for (var waitedMs = 0; status.State is DomainState.Running or DomainState.Paused && waitedMs < SettlingMs; waitedMs += ActingMs)
        {
            await Task.Delay(ActingMs, _stop.Token).ConfigureAwait(false);
            status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        }

        Off();
        var reason = status.State switch
        {
            DomainState.Unknown => "its process is gone; the hypervisor does not say why",
            DomainState.Running or DomainState.Paused => "its process was killed",
            _ => $"{status.State}: {status.Reason}",
        };
        HostLog.Warn("hypervisor", "the VM ended by itself", ("domain", _domain), ("reason", reason));
        _report(new RoleInput.WorkloadStopped(Commanded: false, $"The VM ended ({reason}).", Clean: status is { State: DomainState.Stopped, Reason: "shutdown" }));
    }

    /// <summary>QEMU stops the processors at once and then waits for its I/O, which is held while there is no lease. So the end of the call
    /// is not waited for: what counts is that the domain is seen to be paused, before the guard's patience ends. After that the guard has
    /// halted it: nothing is seen, and the call goes on when the guard lets the domain go on.</summary>
    private async Task<int> PauseAsync()
    {
        long askedMs;
        lock (_gate)
            askedMs = _pauseAskedMs;
        _pauseOpen = true;
        _suspending ??= SpanAsync("suspend", () => _hypervisor.SuspendAsync(_domain, _stop.Token));
        var ended = _suspending.IsCompleted;
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        if (StaysPaused(status))
        {
            SetPhase(GuardedPhase.Paused);
            return WatchingMs;
        }

        if (_hypervisor.IsHalted(_domain))
        {
            _state = "paused";
            return WatchingMs;
        }

        if (ended)
        {
            HostLog.Warn("hypervisor", "the VM is not paused yet", ("domain", _domain), ("reason", (await _suspending.ConfigureAwait(false)).Text));
            _suspending = null;
            return ActingMs;
        }

        return _nowMs() - askedMs < 2 * _guardGraceMs ? PausingMs : ActingMs;
    }

    /// <summary>Rule S8: not without a lease, which may have ended while this process was stopped or waited for the hypervisor.</summary>
    /// <param name="toStop">So that the guest can shut down: a stop does not prevent it.</param>
    private async Task<int> ResumeAsync(bool toStop = false)
    {
        // The I/O goes on, so the call that suspended ends soon; a resume must not overtake it.
        if (_suspending is { IsCompleted: false })
        {
            await Task.WhenAny(_suspending, Task.Delay(ActingMs, _stop.Token)).ConfigureAwait(false);
            return 0;
        }

        if (!HoldsLease())
            return ActingMs;
        // What somebody paused before the lease ended stays paused when there is one again.
        if (_pauseOpen && _hold is { IsIoError: false })
        {
            (_pauseOpen, _suspending) = (false, null);
            SetPhase(GuardedPhase.Running);
            return 0;
        }

        CancellationToken cancel;
        lock (_gate)
        {
            if (_pauseWished || (_stopBeforeMs is not null && !toStop))
                return 0;
            _resuming = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
            cancel = _resuming.Token;
        }

        // From here on it may execute, until it is seen to be paused again.
        _suspending = null;
        SetPhase(GuardedPhase.Running);
        var answer = await SpanAsync("resume", () => _hypervisor.ResumeAsync(_domain, cancel)).ConfigureAwait(false);
        lock (_gate)
        {
            _resuming?.Dispose();
            _resuming = null;
        }

        if (answer.Outcome == CallOutcome.Done
            || await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false) is { State: DomainState.Running })
        {
            _pauseOpen = false;
            return WatchingMs;
        }

        // Refused or without an answer it may still go on later (S11): it is tried again, and the guard watches it as one that executes.
        HostLog.Warn("hypervisor", "the VM is not resumed yet", ("domain", _domain), ("reason", answer.Text));
        return ActingMs;
    }

    /// <summary>Somebody else can resume a paused domain: the guard must know that it executes, and it is paused again.</summary>
    private async Task<int> WentOnByItselfAsync()
    {
        if (!_happened)
            return WatchingMs;
        _happened = false;
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        if (status.State is not (DomainState.Running or DomainState.Paused) || StaysPaused(status))
            return WatchingMs;
        HostLog.Warn("hypervisor", "the paused VM was resumed by somebody else", ("domain", _domain));
        EndHold("The VM was resumed by somebody else.");
        if (_suspending is { IsCompleted: true })
            _suspending = null;
        SetPhase(GuardedPhase.Running);
        return 0;
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
        var until = _leaseUntilMs switch
        {
            0 => 0, // Given up: nothing of it is kept.
            >= long.MaxValue / 2 => long.MaxValue,
            _ => _leaseUntilMs + _guardGraceMs,
        };
        _guard.Lease(new GuardedDomain(_domain, until, phase));
    }

    private void Off()
    {
        _killedMs = null;
        Fencing.Stops(_domain);
        lock (_gate)
        {
            _phase = null;
            // What is gone needs no pause, and the next start must not be met by it.
            _pauseWished = _pauseOpen = false;
            _suspending = null;
            (_hold, _lastTry) = (null, false);
            _state = "stopped";
            _guard.Forget(_domain);
        }
    }

    /// <summary>One call to the hypervisor, as a span of the trace that wanted it.</summary>
    private async Task<HypervisorAnswer> SpanAsync(string name, Func<Task<HypervisorAnswer>> call)
    {
        using var span = Spans.StartActivity(name, ActivityKind.Client, _traceParent);
        span?.SetTag("pollux.module", _module);
        span?.SetTag("pollux.domain", _domain);
        var answer = await call().ConfigureAwait(false);
        if (answer.Outcome != CallOutcome.Done)
            span?.SetStatus(ActivityStatusCode.Error, $"{answer.Outcome}: {answer.Text}");
        return answer;
    }

    private static string? Failure(string what, HypervisorAnswer answer) => answer.Outcome switch
    {
        CallOutcome.Done => null,
        CallOutcome.Refused => $"The hypervisor refused to {what} the VM: {answer.Text}",
        _ => $"The hypervisor did not answer to {what}: {answer.Text}",
    };
}
