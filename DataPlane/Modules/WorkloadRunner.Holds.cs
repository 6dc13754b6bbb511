using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>Pauses that the role machine did not want. QEMU pauses a VM whose disk finds no room (its default, <c>werror=enospc</c>): that is
/// no crash and ends nothing. It is shown, and resumed until there is room; never while the role machine wants a pause or without a lease.</summary>
internal sealed partial class WorkloadRunner
{
    /// <summary>Without an event the state of a running domain is asked for this often, milliseconds: events are hints and can be lost. A look
    /// costs some 20 ms of a processor.</summary>
    private const long LookMs = 30_000;

    /// <summary>A domain that has no room yet pauses again as soon as it is resumed, when QEMU repeats the write; one that executes after this
    /// time has found it. Milliseconds.</summary>
    private const long ProvenMs = 1_000;

    /// <summary>Pause before the first try to resume, doubled with each, and its limit, milliseconds. Each try costs a call and lets the guest
    /// execute for a moment; there is no last one, for room may be made the next morning.</summary>
    private const long TryAgainMs = 1_000;
    private const long TryAgainMaxMs = 10_000;

    // The loop's own, but for the hold itself, which others read.
    private volatile WorkloadHold? _hold;
    private long _lookAtMs;
    private long _tryAtMs;
    private bool _proving;
    private bool _lastTry;

    /// <summary>Null unless the domain is paused without Pollux wanting it.</summary>
    public WorkloadHold? Hold => _hold;

    /// <summary>The domain may execute: does it?</summary>
    private async Task<int> WatchAsync()
    {
        if (_hypervisor.IsHalted(_domain))
            return WatchingMs;
        var nowMs = _nowMs();
        // The events of a resume, and of the pause that may follow, say nothing before the time for both is over.
        if (nowMs < _lookAtMs && (_proving || !_happened))
            return await TryResumeAsync(nowMs).ConfigureAwait(false);
        _happened = _proving = _lastTry = false;
        _lookAtMs = nowMs + LookMs;
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        if (StaysPaused(status))
            await HoldAsync(status.Reason).ConfigureAwait(false);
        else if (status.State == DomainState.Running)
            EndHold("The VM goes on.");
        return await TryResumeAsync(_nowMs()).ConfigureAwait(false);
    }

    private async Task HoldAsync(string reason)
    {
        var nowMs = _nowMs();
        if (nowMs < _earlierPauseUntilMs)
        {
            _pauseOpen = true;
            return;
        }

        if (_hold is { } held && held.Reason == reason)
        {
            _tryAtMs = nowMs + Math.Min(TryAgainMs << Math.Min(held.Tries, 8), TryAgainMaxMs);
            return;
        }

        var hold = new WorkloadHold(reason, "", 0);
        if (hold.IsIoError)
            hold = hold with { DiskErrors = await _hypervisor.DiskErrorsAsync(_domain, _stop.Token).ConfigureAwait(false) ?? "" };
        _hold = hold;
        _tryAtMs = nowMs + TryAgainMs;
        HostLog.Warn("hypervisor", "the VM is paused, and not by Pollux", ("domain", _domain), ("reason", reason), ("disks", hold.DiskErrors));
        _noted("vm.held", hold.Text);
    }

    private void EndHold(string text)
    {
        if (_hold is null)
            return;
        _hold = null;
        _noted("vm.goes-on", text);
    }

    /// <returns>Milliseconds to the next step.</returns>
    private async Task<int> TryResumeAsync(long nowMs)
    {
        if (_hold is not { IsIoError: true } hold)
            return WatchingMs;
        if (_proving || nowMs < _tryAtMs || !HoldsLease())
            return ActingMs;
        _hold = hold with { Tries = hold.Tries + 1 };
        await ResumeAsync().ConfigureAwait(false);
        _lookAtMs = _nowMs() + ProvenMs;
        _proving = true;
        return ActingMs;
    }

    /// <summary>A guest that finds no room cannot shut down. It gets one more chance; one that has paused again is ended.</summary>
    private async Task<bool> CannotObeyAsync()
    {
        if (_hold is not { IsIoError: true } || _hypervisor.IsHalted(_domain))
            return false;
        if (!_lastTry)
        {
            _lastTry = true;
            await ResumeAsync(toStop: true).ConfigureAwait(false);
            _lookAtMs = _nowMs() + ProvenMs;
            return false;
        }

        if (_nowMs() < _lookAtMs)
            return false;
        _lookAtMs = _nowMs() + ProvenMs;
        var status = await _hypervisor.LookAsync(_domain, _stop.Token).ConfigureAwait(false);
        if (status.State == DomainState.Running)
            EndHold("The VM goes on.");
        return StaysPaused(status);
    }
}
