using System.Collections.Concurrent;
using System.Collections.Immutable;
using Pollux.DataPlane.Checkers;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>Runs the role machine of one module: feeds it, and does what it wants.</summary>
/// <remarks>
/// <code>
/// peer, arbiter, operator ─► InputQueue ─► one thread: RoleMachine.Step ─► effects, in order
///       ▲                                    │ at once: beacons, answers, questions, leases
///       │                                    ├─► StateSaver      SaveState                     ─► StateSaved
///       │                                    ├─► EngineLane      engine and mounts, in order   ─► Serving, FollowingStopped, Released, LocalFault
///       └── ends of all these ◄──────────────┴─► WorkloadRunner  VM                            ─► WorkloadStarted, WorkloadStopped, WorkloadFailed
/// </code>
/// The thread owns machine and traces; nothing on it blocks. Engine events come in by <see cref="IReplicationEvents"/>.
/// </remarks>
public sealed partial class ModuleRuntime : IReplicationEvents, IAsyncDisposable
{
    /// <summary>Interval of looks for the end of a stop, milliseconds: nobody waits for it but a deletion.</summary>
    private const int StoppedLookMs = 100;

    private readonly ModuleRuntimeOptions _options;
    private readonly InputQueue _inputs = new();

    /// <summary>Who waits for a mark in the queue; marks are told apart by identity.</summary>
    private readonly ConcurrentDictionary<RoleInput, TaskCompletionSource<LocalState>> _recalls = new(ReferenceEqualityComparer.Instance);
    private readonly RoleMachine _machine;
    private readonly RoleTraces _traces;
    private readonly ModuleHistory _history;
    private readonly StateSaver _saver;
    private readonly EngineLane _lane;
    private readonly WorkloadRunner? _workload;
    private readonly IReplicationEngine _engine;
    private readonly ModuleVerify _verify;
    private readonly ModuleCheckers _checkers;
    private readonly Thread _thread;
    private readonly TaskCompletionSource _workloadOff = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile RoleView _view;
    private readonly TaskCompletionSource _mayEnd = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _quiet = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _leaving;
    private ObservedVolume? _volume;

    /// <summary>What the VM's definition named outside the directories at its last start; null: nothing.</summary>
    private volatile string? _storageOutside;
    private bool _beaconOpen;

    /// <summary>The directory is open and covered, and certainly no VM of the module runs on this host but the one that is kept, before this is
    /// made.</summary>
    public ModuleRuntime(ModuleRuntimeOptions options)
    {
        _options = options;
        _traces = new RoleTraces(options.Module, options.Self, hasGuest: options.Vm is not null);
        _history = new ModuleHistory(options.Module, options.History);
        _machine = new RoleMachine(
            new RoleConfiguration(options.Module, options.Self, options.Peer, options.Timings, options.Incarnation, options.LostPower, Guid.NewGuid)
            {
                VolumeHeld = options.VolumeHeld,
                WorkloadKept = options.KeptVm is not null,
            },
            options.Recovered, options.NowMs());
        _view = _machine.View;
        _saver = new StateSaver(options.Module, options.State, options.Recovered, version => Put(new RoleInput.StateSaved(version)));
        _engine = options.Engine(this, _saver);
        _verify = new ModuleVerify(options.Module, _engine, options.Verifies, (kind, text) =>
        {
            _history.Add(kind, text, _traces.TraceId);
            options.Links.Changed();
        });
        _lane = new EngineLane(options.Module, reason => Put(new RoleInput.LocalFault(reason)));
        if (options.Vm is { } vm)
        {
            var definition = Path.Combine(options.Directories[0], vm.DefinitionFile);
            // Half of the margin is for pausing by the hypervisor, then the guard halts; the rest covers drift and the halt itself.
            _workload = new WorkloadRunner(options.Module, vm.Domain, options.Hypervisor, options.Guard, options.Timings.MarginMs / 2,
                cancel => ReadDefinitionAsync(definition, vm.Domain, cancel), OnWorkload, OnWorkloadNoted, options.NowMs, options.KeptVm)
            {
                Fencing = options.Fencing,
                IoIsHeld = () => _engine.Status.HeldOperations > 0,
            };
        }

        _checkers = new ModuleCheckers(options.Module, options.Probe, () => _workload?.Hold is not null, OnUnwell, OnWorkloadNoted, options.NowMs);
        options.Front.Failed += OnFrontFailed;
        RoleMetrics.Add(options.Module, () =>
            new RoleReading(_view.Role, _view.Ready, _view.Record.Epoch, _view.LeaseUntilMs, _workload?.State));
        _thread = new Thread(Run) { IsBackground = true, Name = "role " + options.Module };
    }

