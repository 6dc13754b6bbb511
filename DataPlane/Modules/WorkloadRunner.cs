using System.Diagnostics;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>Runs the VM of one module as the role machine wants it.</summary>
/// <remarks>
/// Level-triggered: wishes are kept as levels, and one loop brings the domain towards them, looking instead of assuming. The loop wakes by
/// a wish, by an event of the hypervisor, and by itself. Whether a domain executes is read from the process table; the hypervisor's daemon
/// is asked for reasons. The guard is told before a start and after each change, so that it never lets a domain execute longer than its
/// lease: one that the hypervisor does not pause in time it halts, and lets go on with the next lease.
/// No call is waited for longer than the wish holds: a stop gives up a start or a resume that is under way, a pause a resume.
/// Files: this one has the wishes and the loop, .Steps what is done for them, .Holds what becomes of a VM that others have paused.
/// </remarks>
internal sealed partial class WorkloadRunner : IAsyncDisposable
{
    private static readonly ActivitySource Spans = new("Pollux.Hypervisor");

    /// <summary>Interval of looks while something is to be done, and while nothing is, milliseconds.</summary>
    private const int ActingMs = 100;
    private const int WatchingMs = 500;

    /// <summary>Interval of looks while a pause is under way and the guard still waits for it, milliseconds: a small part of its shortest
    /// grace (250 ms).</summary>
    private const int PausingMs = 20;

    /// <summary>The hypervisor learns of the end of a process a little later than the process table; only it knows whether the guest shut
    /// itself down. Milliseconds.</summary>
    private const int SettlingMs = 1_000;

    /// <summary>A guest that has not reacted is asked again after this.</summary>
    private const long AskAgainMs = 10_000;

    /// <summary>Two destroys with their deadlines.</summary>
    internal static readonly TimeSpan ClearPatience = TimeSpan.FromSeconds(10);

    /// <summary>A pause that an earlier process has asked for may come so late, milliseconds: its call to the hypervisor goes on without it.</summary>
    private const long EarlierPauseMsMax = 5_000;

    private readonly string _module;
    private readonly string _domain;
    private readonly IHypervisor _hypervisor;
    private readonly IGuard _guard;
    private readonly long _guardGraceMs;
    private readonly Func<CancellationToken, Task<string>> _definition;
    private readonly Action<RoleInput> _report;
    private readonly Action<string, string> _noted;
    private readonly Func<long> _nowMs;
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _wake = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;

    // Wishes, under the gate.
    private bool _startWished;
    private long? _stopBeforeMs;
    private bool _pauseWished;
    private long _pauseAskedMs;
    private long _leaseUntilMs;
    private GuardedPhase? _phase;
    private CancellationTokenSource? _starting;
    private CancellationTokenSource? _resuming;

    // The loop's own.
    private long _askedMs;

    /// <summary>A pause was asked of the hypervisor, which may do it at any time until a resume is seen to be done.</summary>
    private bool _pauseOpen;
    private long? _killedMs;
    private readonly long _earlierPauseUntilMs;

    /// <summary>The present call for a pause; it lasts until the domain's I/O has ended.</summary>
    private Task<HypervisorAnswer>? _suspending;
    private volatile bool _happened;
    private volatile string _state = "stopped";
    private volatile string? _waiting;
    private volatile string? _traceParent;

    /// <param name="guardGraceMs">Time after the end of a lease in which this runner pauses the VM, before the guard halts it.</param>
    /// <param name="noted">Takes what operators are to read later and the role machine has no use for: a stable dotted kind and a sentence.</param>
    /// <param name="kept">The domain as an earlier process has left it: it goes on with the lease that it has.</param>
    public WorkloadRunner(
        string module, string domain, IHypervisor hypervisor, IGuard guard, long guardGraceMs,
        Func<CancellationToken, Task<string>> definition, Action<RoleInput> report, Action<string, string> noted, Func<long> nowMs,
        GuardedDomain? kept = null)
    {
        _module = module;
        _domain = domain;
        _hypervisor = hypervisor;
        _guard = guard;
        _guardGraceMs = guardGraceMs;
        _definition = definition;
        _report = report;
        _noted = noted;
        _nowMs = nowMs;
        if (kept is { } left)
        {
            _leaseUntilMs = left.UntilMs == long.MaxValue ? long.MaxValue : left.UntilMs - guardGraceMs;
            // The earlier process may have asked for a pause.
            _pauseOpen = true;
            _earlierPauseUntilMs = nowMs() + EarlierPauseMsMax;
            SetPhase(left.Phase);
        }

        _hypervisor.Changed += OnChanged;
        _loop = Vital.Run("VM of " + module, RunAsync);
    }

    /// <summary>Told of a VM that was killed and does not go.</summary>
    public IHostFencing Fencing { get; init; } = NoFencing.Instance;

    /// <summary>This host holds I/O of the VM: a killed process waits for it rightly.</summary>
    public Func<bool> IoIsHeld { get; init; } = static () => false;

    /// <summary><c>running</c>, <c>paused</c>, <c>stopped</c> or <c>unknown</c>.</summary>
    public string State => _hold is null ? _state : "paused";

    /// <summary>For people: what the next step of the VM waits for, or null.</summary>
    public string? Waiting => _waiting ?? (_hold is { IsIoError: true } hold ? $"{hold.Text} It is resumed again and again ({hold.Tries} times so far)." : null);

    /// <summary>W3C parent of the spans of what is done from now on; null: none.</summary>
    public string? TraceParent
    {
        set => _traceParent = value;
    }

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
            _starting?.Cancel();
            _resuming?.Cancel();
        }

        Wake();
    }

    public void Pause()
    {
        lock (_gate)
        {
            if (!_pauseWished)
                _pauseAskedMs = _nowMs();
            _pauseWished = true;
            _resuming?.Cancel();
        }

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
                var waitMs = await StepAsync().ConfigureAwait(false);
                await _wake.WaitAsync(waitMs, _stop.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The module goes; its VM was stopped before, or the guard ends it.
        }
    }

    /// <returns>Milliseconds to the next step, if nothing happens before.</returns>
    private async Task<int> StepAsync()
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
            return ActingMs;
        }

        // A start that failed stays known to the guard until the machine's stop has made certain that nothing comes of it.
        if (phase is null or GuardedPhase.Starting)
            return phase is null ? Timeout.Infinite : WatchingMs;
        if (_hypervisor.EmulatorPid(_domain) is null)
        {
            await EndedByItselfAsync().ConfigureAwait(false);
            return 0;
        }

        if (pause && phase != GuardedPhase.Paused)
            return await PauseAsync().ConfigureAwait(false);
        if (!pause && (_pauseOpen || phase == GuardedPhase.Paused))
            return await ResumeAsync().ConfigureAwait(false);
        return await (phase == GuardedPhase.Paused ? WentOnByItselfAsync() : WatchAsync()).ConfigureAwait(false);
    }
}
