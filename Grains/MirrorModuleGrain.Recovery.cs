using Microsoft.Extensions.Logging;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Grains;

/// <summary>After a restore or loss of the database (rule S10): until the record is recovered nothing is decided and nothing followed.</summary>
public sealed partial class MirrorModuleGrain
{
    /// <summary>What is stored is memory of another generation: of an earlier one after a restore; of a later one in a silo that was not stopped for it.</summary>
    private bool Recovering => _state.Value.Phase != ModulePhase.None && _state.Value.Generation != _generation.Number;

    /// <summary>The latest epoch that a host was heard to have. Lost with the activation; hosts report every few seconds.</summary>
    private (Guid Incarnation, long Epoch) _heard;

    /// <summary>A change is stored before it is answered, so no host can be ahead, but of a database that has been put back.</summary>
    private bool Forgotten => !Recovering && _state.Value.Record is { } record && _heard.Incarnation == record.Incarnation && _heard.Epoch > record.Epoch;

    public Task HeardAsync(RecordView record)
    {
        Hear(record.Incarnation, record.Epoch);
        return Task.CompletedTask;
    }

    private void Hear(Guid incarnation, long epoch)
    {
        if (incarnation != _heard.Incarnation || epoch > _heard.Epoch) _heard = (incarnation, epoch);
    }

    /// <summary>What this activation has in memory may be what another one has changed since: that is no loss.</summary>
    private async Task LookAgainAsync()
    {
        if (!Forgotten) return;
        await _state.ReadAgainAsync();
        if (Forgotten) LogForgot(Key, _heard.Epoch, _state.Value.Record!.Epoch);
    }

    public async Task<ModuleRecovered> RecoverAsync(ModuleRecovery recovery)
    {
        var state = _state.Value;
        if (recovery.Generation != _generation.Number || state.Generation > recovery.Generation)
            return new ModuleRecovered(null, false, Problems.ClusterRecovering(GrainKey.ClusterOf(Key)));
        if (state is { Phase: not ModulePhase.None, Spec: { } decided } && state.Generation == recovery.Generation)
            return new ModuleRecovered(Entry(decided), false, null);

        // A creation that was under way: nothing has run by it. Where a host has the module as accepted, that is newer.
        var own = state is { Phase: ModulePhase.Active, Record: { } remembered } ? remembered : null;
        switch (RecordRecovery.Decide(Key, own, recovery.Testimonies, recovery.Confirmed, Guid.NewGuid()))
        {
            case RecoveryStep.Decided step:
                await _state.SaveAsync(Recovered(state, step, recovery));
                FailbackIfPreferred();
                LogChanged(Key, "recovered", recovery.Confirmed?.By ?? OperatorContext.Default, step.Record.Epoch, step.Record.Primary, string.Join(',', step.Record.InSync));
                return new ModuleRecovered(Entry(_state.Value.Spec!), false, null);
            case RecoveryStep.Wait { Problem: var problem } when !(problem.Code == Problems.RecordForgottenCode && Forgets(recovery)):
                return new ModuleRecovered(null, false, problem);
            case RecoveryStep.Unknown when own is not null && !Forgets(recovery):
                return new ModuleRecovered(null, false, Problems.RecordForgotten(Key, "Both hosts have reported, and neither has it."));
            default:
                if (_state.Exists) await _state.ClearAsync();
                LogForgotten(Key);
                return new ModuleRecovered(null, true, null);
        }
    }

    private static bool Forgets(ModuleRecovery recovery) => recovery.Confirmed is { Host: null };

    private MirrorModuleState Recovered(MirrorModuleState before, RecoveryStep.Decided step, ModuleRecovery recovery)
    {
        var told = step.Winner.Memory!;
        // Only the hosts know what was ordered last. A command that was open may have been carried out or not: it is not repeated.
        var state = before.Command is null ? before : WithEnd(before, false, "The control plane was restored meanwhile; see what the hosts do, and repeat it if need be.");
        return WithHistory(
            state with
            {
                Phase = ModulePhase.Active,
                Spec = told.Spec,
                Hosts = step.Record.Hosts,
                Run = told.Run,
                Record = step.Record,
                Verify = null,
                Generation = recovery.Generation,
            },
            "recovered", recovery.Confirmed?.By ?? OperatorContext.Default, step.Cause);
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "A host has a later record than the database: was it restored without --restored? Nothing is decided module={Module} host={HostEpoch} database={Epoch}")]
    private partial void LogForgot(string module, long hostEpoch, long epoch);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Module forgotten after a restore: no host has it module={Module}")]
    private partial void LogForgotten(string module);
}
