namespace Pollux.DataPlane.Core.Roles;

/// <summary>The times of one module, all derived from the detection time so that rule S8 holds by construction:
/// lease + margin &lt; detection, and the primary asks before its lease ends.</summary>
/// <param name="DetectionMs">Silence after which a peer counts as lost, milliseconds; 30,000 by default, 2,000 at least.</param>
public sealed record RoleTimings(long DetectionMs)
{
    public const long DetectionMsDefault = 30_000;
    public const long DetectionMsMin = 2_000;

    /// <summary>Some fifteen beacons per detection time: a few lost ones do not look like a lost peer.</summary>
    public long BeaconIntervalMs => Math.Clamp(DetectionMs / 15, 100, 1_000);

    /// <summary>The right to execute, counted from the sending time of the last answered beacon.</summary>
    public long LeaseMs => DetectionMs / 2;

    /// <summary>Covers clock drift (2 · drift · lease), the time to pause the VM and the guard's kill.</summary>
    public long MarginMs => DetectionMs / 4;

    /// <summary>Silence after which the primary asks to exclude its peer: well before its own lease ends.</summary>
    public long DegradeAfterMs => LeaseMs * 6 / 10;

    /// <summary>Deadline of one arbitration request before it counts as unknown and is repeated with the same operation id.</summary>
    public long ArbiterDeadlineMs => Math.Clamp(DetectionMs / 6, 300, 2_000);

    /// <summary>How long a graceful stop of the VM may take before it is destroyed.</summary>
    public long GracefulStopMs { get; init; } = 60_000;
}
