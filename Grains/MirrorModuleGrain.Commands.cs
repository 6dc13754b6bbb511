using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

/// <summary>Creation and commands: intent is stored first, then followed by looking at what the hosts say until it has ended.</summary>
public sealed partial class MirrorModuleGrain
{
    /// <summary>How often the hosts' words are looked at while something is open. A call in memory; a person waits for it.</summary>
    private static readonly TimeSpan FollowInterval = TimeSpan.FromMilliseconds(200);

    private IGrainTimer? _follow;

    /// <summary>The end of a creation that was rolled back: nothing of it is stored.</summary>
    private CreationView? _refused;

    public async Task<Outcome> CreateAsync(ModuleSpec spec, Guid operationId)
    {
        if (_refused?.OperationId == operationId) return Outcome.Done;
        if (Recovering) return Outcome.Refused(Problems.ClusterRecovering(GrainKey.ClusterOf(Key)));
        if (_state.Value.Phase != ModulePhase.None)
            return _state.Value.CreationId == operationId ? Outcome.Done
                : Outcome.Refused(_state.Value.Phase == ModulePhase.Preparing ? Problems.ModulePreparing(Key) : Problems.ModuleExists(Key));

        if (!GrainKey.TryParse(Key, out var clusterName, out var name)) return Outcome.Refused(Problems.ModuleUnknown(Key));
        if (ModuleCreation.Check(clusterName, name, spec) is { } badSpec) return Outcome.Refused(badSpec);
        if (await Cluster.ReadAsync() is not { } cluster) return Outcome.Refused(Problems.ClusterUnknown(clusterName));
        if (cluster.Recovery is not null) return Outcome.Refused(Problems.ClusterRecovering(clusterName));
        if (ClusterMembership.Module(cluster, Entry(spec), spec.InitialHost) is { } problem) return Outcome.Refused(problem);

        // Intent before effect: a reservation without a stored module would never be given back.
        var hosts = cluster.Hosts.Select(host => GrainKey.Of(clusterName, host)).ToArray();
        var created = new MirrorModuleState
        {
            Phase = ModulePhase.Preparing,
            Spec = spec,
            Hosts = [.. hosts],
            Record = ArbiterRecord.ForNewModule(Guid.NewGuid(), GrainKey.Of(clusterName, spec.InitialHost), [.. hosts]),
            CreationId = operationId,
            CreationUnixMs = NowUnixMs,
            Generation = _generation.Number,
        };
        await _state.SaveAsync(WithHistory(created, "created", Asker, $"Created from {string.Join(", ", spec.Directories)} of {spec.InitialHost}."));
        var admission = await Cluster.AdmitModuleAsync(Entry(spec), spec.InitialHost);
        if (admission.Problem is { } notAdmitted)
        {
            await _state.ClearAsync();
            return Outcome.Refused(notAdmitted);
        }
        FollowIfOpen();
        await HintHostsAsync();
        return Outcome.Done;
    }

