using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

/// <summary>Policy, placement by command, and the failback that follows from them.</summary>
public sealed partial class MirrorModuleGrain
{
    /// <summary>How often a module with a preferred primary is looked at: a small part of the shortest hold time.</summary>
    private static readonly TimeSpan FailbackLook = TimeSpan.FromSeconds(2);

    private IGrainTimer? _failback;
    private string? _failbackWaits;

    /// <summary>Who asks: the name of the token that the API was called with.</summary>
    private static string Asker => OperatorContext.Current;

    private static string AskerInWords => OperatorContext.InWords(Asker);

    public async Task<Outcome> SetPolicyAsync(PolicyChange change)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        var state = _state.Value;
        if (PolicyCommand.Check(state.Hosts, change) is { } bad) return Outcome.Refused(bad);
        var before = state.Spec!.PolicyInForce;
        var after = PolicyCommand.Apply(before, change);
        var next = state with
        {
            Spec = state.Spec with { Policy = after }, PlacedByOperator = state.PlacedByOperator && change is { Preferred: null, FailbackHoldMs: null },
            FailbackFailed = change is { Preferred: null, FailbackHoldMs: null } ? state.FailbackFailed : null,
        };
        if (PolicyCommand.Tell(before, after) is { Length: > 0 } told)
            next = WithHistory(next, "policy", Asker, $"{AskerInWords} set: {told}.");
        if (next != state) await _state.SaveAsync(next);
        FailbackIfPreferred();
        await HintHostsAsync();
        return Outcome.Done;
    }

    public async Task<Placement> PlaceAsync(Guid operationId, string host)
    {
        if (await NotTakingAsync() is { } problem) return new Placement("nothing", problem);
        var state = _state.Value;
        var wanted = GrainKey.Of(GrainKey.ClusterOf(Key), host);
        if (HasSeen(operationId)) return new Placement(SwapCommand.Kind, null);
        var primary = state.Record!.Primary is { } known ? await HostWordAsync(known) : null;
        var step = PlaceCommand.Decide(Key, state.Hosts, state.Run, state.Record, wanted, primary);
        switch (step)
        {
            case PlaceStep.Swap:
                return new Placement(SwapCommand.Kind, (await SwapAsync(operationId)).Problem);
            case PlaceStep.Start:
                if (_state.Value.Command is { } open) return new Placement("nothing", Problems.CommandOpen(Key, open.Kind));
                var started = _state.Value with
                {
                    Run = true, Starts = NextStart(_state.Value), Wanted = new WantedPrimary(wanted, _state.Value.Record!.Epoch),
                };
                await _state.SaveAsync(WithHistory(started, "start", Asker, $"{AskerInWords} wants the module to run on {host}."));
                await HintHostsAsync();
                return new Placement("start", null);
            case PlaceStep.Refuse refused:
                await NoteRefusedAsync($"place on {host}", refused.Problem);
                return new Placement("nothing", refused.Problem);
            default:
                return new Placement("nothing", null);
        }
    }

    public Task<Outcome> FullResyncAsync(Guid operationId) => BeginAsync(operationId, FullResyncCommand.Kind, FullResyncCommand.MayBegin);

    /// <summary>By the clock where that is further on: hosts compare it with what they know, also after the control plane was restored or built anew.</summary>
    private long NextStart(MirrorModuleState state) => Math.Max(state.Starts + 1, NowUnixMs);

    private bool HasSeen(Guid operationId) =>
        _state.Value.Command?.OperationId == operationId || _state.Value.CommandEnds.Any(end => end.OperationId == operationId);

    /// <summary>The wish of a start holds for the epoch in which it was given.</summary>
    private static WantedPrimary? WantedNow(MirrorModuleState state) => state.Wanted is { } wanted && wanted.Epoch == state.Record?.Epoch ? wanted : null;

    /// <summary>A refused command is remembered too; the same one again adds nothing.</summary>
    private async Task NoteRefusedAsync(string kind, Problem problem)
    {
        var cause = $"{AskerInWords} asked for: {kind}. Refused: {problem.Cause}";
        if (_state.Value.History is [.., { } last] && last.Cause == cause) return;
        await _state.SaveAsync(WithHistory(_state.Value, kind + ".refused", Asker, cause));
    }

    private void FailbackIfPreferred()
    {
        if (_state.Value is { Phase: ModulePhase.Active, Spec.PolicyInForce.Preferred: not null })
        {
            _failback ??= this.RegisterGrainTimer(FollowFailbackAsync, new GrainTimerCreationOptions(FailbackLook, FailbackLook));
            return;
        }

        _failback?.Dispose();
        (_failback, _failbackWaits) = (null, null);
    }

    private async Task FollowFailbackAsync()
    {
        var state = _state.Value;
        if (NotActive() is not null) return;
        if (state.Spec?.PolicyInForce is not { Preferred: { } name } policy || state.Record is not { Primary: { } primary } record) return;
        var preferred = GrainKey.Of(GrainKey.ClusterOf(Key), name);
        var facts = new FailbackFacts(
            state.Run, state.Command is not null, record, preferred, policy.FailbackHoldMs, NowUnixMs - RecordSinceUnixMs(state),
            state.FailbackUnixMs == 0 ? null : NowUnixMs - state.FailbackUnixMs,
            state.FailbackFailed is { } failed && failed.Epoch == record.Epoch ? failed.Reason : null, state.PlacedByOperator,
            await HostWordAsync(primary), await HostWordAsync(preferred));
        _failbackWaits = Failback.WhyNot(facts);
        if (_failbackWaits is not null || !ReferenceEquals(state, _state.Value)) return;
        var begun = state with
        {
            Command = new OpenCommand(Guid.NewGuid(), SwapCommand.Kind, primary, NowUnixMs) { IsFailback = true }, FailbackUnixMs = NowUnixMs,
        };
        await _state.SaveAsync(WithHistory(begun, SwapCommand.Kind, Failback.By,
            $"Failback to {name}: the pair has been whole for {facts.SinceRecordMs / 1_000} s."));
        FollowIfOpen();
        await HintHostsAsync();
    }

    /// <summary>When the record became what it is; the oldest moment that the history knows of this epoch.</summary>
    private static long RecordSinceUnixMs(MirrorModuleState state) =>
        state.History.FirstOrDefault(entry => entry.Epoch == state.Record!.Epoch)?.UnixMs ?? state.CreationUnixMs;
}
