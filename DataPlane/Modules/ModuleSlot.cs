using System.Collections.Immutable;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>One module of this host from the first word of it to the last: preparation, opening, running, leaving.</summary>
/// <remarks>
/// <code>
/// Preparing ──active──► Opening ──► Running ──absent──► Leaving ──► gone
///                         └─fault, again after a pause─┘
/// </code>
/// Owned by the host's reconciling loop, which calls <see cref="Reconcile"/> with the newest wish; long steps run as tasks beside it.
/// </remarks>
internal sealed class ModuleSlot(string module, string self, IModuleMaker maker)
{
    private const long RetryMs = 2_000;

    private Task<PreparationVerdict>? _preparing;
    private Task<ModuleRuntime>? _opening;
    private Task? _leaving;
    private volatile ModuleRuntime? _runtime;
    private volatile PreparationVerdict? _verdict;
    private volatile string? _fault;
    private Guid _preparedFor;
    private ModuleRuntime? _limitsOf;
    private ResyncLimitsMessage? _limits;
    private long _retryMs;
    private readonly long _sinceMs = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    public ModuleRuntime? Runtime => _runtime;

    /// <summary>The module is gone from this host.</summary>
    public bool Gone { get; private set; }

    /// <summary>Empty until the first wish is known.</summary>
    public IReadOnlyList<string> Directories { get; private set; } = [];

    /// <returns>True if something is under way and another look is due soon.</returns>
    public bool Reconcile(DesiredModule? desired, long nowMs)
    {
        if (_leaving is not null)
            return Leave(desired);
        if (desired is null)
            return BeginLeaving();
        Directories = desired.Directories;
        if (desired.Phase == ModulePhase.Preparing && _runtime is null && _opening is null)
            return Prepare(desired);
        _preparing = null;
        if (_runtime is { } runtime)
        {
            runtime.Put(Wish(desired));
            runtime.SetCheckers(desired.Checkers);
            // A command is the primary's; the other host reads it in the same order and leaves it alone.
            if (desired.Command is { } command && KindOf(command) is { } kind && desired.Record.Primary == self)
                runtime.Put(new RoleInput.Command(command.OperationId, kind));
            if (desired.Verify is { } verify && verify.Host == self)
                runtime.Wish(verify);
            SetResyncLimits(runtime, desired.ResyncLimits);
            return false;
        }

        return Open(desired, nowMs);
    }

    private static RoleInput.Desired Wish(DesiredModule desired) => new(desired.Run)
    {
        Policy = desired.Policy is { } policy
            ? new ModulePolicy
            {
                FailoverOff = policy.FailoverOff, StaysDownAtBoot = policy.StaysDownAtBoot, RestartsMax = policy.RestartsMax,
                RestartWindowMs = policy.RestartWindowMs, StartPriority = policy.StartPriority, ChecksOff = policy.ChecksOff,
            }
            : null,
        Starts = desired.Starts,
        WantedPrimary = desired.WantedPrimary,
        WantedEpoch = desired.WantedEpoch,
    };

    /// <returns>Null for a command that this version does not know: the control plane may be newer, and ends it after its deadline.</returns>
    private static RoleCommand? KindOf(ModuleCommand command) => command.Kind switch
    {
        ModuleCommand.Swap => RoleCommand.Swap,
        ModuleCommand.Restart => RoleCommand.Restart,
        ModuleCommand.FullResync => RoleCommand.FullResync,
        _ => null,
    };

    /// <summary>Only what has changed is passed on: until then a limit that was set on this host holds.</summary>
    private void SetResyncLimits(ModuleRuntime runtime, ResyncLimitsMessage? wanted)
    {
        if (_limitsOf == runtime && _limits == wanted)
            return;
        var isFirst = _limitsOf != runtime;
        (_limitsOf, _limits) = (runtime, wanted);
        var limits = wanted is null ? ResyncLimits.Default : new ResyncLimits(wanted.BytesPerSecondMin, wanted.BytesPerSecondMax == 0 ? long.MaxValue : wanted.BytesPerSecondMax);
        if (!limits.IsValid)
            HostLog.Error("modules", "limits of a resync that are none were ignored", ("module", module), ("min", limits.BytesPerSecondMin), ("max", limits.BytesPerSecondMax));
        else if (!isFirst || wanted is not null)
            runtime.SetResyncLimits(limits);
    }

    public ObservedModule? Observe()
    {
        if (_runtime is { } runtime)
            return runtime.Observe(_verdict);
        var problems = ImmutableArray<ObservedProblem>.Empty;
        if (_fault is { } fault)
        {
            problems = [new ObservedProblem("module.open-failed", "The module cannot be opened on this host",
                "The module does not run on this host and is not protected.", fault, "Mend the cause; it is tried again every two seconds.")];
        }

        var (code, cause) = _fault is { } why ? ("module.open-failed", why)
            : _opening is not null ? ("module.opening", "The module is opened on this host.")
            : ("module.preparing", "The host checks whether the module can live here.");
        return new ObservedModule(module, "STOP", false, nameof(DataState.Unknown), ModuleRuntime.ToMessage(AuthorityRecord.None), code, cause,
            _sinceMs, null, new ObservedReplication(false, false, false, 0, 0, 0, 0, 0, null), _verdict, problems, [], []);
    }

