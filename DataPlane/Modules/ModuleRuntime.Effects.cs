using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>What is done for each effect, and what of it operators read later.</summary>
public sealed partial class ModuleRuntime
{
    /// <summary>Characters of the cause in the cover's text, which has 4 KiB (CoverFileSystem.TextBytesMax); up to three bytes each.</summary>
    private const int CoverCauseMax = 800;

    /// <summary>Pause before a failed release is tried again, milliseconds.</summary>
    private const int ReleaseAgainMs = 500;

    private Guid? _asked;
    private long _guestWroteMs;
    private bool _announced;

    private void Do(RoleEffect effect)
    {
        switch (effect)
        {
            case RoleEffect.SaveState save:
                _saver.Put(save.Version, save.State);
                break;
            case RoleEffect.SendBeacon send:
                RoleMetrics.Sent(Module, lastMissed: _beaconOpen);
                _beaconOpen = true;
                _options.Links.Send(Module, send.Beacon);
                break;
            case RoleEffect.AnswerBeacon answer:
                _options.Links.Answer(Module, answer.Answer);
                break;
            case RoleEffect.AskArbiter ask:
                Ask(ask);
                break;
            case RoleEffect.Serve serve:
                _lane.Put("serve", () => ServeAsync(serve));
                break;
            case RoleEffect.AttachPeer attach:
                _lane.Put("attach the peer", () => _engine.AttachPeer(attach.Epoch, attach.InSync));
                break;
            case RoleEffect.DetachPeer detach:
                _lane.Put("detach the peer", () => _engine.DetachPeer(detach.Epoch));
                break;
            case RoleEffect.SetEpoch set:
                _lane.Put("set the epoch", () => _engine.SetEpoch(set.Epoch));
                break;
            case RoleEffect.AllowResync allow:
                _lane.Put("allow the resync", () => _engine.AllowResync(allow.SyncBase));
                break;
            case RoleEffect.ConfirmResynced confirm:
                _lane.Put("confirm the resync", () => _engine.ConfirmResynced(confirm.SyncBase));
                break;
            case RoleEffect.Freeze:
                _history.Add("io.frozen", "I/O and completions are held.", _traces.TraceId);
                _lane.Put("freeze", _engine.Freeze);
                break;
            case RoleEffect.Unfreeze:
                _history.Add("io.released", "I/O goes on.", _traces.TraceId);
                _lane.Put("unfreeze", _engine.Unfreeze);
                break;
            case RoleEffect.Quiesce:
                _lane.Put("quiesce", async () =>
                {
                    // A closing that the kernel still has to tell comes too late once operations are held.
                    await _options.Front.SettleAsync().ConfigureAwait(false);
                    _engine.Quiesce();
                });
                break;
            case RoleEffect.Follow follow:
                _lane.Put("follow", () => _engine.FollowAsync(follow.Epoch, CancellationToken.None));
                break;
            case RoleEffect.StopFollowing:
                _lane.Put("stop following", async () =>
                {
                    await _engine.StopFollowingAsync().ConfigureAwait(false);
                    Put(new RoleInput.FollowingStopped());
                });
                break;
            case RoleEffect.Release:
                _lane.Put("release", async () =>
                {
                    await ReleaseUntilDoneAsync().ConfigureAwait(false);
                    Put(new RoleInput.Released());
                });
                break;
            case RoleEffect.StartWorkload:
                TraceWorkload();
                StartWorkload();
                break;
            case RoleEffect.StopWorkload stop:
                TraceWorkload();
                StopWorkload(stop.GraceMs);
                break;
            case RoleEffect.PauseWorkload:
                _history.Add("vm.pausing", "The lease has ended: the VM is paused.", _traces.TraceId);
                TraceWorkload();
                _workload?.Pause();
                break;
            case RoleEffect.ResumeWorkload:
                _history.Add("vm.resuming", "There is a lease again: the VM goes on.", _traces.TraceId);
                TraceWorkload();
                _workload?.Resume();
                break;
            case RoleEffect.ExtendLease extend:
                _workload?.Lease(extend.UntilMs);
                break;
            case RoleEffect.MayEnd:
                _mayEnd.TrySetResult();
                break;
            case RoleEffect.CommandDone done:
                _history.Add("command.done", done.Succeeded ? "The command has succeeded." : $"The command was not done: {done.Reason}", _traces.TraceId);
                _history.Ended(done.OperationId, done.Succeeded, done.Reason);
                _options.Links.Changed();
                break;
            case RoleEffect.CheckAnswered answered:
                _checkers.Answered(answered, _traces.TraceId);
                break;
            case RoleEffect.RoleChanged changed:
                _history.Add("role.changed",
                    $"{changed.Role.ToString().ToUpperInvariant()} {(changed.Ready ? "ready" : "transient")} ({changed.Code}): {changed.Cause}", _traces.TraceId);
                _options.Front.Explain(CoverText(_options.Module, _options.Self, _view.Role.ToString().ToUpperInvariant(), changed.Cause));
                break;
            default:
                throw new InvalidOperationException($"Unknown effect {effect.GetType().Name}.");
        }
    }

