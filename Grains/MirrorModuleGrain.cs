using Microsoft.Extensions.Logging;
using Orleans.Runtime;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

/// <summary>Arbiter and operator's view of one module. Creation and commands are in .Commands, policy, placement and failback in .Policy.</summary>
[GrainType("pollux.module")]
public sealed partial class MirrorModuleGrain : Grain, IMirrorModuleGrain
{
    private readonly DurableState<MirrorModuleState> _state;
    private readonly TimeProvider _time;
    private readonly ControlGeneration _generation;
    private readonly ILogger<MirrorModuleGrain> _log;

    public MirrorModuleGrain(
        [PersistentState(GrainStateNames.MirrorModule, GrainStateNames.Storage)] IPersistentState<MirrorModuleState> storage,
        TimeProvider time, ControlGeneration generation, ILogger<MirrorModuleGrain> log)
    {
        _generation = generation;
        _state = new(storage, DeactivateOnIdle);
        _time = time;
        _log = log;
    }

    private string Key => this.GetPrimaryKeyString();

    private long NowUnixMs => _time.GetUtcNow().ToUnixTimeMilliseconds();

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        FollowIfOpen();
        FailbackIfPreferred();
        return Task.CompletedTask;
    }

    public async Task<ArbitrationResult> ArbitrateAsync(ArbitrationCall call)
    {
        var started = _time.GetTimestamp();
        using var span = ControlPlaneTelemetry.StartArbitration(Key, call.Change, call.By, call.TraceParent);
        var result = await _generation.IsSupersededAsync() ? Superseded : await DecideAsync(call);
        if (result.Granted && await _generation.IsSupersededAsync()) result = Superseded;
        var outcome = result.Granted ? "granted" : "refused";
        span?.SetTag("pollux.outcome", outcome).SetTag("pollux.epoch", result.Record?.Epoch).SetTag("pollux.reason", result.Reason);
        ControlPlaneTelemetry.Arbitrated(call.Change, outcome, _time.GetElapsedTime(started));
        return result;
    }

    public Task<ModuleOrder?> ReadOrderAsync()
    {
        var state = _state.Value;
        return Task.FromResult(state is { Phase: not ModulePhase.None, Spec: { } spec, Record: { } record }
            // A command is for the host that was the primary when it was given, and offered only while it still is: handed over, the new
            // primary must not take it for its own.
            ? new ModuleOrder(
                Key, state.Phase, spec, state.Run, View(record), state.Command is { Kind: not StopStartCommand.Kind } command && command.From == record.Primary ? Order(command) : null,
                state.Verify)
            {
                Starts = state.Starts,
                Wanted = WantedNow(state),
            }
            : null);
    }

    public Task<ModuleView> ReadAsync()
    {
        var state = _state.Value;
        return Task.FromResult(new ModuleView(
            Key, state.Phase, state.Spec, state.Hosts, state.Run, state.Record is { } record ? View(record) : null, Creation(state),
            Order(state.Command), state.CommandEnds, state.History, state.Verify)
        {
            Wanted = WantedNow(state),
            FailbackWaits = _failbackWaits is { Length: > 0 } waits ? waits : null,
            Forgotten = Forgotten,
        });
    }

    private static ArbitrationResult Superseded => new(false, null, Problems.ControlSuperseded.Cause) { Undecided = true };

    /// <summary>The answer leaves after the write. If the write fails the exception leaves instead: an unknown outcome, which the host
    /// resolves by asking again with the same id.</summary>
    private async Task<ArbitrationResult> DecideAsync(ArbitrationCall call)
    {
        Hear(call.RecordIncarnation, call.ExpectedEpoch);
        await LookAgainAsync();
        var state = _state.Value;
        if (Forgotten)
            return new ArbitrationResult(false, null, "The database is older than the record of a host: it was restored, and nobody has declared it.") { Undecided = true };
        if (Recovering)
            return new ArbitrationResult(false, null, "The control plane was restored; the record is not recovered from the hosts' reports yet.") { Undecided = true };
        if (state is not { Phase: ModulePhase.Active, Record: { } record })
            return new ArbitrationResult(false, null, $"There is no module {Key}.") { Undecided = _generation.Number > 0 }; // Forgotten, perhaps, and not taken back yet.
        if (ArbiterChanges.Parse(call.Change) is not { } change)
            return new ArbitrationResult(false, View(record), "The change is none of look, takeover, exclude, join, handover.");

        var (decision, next) = Arbiter.Decide(
            record, new ArbiterRequest(call.OperationId, call.RecordIncarnation, call.ExpectedEpoch, change, call.By, call.Peer));
        if (!ReferenceEquals(next, record))
        {
            // A host that takes over on its own ends what the operator's word was about; one that was wanted fulfils it.
            var placed = change == ArbiterChange.Takeover ? WantedNow(state)?.Host == call.By : state.PlacedByOperator;
            await _state.SaveAsync(WithHistory(state with { Record = next, PlacedByOperator = placed }, call.Change, call.By, ArbiterChanges.Cause(change, call.By, call.Peer)));
            LogChanged(Key, call.Change, call.By, next.Epoch, next.Primary, string.Join(',', next.InSync));
        }
        return new ArbitrationResult(decision.Granted, View(decision.Record), decision.Reason);
    }

    private MirrorModuleState WithHistory(MirrorModuleState state, string change, string by, string cause)
    {
        var record = state.Record!;
        var history = state.History.Length < ModuleView.HistoryMax ? state.History : state.History[^(ModuleView.HistoryMax - 1)..];
        return state with
        {
            History = history.Add(new RecordHistoryEntry(NowUnixMs, record.Epoch, record.Primary, record.InSync, change, by, cause)),
        };
    }

    private static RecordView View(ArbiterRecord record) => new(record.Incarnation, record.Epoch, record.Primary, record.InSync) { Declared = record.Declared };

    private static CommandOrder? Order(OpenCommand? command) => command is null ? null : new(command.OperationId, command.Kind);

    [LoggerMessage(Level = LogLevel.Information,
        Message = "Record changed module={Module} change={Change} by={By} epoch={Epoch} primary={Primary} insync={InSync}")]
    private partial void LogChanged(string module, string change, string by, long epoch, string? primary, string inSync);

    [LoggerMessage(Level = LogLevel.Information, Message = "Module accepted by both hosts module={Module}")]
    private partial void LogAccepted(string module);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Module refused and rolled back module={Module} code={Code} cause=\"{Cause}\"")]
    private partial void LogRefused(string module, string code, string cause);

    [LoggerMessage(Level = LogLevel.Information, Message = "Command ended module={Module} kind={Kind} succeeded={Succeeded} reason=\"{Reason}\"")]
    private partial void LogCommandEnded(string module, string kind, bool succeeded, string reason);
}
