namespace Pollux.DataPlane.Core.Roles;

/// <summary>Decides, for one module on one host, who this host is and what it may do.</summary>
public sealed class RoleMachine
{
    /// <summary>Made only after the runtime is certain that no VM of the module, left over from an earlier process, runs on this host.</summary>
    /// <param name="recovered">The newest stored state, or <see cref="LocalState.Fresh"/>.</param>
    /// <param name="nowMs">The monotonic clock that every <see cref="Step"/> is fed with.</param>
    public RoleMachine(RoleConfiguration configuration, LocalState recovered, long nowMs)
    {
        State = recovered;
        NextDeadlineMs = nowMs + configuration.Timings.BeaconIntervalMs;
        View = new RoleView(Role.Stop, false, "", "", nowMs, null, recovered.Record, recovered.DataState, 0, null, false, null);
    }

    public RoleView View { get; }

    /// <summary>The state last handed out for storing.</summary>
    public LocalState State { get; }

    /// <summary>Feed a <see cref="RoleInput.Tick"/> no later than this (the machine's clock).</summary>
    public long NextDeadlineMs { get; }

    /// <summary>Takes one input and appends what has to be done, in order.</summary>
    public void Step(long nowMs, RoleInput input, List<RoleEffect> effects)
    {
    }
}