    public async Task<Outcome> SetRunAsync(bool run)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        var state = _state.Value;
        // The newer word holds: a stop and start that is half done is not gone on with.
        if (state.Command is { Kind: StopStartCommand.Kind })
            state = WithEnd(state, false, run ? "The operator started the module meanwhile." : "The operator stopped the module meanwhile.");
        if (state.Run != run)
            state = WithHistory(state with { Run = run }, run ? "start" : "stop", Asker, $"{AskerInWords} wants the module {(run ? "to run" : "stopped")}.");
        // Each start counts: a host that stays down after a boot waits for the next one. And it is for either host.
        if (run) state = state with { Starts = NextStart(state), Wanted = null };
        if (state != _state.Value) await _state.SaveAsync(state);
        await HintHostsAsync();
        return Outcome.Done;
    }

    public Task<Outcome> SwapAsync(Guid operationId) => BeginAsync(operationId, SwapCommand.Kind, SwapCommand.MayBegin);

    public Task<Outcome> RestartAsync(Guid operationId) => BeginAsync(operationId, RestartCommand.Kind, RestartCommand.MayBegin);

    public Task<Outcome> StopStartAsync(Guid operationId) => BeginAsync(operationId, StopStartCommand.Kind, StopStartCommand.MayBegin);

    /// <summary>Intent first: what follows is done by <see cref="FollowCommandAsync"/>, also after a crash.</summary>
    private async Task<Outcome> BeginAsync(Guid operationId, string kind, Func<string, bool, ArbiterRecord, Problem?> mayBegin)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        var state = _state.Value;
        if (HasSeen(operationId)) return Outcome.Done;
        if ((state.Command is { } open ? Problems.CommandOpen(Key, open.Kind) : mayBegin(Key, state.Run, state.Record!)) is { } notNow)
        {
            await NoteRefusedAsync(kind, notNow);
            return Outcome.Refused(notNow);
        }
        var begun = state with
        {
            Command = new OpenCommand(operationId, kind, state.Record!.Primary!, NowUnixMs),
            Run = kind != StopStartCommand.Kind,
        };
        await _state.SaveAsync(WithHistory(begun, kind, Asker, $"{AskerInWords} asked for a {kind}."));
        FollowIfOpen();
        await HintHostsAsync();
        return Outcome.Done;
    }

    public async Task<Outcome> VerifyAsync(Guid operationId, bool repair, long bytesPerSecondMax)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        var state = _state.Value;
        if (state.Verify?.OperationId == operationId) return Outcome.Done;
        if (VerifyCommand.MayBegin(Key, state.Run, state.Record!, bytesPerSecondMax) is { } notNow) return Outcome.Refused(notNow);
        if (state.Verify is { } last && VerifyCommand.IsOpen(last, await HostWordAsync(last.Host)))
            return Outcome.Refused(Problems.VerifyOpen(Key, last.Host));
        await _state.SaveAsync(_state.Value with { Verify = new VerifyWish(operationId, state.Record!.Primary!, repair, bytesPerSecondMax, Stop: false) });
        await HintHostsAsync();
        return Outcome.Done;
    }

    public async Task<Outcome> StopVerifyAsync()
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        if (_state.Value.Verify is not { } verify) return Outcome.Refused(Problems.VerifyNone(Key));
        if (!verify.Stop) await _state.SaveAsync(_state.Value with { Verify = verify with { Stop = true } });
        await HintHostsAsync();
        return Outcome.Done;
    }

    public async Task<Outcome> SetResyncLimitsAsync(ResyncPolicy limits)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        if (VerifyCommand.Check(limits) is { } bad) return Outcome.Refused(bad);
        if (_state.Value.Spec!.Resync != limits)
            await _state.SaveAsync(_state.Value with { Spec = _state.Value.Spec with { Resync = limits } });
        await HintHostsAsync();
        return Outcome.Done;
    }

    public async Task<Outcome> DeleteAsync()
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        if (_state.Value.Run) return Outcome.Refused(Problems.DeleteRunning(Key));
        foreach (var host in _state.Value.Hosts)
            // A host that is away releases the module when it returns and finds it gone from its desired state.
            if (await HostWordAsync(host) is { Report: { Role: not "STOP" } report })
                return Outcome.Refused(Problems.DeleteStopping(Key, host, report.Role));
        await ForgetAsync();
        return Outcome.Done;
    }

    private IClusterGrain Cluster => GrainFactory.GetGrain<IClusterGrain>(GrainKey.ClusterOf(Key));

    /// <summary>A module that is recovered takes no command before its whole cluster is: its hosts get no orders until then, and what was deleted
    /// would come back from their reports.</summary>
    private async Task<Problem?> NotTakingAsync() =>
        await _generation.IsSupersededAsync() ? Problems.ControlSuperseded : NotActive() ?? (_generation.Number > 0 && await Cluster.ReadAsync() is { Recovery: not null } ? Problems.ClusterRecovering(GrainKey.ClusterOf(Key)) : null);

    private Problem? NotActive() => _state.Value.Phase switch
    {
        not ModulePhase.None when Recovering => Problems.ClusterRecovering(GrainKey.ClusterOf(Key)),
        not ModulePhase.None when Forgotten => Problems.RecordOlder(Key),
        ModulePhase.Active => null,
        ModulePhase.Preparing => Problems.ModulePreparing(Key),
        _ => Problems.ModuleUnknown(Key),
    };

    private ModuleEntry Entry(ModuleSpec spec) => new(GrainKey.NameOf(Key), spec.Directory, spec.Vm?.Domain)
    {
        FurtherDirectories = spec.FurtherDirectories,
    };

    private CreationView? Creation(MirrorModuleState state) =>
        state.Phase == ModulePhase.None ? _refused : new CreationView(state.CreationId, state.Phase == ModulePhase.Active, null);

    private void FollowIfOpen()
    {
        if (Recovering || _state.Value is not ({ Phase: ModulePhase.Preparing } or { Command: not null })) return;
        _follow ??= this.RegisterGrainTimer(FollowAsync, new GrainTimerCreationOptions(FollowInterval, FollowInterval));
    }

    /// <summary>The same turn on every wake-up, also after a restart in the middle.</summary>
    private async Task FollowAsync()
    {
        if (_state.Value.Phase == ModulePhase.Preparing) await FollowCreationAsync();
        else if (_state.Value.Command is { } command) await FollowCommandAsync(command);
        if (_state.Value is { Phase: ModulePhase.Preparing } or { Command: not null }) return;
        _follow?.Dispose();
        _follow = null;
    }

    private async Task FollowCreationAsync()
    {
        var state = _state.Value;
        // Repeated, because a crash may have come before the first time; harmless.
        var admission = await Cluster.AdmitModuleAsync(Entry(state.Spec!), state.Spec!.InitialHost);
        var step = admission.Problem is { } notAdmitted
            ? new CreationStep.Refuse(notAdmitted)
            : ModuleCreation.Next(await VerdictAsync(state.Hosts[0]), await VerdictAsync(state.Hosts[1]), NowUnixMs - state.CreationUnixMs);
        switch (step)
        {
            case CreationStep.Accept:
                await _state.SaveAsync(state with { Phase = ModulePhase.Active });
                LogAccepted(Key);
                await HintHostsAsync();
                break;
            case CreationStep.Refuse refuse:
                await ForgetAsync();
                _refused = new CreationView(state.CreationId, true, refuse.Problem);
                LogRefused(Key, refuse.Problem.Code, refuse.Problem.Cause);
                break;
        }
    }

    private async Task FollowCommandAsync(OpenCommand command)
    {
        if (await EndOfAsync(command) is not var (succeeded, reason) || _state.Value.Command?.OperationId != command.OperationId) return;
        var ended = WithEnd(_state.Value, succeeded, reason);
        await _state.SaveAsync(command.Kind == StopStartCommand.Kind ? ended with { Run = true, Starts = NextStart(ended) } : ended);
        LogCommandEnded(Key, command.Kind, succeeded, reason);
        await HintHostsAsync();
    }

    private async Task<(bool Succeeded, string Reason)?> EndOfAsync(OpenCommand command)
    {
        var sinceMs = NowUnixMs - command.UnixMs;
        if (command.Kind == StopStartCommand.Kind)
        {
            var words = await Task.WhenAll(_state.Value.Hosts.Select(async host => (host, await HostWordAsync(host))));
            return StopStartCommand.End(command.From, words, sinceMs);
        }

        var hostSays = (await HostWordAsync(command.From)).Report?.CommandResults.FirstOrDefault(result => result.OperationId == command.OperationId);
        var record = _state.Value.Record!;
        return command.Kind switch
        {
            RestartCommand.Kind => RestartCommand.End(command.From, record, hostSays, sinceMs),
            FullResyncCommand.Kind => FullResyncCommand.End(command.From, record, hostSays, sinceMs),
            _ => SwapCommand.End(command.From, record, hostSays, sinceMs),
        };
    }

    private MirrorModuleState WithEnd(MirrorModuleState state, bool succeeded, string reason)
    {
        var ends = state.CommandEnds;
        if (ends.Length >= ModuleView.CommandEndsMax) ends = ends[^(ModuleView.CommandEndsMax - 1)..];
        var command = state.Command!;
        var noted = succeeded ? state : WithHistory(state, command.Kind + ".failed", command.IsFailback ? Failback.By : command.From, $"The {command.Kind} was not done. {reason}");
        return noted with
        {
            Command = null,
            FailbackFailed = command.IsFailback && !succeeded ? new FailedFailback(state.Record!.Epoch, reason) : state.FailbackFailed,
            PlacedByOperator = succeeded && command.Kind == SwapCommand.Kind ? !command.IsFailback : state.PlacedByOperator,
            CommandEnds = ends.Add(new CommandEnd(state.Command!.OperationId, succeeded, reason, NowUnixMs)),
        };
    }

    /// <summary>Gives the reservation back before the module's own row goes: in the other order a crash would leave it for ever.</summary>
    private async Task ForgetAsync()
    {
        var hosts = _state.Value.Hosts;
        await Cluster.ReleaseModuleAsync(GrainKey.NameOf(Key));
        await _state.ClearAsync();
        foreach (var host in hosts) await GrainFactory.GetGrain<IHostGrain>(host).HintAsync();
    }

    private Task<HostWord> HostWordAsync(string host) =>
        GrainFactory.GetGrain<IHostGrain>(host).ReadModuleAsync(Key, _state.Value.Record!.Incarnation);

    private async Task<HostVerdict> VerdictAsync(string host)
    {
        var word = await HostWordAsync(host);
        return new HostVerdict(host, word.Connected, word.Report?.Preparation);
    }

    private async Task HintHostsAsync()
    {
        foreach (var host in _state.Value.Hosts) await GrainFactory.GetGrain<IHostGrain>(host).HintAsync();
    }
}
