using System.Collections.Immutable;
using Pollux.DataPlane.Checkers;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Replication;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>What the runtime of one module works with.</summary>
public sealed record ModuleRuntimeOptions
{
    /// <summary>Key <c>cluster/module</c>.</summary>
    public required string Module { get; init; }

    /// <summary>1 to 8; the first holds the VM's definition.</summary>
    public required IReadOnlyList<string> Directories { get; init; }

    /// <summary>Null: nothing is started on top of the directories.</summary>
    public required VmSpec? Vm { get; init; }

    /// <summary>Grain keys, <c>cluster/host</c>, as the record names them.</summary>
    public required string Self { get; init; }
    public required string Peer { get; init; }
    public required RoleTimings Timings { get; init; }

    /// <summary>Names this run of the machine and of its engine.</summary>
    public required Guid Incarnation { get; init; }
    public required bool LostPower { get; init; }
    public required IModuleState State { get; init; }
    public required LocalState Recovered { get; init; }

    /// <summary>The users of an earlier process's volume wait for it to go on (<see cref="ModuleFront.HoldsUsers"/>).</summary>
    public bool VolumeHeld { get; init; }

    /// <summary>The VM of an earlier process, which executes as far as its lease allows; null: it certainly does not run.</summary>
    public GuardedDomain? KeptVm { get; init; }

    /// <summary>Null: outcomes of verifies end with the process.</summary>
    public IVerifyStore? Verifies { get; init; }

    /// <summary>Null: the history ends with the process. The runtime closes it.</summary>
    public IHistoryStore? History { get; init; }
    public required IModuleFront Front { get; init; }
    public required Func<IReplicationEvents, ISyncBases, IReplicationEngine> Engine { get; init; }
    public required IHypervisor Hypervisor { get; init; }
    public required IGuard Guard { get; init; }

    /// <summary>The host's order of VM starts; null: each starts at once.</summary>
    public StartGate? Starts { get; init; }

    /// <summary>How checkers test; by default nothing can be tested.</summary>
    public IProbe Probe { get; init; } = NoProbe.Instance;

    public IHostFencing Fencing { get; init; } = NoFencing.Instance;

    /// <summary>What is wrong with the host as a whole.</summary>
    public Func<ImmutableArray<ObservedProblem>> HostProblems { get; init; } = static () => [];

    public required IModuleLinks Links { get; init; }
    public required Func<long> NowMs { get; init; }

    /// <summary>What is wrong when the replication runs over this network (from 1); null: nothing.</summary>
    public Func<int, ObservedProblem?> DescribeFallback { get; init; } = static _ => null;
}

/// <summary>The ways out of a module: to the peer, to the arbiter, to operators. None of them blocks.</summary>
public interface IModuleLinks
{
    void Send(string module, Beacon beacon);

    void Answer(string module, BeaconAnswer answer);

    /// <summary>Answered by <see cref="ModuleRuntime.Put"/> of an <see cref="RoleInput.ArbiterAnswered"/> within the deadline.</summary>
    void Ask(string module, ArbiterRequest request, long deadlineMs, string? traceParent);

    /// <summary>What operators see of a module changed.</summary>
    void Changed();
}
