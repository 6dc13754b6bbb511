using System.Collections.Immutable;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>What this host tells a control plane that was restored or has lost its database (rule S10).</summary>
public sealed partial class DataPlaneHost
{
    /// <summary>A role machine takes its inputs within milliseconds; one that does not is asked again with the whole question.</summary>
    private static readonly TimeSpan RecallMax = TimeSpan.FromSeconds(5);

    /// <remarks>An answer of the former control plane may have arrived just before its session ended and wait in a module's queue; what it grants
    /// must be in what is told. So each running module is asked behind everything that has come before.</remarks>
    private async Task RecoverAsync(Recover question)
    {
        try
        {
            if (_desired is not { } desired)
            {
                _control.Tell(new Recovered(question.Generation, null, null, []));
                return;
            }
            var modules = await Task.WhenAll(desired.Modules.Where(module => module.Phase == ModulePhase.Active).Select(RecallAsync)).ConfigureAwait(false);
            _control.Tell(new Recovered(question.Generation, desired.Peer?.Host, desired.ClusterText, [.. modules]));
            HostLog.Info("control", "told what is stored here", ("generation", question.Generation), ("modules", modules.Length));
        }
        catch (Exception e) when (e is TimeoutException or IOException or UnauthorizedAccessException)
        {
            HostLog.Error("control", "what is stored here could not be told; the control plane asks again", ("reason", e.Message));
        }
    }

    private async Task<RecoveredModule> RecallAsync(DesiredModule module)
    {
        // Without a runtime nothing changes the stored state: no arbiter is asked, and no beacon heard.
        var state = _slots.TryGetValue(module.Module, out var slot) && slot.Runtime is { } runtime
            ? await runtime.RecallAsync().WaitAsync(RecallMax).ConfigureAwait(false)
            : new ModuleState(StateDirectory(module.Module)).Load() ?? LocalState.Fresh;
        return new RecoveredModule(
            module, state.Record.Epoch > 0 ? ModuleRuntime.ToMessage(state.Record) : null, state.DataState.ToString());
    }
}
