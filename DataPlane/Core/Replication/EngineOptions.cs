using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>What a machine is told once: names, deadlines, limits.</summary>
public sealed record EngineOptions
{
    /// <summary>Key of the mirror module, the same on both hosts.</summary>
    public required string Module { get; init; }

    /// <summary>Names this run of this process.</summary>
    public required Guid Incarnation { get; init; }

    public required RoleTimings Timings { get; init; }

    /// <summary>Directories of the module; both hosts must have as many.</summary>
    public int Directories { get; init; } = 1;

    /// <summary>Dial and exchange of greetings. A LAN needs milliseconds; half the detection time leaves room for another try.</summary>
    public long HandshakeDeadlineMs => Math.Clamp(Timings.DetectionMs / 2, 1_000, 10_000);

    /// <summary>How long a session whose link has ended may take to go on over another before it counts as lost (rule S4). With
    /// <see cref="ProgressDeadlineMs"/> it stays below the detection time.</summary>
    public long ResumeDeadlineMs => Timings.DegradeAfterMs;

    /// <summary>A peer that owes acknowledgements and gives none for so long has stopped replicating (rule S4), whatever its beacons say.</summary>
    public long ProgressDeadlineMs => Math.Max(Timings.LeaseMs, 1_000);

    /// <summary>A flush may wait for a disk's whole backlog; Linux guests give up a request after 30 s (SCSI) or never (virtio).</summary>
    public long FlushDeadlineMs => Math.Max(Timings.DetectionMs, 20_000);

    /// <summary>The replica ends a session in which it has heard nothing for so long: a source that is alive pings far more often.</summary>
    public long ReplicaSilenceMs => Timings.DetectionMs * 4;

    /// <summary>For the steps of a resync in which the peer is busy with its tree and acknowledges nothing. A million objects take
    /// about a minute.</summary>
    public long ResyncStepDeadlineMs { get; init; } = 180_000;

    /// <summary>Copied between two flushes of a resync, bytes. What is flushed on both hosts need not be copied again when the session is
    /// lost, no flush has much more than this to write (a second on a slow disk), and the disk works while the link does.</summary>
    public long ResyncFlushBytes { get; init; } = 128L << 20;

    /// <summary>Extents of 1 MiB that may be active at once, a multiple of 128. 4096: after a crash at most 4 GiB are copied on their
    /// account, 35 s at 1 Gb/s.</summary>
    public int ActivityLogSlots { get; init; } = 4096;

    /// <summary>See <see cref="FlushHabit"/>. Runs of eight writes and eight flushes keep their mean with so many, and at 1 ms each they are over
    /// in a moment.</summary>
    public int FlushHabitOperations { get; init; } = 64;

    /// <summary>How long something may be unflushed before the engine flushes it by itself: as long as Linux lets pages be dirty, so most of it is
    /// on disk already and the flush is short.</summary>
    public long SettleAfterMs { get; init; } = 30_000;

    /// <summary>How long a write waits for room in the activity log before it fails.</summary>
    public long ActivityLogRoomDeadlineMs { get; init; } = 30_000;

    /// <summary>Local disk calls that have not ended by then, when the machine is stopped, hang.</summary>
    public long StopDeadlineMs { get; init; } = 20_000;

    /// <summary>Pages of the dirty map; see <see cref="DirtyMap.PagesMaxDefault"/>.</summary>
    public int MarkPagesMax { get; init; } = DirtyMap.PagesMaxDefault;
}
