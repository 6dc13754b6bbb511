using System.Diagnostics;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Telemetry;

/// <summary>Turns what a role machine takes and wants into traces: a failover, a swap, a resync is one trace each.</summary>
/// <remarks>
/// <code>
/// failover     last beacon of the lost primary → first write of the guest
///   detection, stop-following, arbitration, serve, vm-start, guest-first-write
/// degrade      last answered beacon → the peer is out of the record        arbitration
/// swap         command → done      vm-stop, quiesce, arbitration, release
/// start        serve → first write                                          arbitration, serve, vm-start, guest-first-write
/// resync       begin → the peer is in the record                            copy, arbitration
/// </code>
/// Owned by the module's consumer thread. Times are of <see cref="BootClock"/>. Traces exist with or without an exporter: their ids stand
/// in the module's events.
/// </remarks>
public sealed class RoleTraces : IDisposable
{
    public static readonly ActivitySource Source = new("Pollux.Roles");

    /// <summary>Keeps every trace: there are few, and each is looked for when something went wrong.</summary>
    private static readonly ActivityListener Listener = Listen();

    private readonly string _module;
    private readonly string _host;
    private readonly bool _hasGuest;
    private readonly Dictionary<string, Activity> _children = [];
    private Activity? _root;
    private Activity? _resync;
    private Activity? _copy;
    private Guid? _asked;
    private long? _primaryHeardMs;
    private long? _answeredMs;

    /// <param name="hasGuest">False: there is no VM whose first write ends a failover.</param>
    public RoleTraces(string module, string host, bool hasGuest)
    {
        _module = module;
        _host = host;
        _hasGuest = hasGuest;
        GC.KeepAlive(Listener);
    }

    /// <summary>W3C id of the trace that is under way, or null.</summary>
    public string? TraceId => (_root ?? _resync)?.TraceId.ToHexString();

    /// <summary>W3C parent of what is asked of the hypervisor, or null outside a trace.</summary>
    public string? HypervisorParent => (_children.GetValueOrDefault("vm-start") ?? _root ?? _resync)?.Id;

    /// <summary>For the arbiter: its spans become children of ours.</summary>
    public string? TraceParent => (_children.GetValueOrDefault("arbitration") ?? _root ?? _resync)?.Id;

    public void Took(long nowMs, RoleInput input, RoleView view)
    {
        switch (input)
        {
            case RoleInput.BeaconReceived { Beacon: { Role: Role.Prim or Role.Alone, WithoutLease: false } }:
                _primaryHeardMs = nowMs;
                break;
            case RoleInput.BeaconAnswered:
                _answeredMs = nowMs;
                break;
            case RoleInput.ArbiterAnswered { Answer: { } answer } when answer.OperationId == _asked && answer.Outcome != ArbiterOutcome.Unknown:
                _asked = null;
                End("arbitration", nowMs, answer.Outcome == ArbiterOutcome.Granted ? null : answer.Reason);
                if (_root?.OperationName == "degrade")
                    EndRoot(nowMs, answer.Outcome == ArbiterOutcome.Granted ? null : answer.Reason);
                break;
            case RoleInput.FollowingStopped:
                End("stop-following", nowMs);
                break;
            case RoleInput.Serving:
                End("serve", nowMs);
                break;
            case RoleInput.WorkloadStarted:
                End("vm-start", nowMs);
                if (_root?.OperationName is not ("failover" or "start"))
                    break;
                if (_hasGuest)
                    Begin("guest-first-write", nowMs);
                else
                    EndRoot(nowMs, null);
                break;
            case RoleInput.WorkloadStopped { Commanded: true }:
                End("vm-stop", nowMs);
                break;
            case RoleInput.Quiesced:
                End("quiesce", nowMs);
                break;
            case RoleInput.Released:
                End("release", nowMs);
                break;
            case RoleInput.Command { Kind: RoleCommand.Swap }:
                BeginRoot("swap", nowMs, nowMs);
                break;
            case RoleInput.ResyncStarting when view.Role is Role.Alone or Role.Prim:
                EndResync(nowMs, "a newer resync began");
                _resync = Start("resync", nowMs, default);
                _copy = Start("copy", nowMs, _resync.Context);
                break;
            case RoleInput.PeerCaughtUp:
                Finish(ref _copy, nowMs, null);
                break;
            case RoleInput.SessionLost lost:
                EndResync(nowMs, lost.Reason);
                break;
            case RoleInput.LocalFault fault:
                EndRoot(nowMs, fault.Reason);
                break;
        }
    }

