namespace Pollux.DataPlane.Core.Roles;

/// <summary>What the operator has set for a module and both hosts keep to, durably: it holds while the control plane is away.</summary>
public sealed record ModulePolicy
{
    public const int RestartsDefault = 3;
    public const long RestartWindowMsDefault = 24 * 3_600_000;
    public const int StartPriorityDefault = 5;

    /// <summary>Tries. Each crash within the window is kept in the stored state; more than this is no limit.</summary>
    public const int RestartsLimit = 100;

    public static readonly ModulePolicy Default = new();

    /// <summary>Maintenance: this host does not take over from a silent primary.</summary>
    public bool FailoverOff { get; init; }

    /// <summary>Maintenance: a host that has booted does not run the module before the next start by command.</summary>
    public bool StaysDownAtBoot { get; init; }

    /// <summary>Maintenance: nothing follows from what checkers find.</summary>
    public bool ChecksOff { get; init; }

    /// <summary>A crashing workload is started again so often within the window; then it stays down. 0: never.</summary>
    public int RestartsMax { get; init; } = RestartsDefault;

    public long RestartWindowMs { get; init; } = RestartWindowMsDefault;

    /// <summary>1 first, 9 last: the order in which this host starts the workloads of its modules when many are due at once.</summary>
    public int StartPriority { get; init; } = StartPriorityDefault;

    /// <summary>Within the limits of this version, whoever set it.</summary>
    public ModulePolicy Bounded() => this with
    {
        RestartsMax = Math.Clamp(RestartsMax, 0, RestartsLimit),
        RestartWindowMs = Math.Max(1, RestartWindowMs),
        StartPriority = Math.Clamp(StartPriority, 1, 9),
    };
}