    public string Module => _options.Module;

    public RoleView View => _view;

    /// <summary>Whether the engine accepts sessions of the peer is its own to say; the listener routes to it.</summary>
    public IReplicationEngine Engine => _engine;

    public void Start() => _thread.Start();

    public void Put(RoleInput input) => _inputs.Put(input);

    /// <summary>What is tested from now on; those that are as before go on.</summary>
    public void SetCheckers(ImmutableArray<CheckerMessage> checkers) => _checkers.Set(checkers);

    /// <summary>The state when everything that was put in before has been taken.</summary>
    public Task<LocalState> RecallAsync()
    {
        var mark = new RoleInput.Tick();
        var state = new TaskCompletionSource<LocalState>(TaskCreationOptions.RunContinuationsAsynchronously);
        _recalls[mark] = state;
        Put(mark);
        return state.Task;
    }

    /// <summary>Orders of the control plane; each may be repeated.</summary>
    public void Wish(VerifyOrder order) => _verify.Wish(order);

    /// <returns>Null, or why it was not done.</returns>
    public Task<string?> VerifyAsync(VerifyOrder order) => _verify.DoAsync(order);

    /// <returns>Null, or why not.</returns>
    public string? StopVerify() => _verify.Stop();

    /// <summary>Holds from now on, for a running resync too.</summary>
    public void SetResyncLimits(ResyncLimits limits)
    {
        _engine.SetResyncLimits(limits);
        _history.Add("resync.limits", $"A resync keeps up {Rate(limits.BytesPerSecondMin)} and does not exceed {(limits.BytesPerSecondMax == long.MaxValue ? "any limit" : Rate(limits.BytesPerSecondMax))}.");
    }

    /// <summary>Completes when the module is stopped and released on this host.</summary>
    public async Task StoppedAsync()
    {
        while (_view is not { Role: Role.Stop, Ready: true })
            await Task.Delay(StoppedLookMs).ConfigureAwait(false);
    }

    /// <summary>Before the end of the process: as SECOND the module leaves the record, so that the primary goes on without a pause. Bounded by the
    /// machine: two deadlines of the arbiter, then the detection time; and by that much again if the machine's thread is busy.</summary>
    public async Task LeaveAsync()
    {
        Put(new RoleInput.HostStops());
        await Task.WhenAny(_mayEnd.Task, Task.Delay(LeaveMax(_options.Timings))).ConfigureAwait(false);
    }

    internal static TimeSpan LeaveMax(RoleTimings timings) =>
        TimeSpan.FromMilliseconds(Math.Min(2 * (2 * timings.ArbiterDeadlineMs + timings.DetectionMs), LeaveMsMax));

    /// <summary>The service manager kills what has not ended after 120 s (TimeoutStopSec of eng/systemd/pollux-host.service), and the copies are flushed
    /// after this. A secondary that has not been let go by then ends as one that is lost. Milliseconds.</summary>
    private const long LeaveMsMax = 90_000;

    /// <summary>Ends the module on this host: no beacons any more; the VM is stopped within its remaining lease, copies are flushed as far as
    /// the peer still answers, the mounts go. The peer takes over when the detection time has passed, if the record lets it.</summary>
    public async ValueTask DisposeAsync()
    {
        _leaving = true;
        _inputs.Close();
        _thread.Join();
        _options.Starts?.Ended(Module);
        await _checkers.DisposeAsync().ConfigureAwait(false);
        if (_workload is { } workload)
        {
            var leaseMs = Math.Max(0, _view.LeaseUntilMs == long.MaxValue ? long.MaxValue : _view.LeaseUntilMs - _options.NowMs());
            workload.Stop(Math.Min(leaseMs, _options.Timings.GracefulStopMs));
            await _workloadOff.Task.ConfigureAwait(false);
            await workload.DisposeAsync().ConfigureAwait(false);
        }

        _lane.Put("close", async () =>
        {
            await ReleaseAsync().ConfigureAwait(false);
            await _options.Front.CloseAsync().ConfigureAwait(false);
        });
        await _lane.DisposeAsync().ConfigureAwait(false);
        await _engine.DisposeAsync().ConfigureAwait(false);
        _options.Front.Failed -= OnFrontFailed;
        _saver.Dispose();
        await _history.DisposeAsync().ConfigureAwait(false);
        _traces.Dispose();
        RoleMetrics.Remove(_options.Module);
    }

