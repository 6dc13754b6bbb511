namespace Pollux.DataPlane.Core.Roles;

/// <summary>What operators see of a module on one host; a snapshot.</summary>
/// <param name="Code">One of <see cref="RoleCodes"/>: why the role is what it is.</param>
/// <param name="Cause">The event or wish that led here, in words.</param>
/// <param name="SinceMs">When role, readiness or code last changed (the machine's clock, milliseconds).</param>
/// <param name="WaitsFor">What has to happen next, or null if nothing is waited for.</param>
/// <param name="LeaseUntilMs">End of the right to execute (the machine's clock): 0 without any, <see cref="long.MaxValue"/> if none is needed.</param>
/// <param name="PeerSeenMs">When the peer's last beacon arrived, or null.</param>
/// <param name="OpenRequest">The change that the arbiter has been asked for and has not decided.</param>
public sealed record RoleView(
    Role Role, bool Ready, string Code, string Cause, long SinceMs, string? WaitsFor, AuthorityRecord Record, DataState DataState,
    long LeaseUntilMs, long? PeerSeenMs, bool WorkloadRuns, RecordChange? OpenRequest)
{
    /// <summary>As this host holds it.</summary>
    public ModulePolicy Policy { get; init; } = ModulePolicy.Default;
}