    /// <summary>The process ends: the module is left in order.</summary>
    public async Task CloseAsync()
    {
        if (_opening is { } opening)
        {
            try
            {
                _runtime ??= await opening.ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or Fuse.FuseException or ModuleOpenException
                or OperationCanceledException)
            {
                HostLog.Warn("modules", "the module was not open yet", ("module", module), ("reason", e.Message));
            }
        }

        if (_leaving is { } leaving)
            await leaving.ConfigureAwait(false);
        else if (_runtime is { } runtime)
        {
            await runtime.LeaveAsync().ConfigureAwait(false);
            await runtime.DisposeAsync().ConfigureAwait(false);
        }
    }

    private bool Prepare(DesiredModule desired)
    {
        if (_preparedFor != desired.Record.Incarnation)
        {
            // Between two looks the name has become another module's: a verdict on the former one says nothing of it.
            if (_preparing is { IsCompleted: false })
                return true;
            (_preparedFor, _preparing, _verdict) = (desired.Record.Incarnation, null, null);
        }
        if (_verdict is not null)
            return false;
        _preparing ??= maker.PrepareAsync(desired);
        if (!_preparing.IsCompleted)
            return true;
        if (_preparing.IsCanceled)
            return false;
        // The result of a completed task; a fault in it is a defect and ends the process loudly.
        _verdict = _preparing.GetAwaiter().GetResult();
        HostLog.Info("modules", "prepared", ("module", module), ("accepted", _verdict.Accepted), ("problem", _verdict.Problem?.Code));
        maker.Changed();
        return false;
    }

    private bool Open(DesiredModule desired, long nowMs)
    {
        if (_opening is null)
        {
            if (nowMs < _retryMs)
                return true;
            _opening = maker.OpenAsync(desired);
        }

        if (!_opening.IsCompleted)
            return true;
        var opened = _opening;
        _opening = null;
        if (opened.IsCanceled)
            return false;
        if (opened.IsCompletedSuccessfully)
        {
            _runtime = opened.GetAwaiter().GetResult();
            _fault = null;
            maker.Changed();
            return Reconcile(desired, nowMs);
        }

        var fault = opened.Exception?.InnerException;
        if (fault is not (IOException or UnauthorizedAccessException or Fuse.FuseException or ModuleOpenException))
            opened.GetAwaiter().GetResult();
        if (_fault != fault!.Message)
            HostLog.Error("modules", "the module cannot be opened", ("module", module), ("reason", fault.Message));
        _fault = fault.Message;
        _retryMs = nowMs + RetryMs;
        maker.Changed();
        return true;
    }

    private bool BeginLeaving()
    {
        if (_opening is { IsCompleted: false } or null && _runtime is null && _preparing is { IsCompleted: false })
            return true;
        if (_opening is { } opening)
        {
            if (!opening.IsCompleted)
                return true;
            if (opening.IsCompletedSuccessfully)
                _runtime = opening.GetAwaiter().GetResult();
            _opening = null;
        }

        if (_runtime is null)
        {
            Gone = true;
            return false;
        }

        _runtime.Put(new RoleInput.Desired(false));
        _leaving = LeaveAsync(_runtime);
        return true;
    }

    private bool Leave(DesiredModule? desired)
    {
        if (!_leaving!.IsCompleted)
            return true;
        _leaving.GetAwaiter().GetResult();
        maker.Changed();
        if (desired is null)
        {
            Gone = true;
            return false;
        }

        // Made anew under the same name while the former one was left: from the beginning.
        _leaving = null;
        _runtime = null;
        _preparing = null;
        _verdict = null;
        return true;
    }

    private async Task LeaveAsync(ModuleRuntime runtime)
    {
        await runtime.StoppedAsync().ConfigureAwait(false);
        await runtime.DisposeAsync().ConfigureAwait(false);
        maker.Forget(module);
        HostLog.Info("modules", "the module is gone from this host; its directories keep their data", ("module", module), ("directories", string.Join(", ", Directories)));
    }
}

/// <summary>What a slot needs of its host.</summary>
internal interface IModuleMaker
{
    Task<PreparationVerdict> PrepareAsync(DesiredModule desired);

    /// <summary>Opens the directory, makes certain that no VM of the module runs, and starts the runtime.</summary>
    /// <exception cref="IOException">It cannot be opened now; it is tried again.</exception>
    Task<ModuleRuntime> OpenAsync(DesiredModule desired);

    /// <summary>Removes what this host stored about a module that is gone.</summary>
    void Forget(string module);

    void Changed();
}

/// <summary>A module cannot be opened for a reason that is not an I/O fault.</summary>
public sealed class ModuleOpenException(string message) : Exception(message);