    public void Wants(long nowMs, RoleEffect effect, RoleView view)
    {
        switch (effect)
        {
            case RoleEffect.StopFollowing:
                // Handed over by the primary, or about to be taken from a silent one.
                if (view.Record.Primary == _host)
                    BeginRoot("start", nowMs, nowMs);
                else
                    BeginFailover(nowMs);
                Begin("stop-following", nowMs);
                break;
            case RoleEffect.AskArbiter { Request: { Change: not RecordChange.Look } request } when request.OperationId != _asked:
                _asked = request.OperationId;
                if (request.Change == RecordChange.Takeover)
                    BeginFailover(nowMs);
                else if (request.Change == RecordChange.Exclude && _root is null)
                    BeginRoot("degrade", _answeredMs ?? nowMs, nowMs);
                var parent = request.Change == RecordChange.Join ? _resync : _root;
                End("arbitration", nowMs, "another change was asked");
                Begin("arbitration", nowMs, parent);
                _children.GetValueOrDefault("arbitration")?.SetTag("pollux.change", request.Change.ToString());
                break;
            case RoleEffect.Follow when _root?.OperationName is "failover" or "start":
                // The primary is back, or there is another: what comes later is a trace of its own.
                EndRoot(nowMs, "another host is the primary");
                break;
            case RoleEffect.Serve:
                if (_root is null)
                    BeginRoot("start", nowMs, nowMs);
                Begin("serve", nowMs);
                break;
            case RoleEffect.StartWorkload:
                Begin("vm-start", nowMs);
                break;
            case RoleEffect.StopWorkload:
                Begin("vm-stop", nowMs);
                break;
            case RoleEffect.Quiesce:
                Begin("quiesce", nowMs);
                break;
            case RoleEffect.Release:
                Begin("release", nowMs);
                break;
            case RoleEffect.SetEpoch:
                EndResync(nowMs, null);
                break;
            case RoleEffect.CheckAnswered { Action: CheckAction.Move, Answer: CheckAnswer.Begun }:
                BeginRoot("swap", nowMs, nowMs);
                break;
            case RoleEffect.CheckAnswered { Answer: CheckAnswer.Done or CheckAnswer.GivenUp } checker when _root?.OperationName == "swap":
                EndRoot(nowMs, checker.Answer == CheckAnswer.Done ? null : checker.Text);
                break;
            case RoleEffect.CommandDone done when _root?.OperationName == "swap":
                EndRoot(nowMs, done.Succeeded ? null : done.Reason);
                break;
        }
    }

    /// <summary>The guest has written for the first time since its start.</summary>
    public void GuestWrote(long nowMs)
    {
        End("guest-first-write", nowMs);
        if (_root?.OperationName is "failover" or "start")
            EndRoot(nowMs, null);
    }

    public void Dispose()
    {
        EndResync(BootClock.NowMs, "the module is closed");
        EndRoot(BootClock.NowMs, "the module is closed");
    }

    private static ActivityListener Listen()
    {
        var listener = new ActivityListener
        {
            ShouldListenTo = source => source == Source,
            Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
        };
        ActivitySource.AddActivityListener(listener);
        return listener;
    }

    /// <summary>A takeover after the silence of a primary is a failover; one without is a start.</summary>
    private void BeginFailover(long nowMs)
    {
        if (_root?.OperationName is "failover" or "start")
            return;
        if (_primaryHeardMs is not { } heardMs)
        {
            BeginRoot("start", nowMs, nowMs);
            return;
        }

        BeginRoot("failover", heardMs, nowMs);
        _primaryHeardMs = null;
        Begin("detection", heardMs);
        End("detection", nowMs);
    }

    private void BeginRoot(string name, long sinceMs, long nowMs)
    {
        EndRoot(nowMs, null);
        _root = Start(name, sinceMs, default);
    }

    private void EndRoot(long nowMs, string? fault)
    {
        foreach (var name in _children.Keys.ToArray())
            End(name, nowMs, fault);
        Finish(ref _root, nowMs, fault);
    }

    private void EndResync(long nowMs, string? fault)
    {
        Finish(ref _copy, nowMs, fault);
        Finish(ref _resync, nowMs, fault);
    }

    private void Begin(string name, long sinceMs) => Begin(name, sinceMs, _root);

    private void Begin(string name, long sinceMs, Activity? parent)
    {
        if (parent is not null && !_children.ContainsKey(name))
            _children[name] = Start(name, sinceMs, parent.Context);
    }

    private void End(string name, long nowMs, string? fault = null)
    {
        if (!_children.Remove(name, out var activity))
            return;
        Activity? ended = activity;
        Finish(ref ended, nowMs, fault);
    }

    private Activity Start(string name, long sinceMs, ActivityContext parent)
    {
        Activity.Current = null;
        var activity = Source.CreateActivity(name, ActivityKind.Internal, parent)!;
        activity.SetStartTime(BootClock.ToWall(sinceMs).UtcDateTime);
        activity.SetTag("pollux.module", _module);
        activity.SetTag("pollux.host", _host);
        activity.Start();
        Activity.Current = null;
        return activity;
    }

    private static void Finish(ref Activity? activity, long nowMs, string? fault)
    {
        if (activity is null)
            return;
        if (fault is not null)
            activity.SetStatus(ActivityStatusCode.Error, fault);
        activity.SetEndTime(BootClock.ToWall(nowMs).UtcDateTime);
        activity.Stop();
        activity = null;
    }
}