    internal static string CoverText(string module, string host, string role, string cause) =>
        $"""
         This directory belongs to the Pollux mirror module {module}.
         This host ({host}) is {role} and does not serve it: {(cause.Length <= CoverCauseMax ? cause : cause[..CoverCauseMax])}
         Its files are on the primary. To see which host that is:  pollux module show {module}

         """;

    private void Ask(RoleEffect.AskArbiter ask)
    {
        var request = ask.Request;
        if (request.Change != RecordChange.Look && _asked != request.OperationId)
        {
            _asked = request.OperationId;
            _history.Add($"{Word(request.Change)}.asked", $"The arbiter is asked: {Word(request.Change)}, epoch {request.ExpectedEpoch}.", _traces.TraceId);
        }

        _options.Links.Ask(Module, request, ask.DeadlineMs, _traces.TraceParent);
    }

    private async Task ServeAsync(RoleEffect.Serve serve)
    {
        await _engine.ServeAsync(serve.Epoch, serve.PeerIsMember, _options.Front.NewCompletions(), CancellationToken.None).ConfigureAwait(false);
        _volume = new ObservedVolume(_engine.Volume, OnFirstWrite);
        await _options.Front.ServeAsync(_volume).ConfigureAwait(false);
        Put(new RoleInput.Serving(serve.Epoch));
    }

    /// <summary>The engine first: it answers what it holds, so that the mount can go.</summary>
    private async Task ReleaseAsync()
    {
        await _engine.StopServingAsync().ConfigureAwait(false);
        await _engine.StopFollowingAsync().ConfigureAwait(false);
        await _options.Front.CoverAsync().ConfigureAwait(false);
    }

    /// <summary>Nothing else may follow before it is done: what fails is said once and tried again; meanwhile the step shows as slow.</summary>
    private async Task ReleaseUntilDoneAsync()
    {
        string? said = null;
        while (true)
        {
            try
            {
                await ReleaseAsync().ConfigureAwait(false);
                return;
            }
            catch (Exception e) when (!_leaving)
            {
                if (said != e.Message)
                {
                    HostLog.Error("modules", "the release failed; it is tried again", ("module", Module), ("reason", e.ToString()));
                    Put(new RoleInput.LocalFault($"release: {e.Message}"));
                }

                said = e.Message;
                await Task.Delay(ReleaseAgainMs).ConfigureAwait(false);
            }
        }
    }

    private void TraceWorkload()
    {
        if (_workload is { } workload)
            workload.TraceParent = _traces.HypervisorParent;
    }

    private void StartWorkload()
    {
        if (_workload is null)
        {
            Put(new RoleInput.WorkloadStarted());
            return;
        }

        if (_options.Starts is not { } starts)
        {
            StartNow(_workload, _traces.TraceId);
            return;
        }

        var trace = _traces.TraceId;
        starts.Ask(Module, _view.Policy.StartPriority, () => StartNow(_workload, trace));
        if (starts.Waiting(Module) is { } waiting)
            _history.Add("vm.start-waits", $"The start of the VM waits for {waiting}.", _traces.TraceId);
    }

