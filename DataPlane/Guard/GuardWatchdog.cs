using Pollux.DataPlane.Core.Fencing;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Guard;

/// <summary>The guard's watchdog: what <see cref="WatchdogRule"/> decides, done to the device by the very loop that halts and kills VMs. A guard
/// that does not turn does not feed.</summary>
/// <remarks>Owned by the guard's stepping thread. A device that cannot be had is tried again; the data plane reads that from the status.</remarks>
/// <param name="statusPath">Where <see cref="WatchdogStatus"/> is written at each change.</param>
public sealed class GuardWatchdog(WatchdogOptions options, string statusPath) : IDisposable
{
    /// <summary>Interval of tries to get the device, milliseconds.</summary>
    private const long OpenAgainMs = 5_000;

    private readonly Dictionary<string, long> _leaseMs = [];
    private IWatchdogDevice? _device;
    private WatchdogStatus? _status;
    private bool _told;
    private bool _untoldLogged;
    private long _openAtMs = long.MinValue;
    private long _feedAtMs = long.MinValue;
    private bool _armed;

    /// <summary>To be called in each turn of the guard.</summary>
    /// <param name="silentMs">As <see cref="WatchdogRule.Decide"/>.</param>
    /// <param name="fenced">As <see cref="WatchdogRule.Decide"/>.</param>
    /// <returns>Milliseconds to the next turn at most.</returns>
    public long Turn(long nowMs, IReadOnlyList<GuardedDomain> domains, long? silentMs, string? fenced)
    {
        if (_device is null && !TryOpen(nowMs))
            return OpenAgainMs;
        var verdict = WatchdogRule.Decide(nowMs, _device!.TimeoutMs, Watch(nowMs, domains), silentMs, fenced);
        try
        {
            Obey(nowMs, verdict);
        }
        catch (IOException e)
        {
            // It may count or not: the same is tried with the next turn, and a device that counts resets the host if it fails too often.
            Show(WatchdogState.Unusable, verdict.LateMs, e.Message);
            return WatchdogRule.FeedEveryMs(_device.TimeoutMs);
        }

        Show(!verdict.Armed ? WatchdogState.Off : verdict.Feed ? WatchdogState.Armed : WatchdogState.Unfed, verdict.LateMs, verdict.Reason ?? "");
        return WatchdogRule.FeedEveryMs(_device.TimeoutMs) / 2;
    }

    /// <summary>The end in order: nothing is left to be watched.</summary>
    public void Dispose()
    {
        _device?.Dispose();
        if (File.Exists(statusPath))
            File.Delete(statusPath);
    }

    private void Obey(long nowMs, WatchdogVerdict verdict)
    {
        if (!verdict.Armed)
        {
            if (_armed)
                _device!.Disarm();
            _armed = false;
            return;
        }

        if (!_armed)
        {
            _device!.Arm();
            (_armed, _feedAtMs) = (true, nowMs + WatchdogRule.FeedEveryMs(_device.TimeoutMs));
        }
        else if (verdict.Feed && nowMs >= _feedAtMs)
        {
            _device!.Feed();
            _feedAtMs = nowMs + WatchdogRule.FeedEveryMs(_device.TimeoutMs);
        }
    }

    private List<WatchedDomain> Watch(long nowMs, IReadOnlyList<GuardedDomain> domains)
    {
        var watched = new List<WatchedDomain>(domains.Count);
        foreach (var domain in domains)
        {
            if (domain.UntilMs != long.MaxValue && domain.UntilMs - nowMs > _leaseMs.GetValueOrDefault(domain.Domain))
                _leaseMs[domain.Domain] = domain.UntilMs - nowMs;
            var one = new WatchedDomain(domain.Domain, domain.UntilMs, _leaseMs.GetValueOrDefault(domain.Domain), domain.Phase == GuardedPhase.Paused);
            // The process table is asked only about those that a feeding depends on: a look costs milliseconds.
            if (!one.AtRest && !WatchdogRule.MayExecute(nowMs, _device!.TimeoutMs, one))
                one = one with { AtRest = EmulatorProcess.IsAtRest(domain.Domain) };
            watched.Add(one);
        }

        if (_leaseMs.Count > domains.Count)
        {
            foreach (var gone in _leaseMs.Keys.Except(domains.Select(static domain => domain.Domain)).ToArray())
                _leaseMs.Remove(gone);
        }

        return watched;
    }

    private bool TryOpen(long nowMs)
    {
        if (nowMs < _openAtMs)
            return false;
        try
        {
            _device = options.Open();
            HostLog.Info("guard", "holds the watchdog", ("device", options.Device), ("timeoutMs", _device.TimeoutMs));
            return true;
        }
        catch (Exception e) when (e is WatchdogException or IOException)
        {
            _openAtMs = nowMs + OpenAgainMs;
            Show(WatchdogState.Unusable, 0, e.Message);
            return false;
        }
    }

    private void Show(WatchdogState state, long lateMs, string reason)
    {
        // How long a silence lasts changes with every turn; the state and the kind of reason do not.
        if (_status is { } shown && shown.State == state && shown.LateMs == lateMs && (state is WatchdogState.Unfed || shown.Reason == reason))
        {
            Tell(shown);
            return;
        }

        var status = new WatchdogStatus(Environment.ProcessId, state, options.Device, _device?.TimeoutMs ?? options.TimeoutMs, lateMs, reason);
        if (state is WatchdogState.Unfed or WatchdogState.Unusable)
            HostLog.Error("guard", state is WatchdogState.Unfed ? "the watchdog is not fed" : "the watchdog cannot be used", ("device", options.Device), ("reason", reason));
        else if (_status is { State: WatchdogState.Unfed or WatchdogState.Unusable })
            HostLog.Warn("guard", "the watchdog is fed again", ("device", options.Device));
        (_status, _told) = (status, false);
        Tell(status);
    }

    /// <summary>What could not be written is written with the next turn that can.</summary>
    private void Tell(WatchdogStatus status)
    {
        if (_told)
            return;
        try
        {
            status.Write(statusPath);
            (_told, _untoldLogged) = (true, false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (_untoldLogged)
                return;
            _untoldLogged = true;
            HostLog.Warn("guard", "the watchdog's status cannot be written", ("path", statusPath), ("reason", e.Message));
        }
    }
}