    /// <summary>For the hand-over to the next process: what is under way is ended and flushed on both hosts, what comes from now on is not
    /// answered here. Nothing else changes; the process must end then.</summary>
    /// <param name="deadline">What has not ended by then comes again in the next process, as after a crash.</param>
    public async Task QuietAsync(TimeSpan deadline)
    {
        if (_view.Role is not (Role.Prim or Role.Alone))
            return;
        _lane.Put("quiesce for the next process", _engine.Quiesce);
        await Task.WhenAny(_quiet.Task, Task.Delay(deadline)).ConfigureAwait(false);
    }

    void IReplicationEvents.SessionUp(Guid peerIncarnation) => Put(new RoleInput.SessionUp(peerIncarnation));

    void IReplicationEvents.SessionLost(string reason) => Put(new RoleInput.SessionLost(reason));

    void IReplicationEvents.ResyncStarting(Guid syncBase) => Put(new RoleInput.ResyncStarting(syncBase));

    void IReplicationEvents.ReplicaFlushed(Guid syncBase) => Put(new RoleInput.ReplicaFlushed(syncBase));

    void IReplicationEvents.PeerCaughtUp(Guid syncBase) => Put(new RoleInput.PeerCaughtUp(syncBase));

    void IReplicationEvents.Quiesced()
    {
        _quiet.TrySetResult();
        Put(new RoleInput.Quiesced());
    }

    void IReplicationEvents.LocalFault(string reason) => Put(new RoleInput.LocalFault(reason));

    void IReplicationEvents.VerifyEnded(VerifyReport report) => _verify.Ended(report);

    void IReplicationEvents.Noted(string kind, string text) => _history.Add(kind, text);

    private void OnWorkload(RoleInput input)
    {
        if (!_leaving)
            Put(input);
        else if (input is RoleInput.WorkloadStopped)
            _workloadOff.TrySetResult();
    }

    private void OnWorkloadNoted(string kind, string text)
    {
        _history.Add(kind, text);
        _options.Links.Changed();
    }

    private void OnUnwell(RoleInput.Unwell unwell)
    {
        if (!_leaving)
            Put(unwell);
    }

    private void OnFrontFailed(string reason)
    {
        if (!_leaving)
            Put(new RoleInput.LocalFault(reason));
    }

    private void Run()
    {
        var effects = new List<RoleEffect>();
        while (_inputs.Take(_machine.NextDeadlineMs, _options.NowMs) is { } input)
        {
            var now = _options.NowMs();
            var before = _view;
            _machine.Step(now, input, effects);
            _view = _machine.View;
            _traces.Took(now, input, _view);
            Note(input);
            if (input is RoleInput.WorkloadStarted or RoleInput.WorkloadFailed or RoleInput.WorkloadStopped)
                _options.Starts?.Ended(Module);
            foreach (var effect in effects)
            {
                _traces.Wants(now, effect, _view);
                Do(effect);
            }

            TellStarts();
            _checkers.Follow(_view);
            effects.Clear();
            if (input is RoleInput.Tick && _recalls.TryRemove(input, out var recall))
                recall.TrySetResult(_machine.State);
            if (!ReferenceEquals(before, _view) && Shows(before, _view))
                _options.Links.Changed();
        }
    }

    /// <summary>The lease and the peer's last beacon change all the time; operators are told with the next refresh.</summary>
    private static bool Shows(RoleView before, RoleView after) =>
        before with { LeaseUntilMs = after.LeaseUntilMs, PeerSeenMs = after.PeerSeenMs } != after;

    /// <summary>At each start of the VM: the file may have been changed since the module was created. Storage elsewhere is no reason not to start,
    /// in a failover least of all: the hypervisor says whether this host has it. It is shown.</summary>
    private async Task<string> ReadDefinitionAsync(string path, string domain, CancellationToken cancel)
    {
        if (new FileInfo(path).Length > DomainDefinition.BytesMax)
            throw new FormatException($"{path} is larger than {DomainDefinition.BytesMax} bytes");
        var definition = await File.ReadAllTextAsync(path, cancel).ConfigureAwait(false);
        var completed = DomainDefinition.Complete(definition, domain, Module);
        try
        {
            var outside = ModulePreparation.StorageOutside(completed, _options.Directories);
            if (outside is not null && outside != _storageOutside)
                OnWorkloadNoted(ModulePreparation.OutsideCode, $"{path} names {outside}: that is not replicated.");
            _storageOutside = outside;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FuseException)
        {
            HostLog.Warn("modules", "it cannot be seen whether the VM's storage is replicated", ("module", Module), ("reason", e.Message));
        }

        return definition;
    }
}