    /// <summary>Perhaps on another module's thread.</summary>
    private void StartNow(WorkloadRunner workload, string? traceId)
    {
        _history.Add("vm.starting", "The VM is started.", traceId);
        workload.Start();
    }

    /// <summary>Tells the host's order of starts whether this module's comes soon; after the effects, so that it does not lose its turn in between.</summary>
    private void TellStarts()
    {
        if (_workload is null || _options.Starts is not { } starts)
            return;
        var coming = _view.Code == RoleCodes.WaitTakeover.Code || _view.Code == RoleCodes.Opening.Code || _view.Code == RoleCodes.Leasing.Code;
        if (coming != _announced)
            starts.Announce(Module, _view.Policy.StartPriority, _announced = coming);
        else
            starts.Look();
    }

    private void StopWorkload(long graceMs)
    {
        if (_workload is null)
        {
            Put(new RoleInput.WorkloadStopped(Commanded: true, "there is no VM"));
            return;
        }

        _options.Starts?.Ended(Module); // One that waits still comes to nothing.
        _history.Add("vm.stopping", graceMs == 0 ? "The VM is ended at once." : $"The guest is asked to shut down; it has {graceMs / 1000} s.", _traces.TraceId);
        _workload.Stop(graceMs);
    }

    private void OnFirstWrite()
    {
        // On a FUSE thread in the middle of a write: the rest is for the module's own thread.
        Interlocked.Exchange(ref _guestWroteMs, _options.NowMs());
        Put(new RoleInput.Tick());
    }

    private void Note(RoleInput input)
    {
        if (Interlocked.Exchange(ref _guestWroteMs, 0) is > 0 and var wroteMs)
        {
            _history.Add("guest.first-write", "The guest writes for the first time since its start.", _traces.TraceId);
            _traces.GuestWrote(wroteMs);
        }

        switch (input)
        {
            case RoleInput.BeaconAnswered:
                _beaconOpen = false;
                RoleMetrics.Answered(Module);
                break;
            case RoleInput.BeaconReceived:
                RoleMetrics.Received(Module);
                break;
            case RoleInput.ArbiterAnswered { Answer: { } answer } when answer.OperationId == _asked && answer.Outcome != ArbiterOutcome.Unknown:
                _asked = null;
                _history.Add($"arbiter.{Word(answer.Outcome)}", $"{answer.Record}. {answer.Reason}".TrimEnd(), _traces.TraceId);
                break;
            case RoleInput.Serving serving:
                _history.Add("volume.serving", $"The volume is served in epoch {serving.Epoch}.", _traces.TraceId);
                break;
            case RoleInput.LocalFault fault:
                _history.Add("local.fault", fault.Reason, _traces.TraceId);
                break;
            case RoleInput.SessionUp:
                _history.Add("session.up", "The peer replicates.", _traces.TraceId);
                break;
            case RoleInput.SessionLost lost:
                _history.Add("session.lost", lost.Reason, _traces.TraceId);
                break;
            case RoleInput.ResyncStarting starting:
                _history.Add("resync.starting", $"A resync begins; base {starting.SyncBase}.", _traces.TraceId);
                break;
            case RoleInput.ReplicaFlushed:
                _history.Add("resync.flushed", "This copy is equal and flushed.", _traces.TraceId);
                break;
            case RoleInput.PeerCaughtUp:
                var status = _engine.Status;
                _history.Add("resync.ended",
                    $"{(status.FullResync ? "Full" : "Delta")} resync: {status.ResyncDoneBytes} bytes copied.", _traces.TraceId);
                _verify.Resynced();
                break;
            case RoleInput.WorkloadStarted:
                if (_workload is null)
                    break;
                _history.Add("vm.started", "The VM runs.", _traces.TraceId);
                _volume?.Arm();
                break;
            case RoleInput.WorkloadStopped stopped:
                if (_workload is not null)
                    _history.Add("vm.stopped", stopped.Reason, _traces.TraceId);
                break;
            case RoleInput.WorkloadFailed failed:
                _history.Add("vm.failed", failed.Reason, _traces.TraceId);
                break;
        }
    }

    private static string Word<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();
}
