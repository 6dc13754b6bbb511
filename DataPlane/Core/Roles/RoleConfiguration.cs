namespace Pollux.DataPlane.Core.Roles;

/// <summary>What a role machine is told once, when it is made.</summary>
/// <param name="Module">Name of the module; appears in texts only.</param>
/// <param name="Self">This host's name, as the record writes it.</param>
/// <param name="Peer">The other host of the cluster.</param>
/// <param name="Timings">Must be equal on both hosts: rule S8 compares one host's lease with the other's patience.</param>
/// <param name="Incarnation">Names this run of the process; a new one for each machine ever made.</param>
/// <param name="LostPower">The host has started anew since the state was last stored (another boot id), or that cannot be excluded.</param>
/// <param name="NewOperationId">Makes the ids of arbitration requests. Injected, so that a simulation replays; never returns the same id twice,
/// not even over restarts.</param>
public sealed record RoleConfiguration(
    string Module, string Self, string Peer, RoleTimings Timings, Guid Incarnation, bool LostPower, Func<Guid> NewOperationId)
{
    /// <summary>The users of an earlier process's volume wait for it to be served again; nothing of it is answered before.</summary>
    public bool VolumeHeld { get; init; }

    /// <summary>The workload of that process is left, with the lease that it had; only with <see cref="VolumeHeld"/>.</summary>
    public bool WorkloadKept { get; init; }
}
