using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Peers;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>What the replication of one module needs from its surroundings.</summary>
public sealed class ReplicationOptions
{
    /// <summary>Key of the mirror module, the same on both hosts.</summary>
    public required string Module { get; init; }

    /// <summary>Name of the peer as its certificate gives it; sessions of any other host are refused.</summary>
    public required string PeerHost { get; init; }

    /// <summary>Names this run of this process.</summary>
    public required Guid Incarnation { get; init; }

    public required RoleTimings Timings { get; init; }

    /// <summary>Directory of the module's marks (activity log and checkpoint); created if it is not there.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>Opens and scans the module's directory, whatever is mounted over it.</summary>
    public required Func<ObjectStore> OpenStore { get; init; }

    /// <summary>An authenticated connection to the peer's <see cref="ReplicationListener"/>. Fails with an <see cref="IOException"/>,
    /// a socket's or an authentication's exception.</summary>
    public required Func<CancellationToken, ValueTask<LinkConnection>> Dial { get; init; }

    /// <summary>What becomes of a link over a network (<see cref="LinkConnection.Network"/>): it stays where there is no choice.</summary>
    public Func<int, NetworkVerdict> JudgeNetwork { get; init; } = static _ => NetworkVerdict.Stay;

    /// <summary>The cluster's policy: the peer may ask for a connection without encryption (<see cref="ReplicationListener"/>).</summary>
    public bool AllowsPlaintext { get; init; }

    public required ISyncBases Bases { get; init; }

    public required IReplicationEvents Events { get; init; }

    /// <summary>Dial and exchange of greetings. A LAN needs milliseconds; half the detection time leaves room for another try.</summary>
    public TimeSpan HandshakeDeadline => TimeSpan.FromMilliseconds(Math.Clamp(Timings.DetectionMs / 2, 1_000, 10_000));

    /// <summary>A peer that owes acknowledgements and gives none for so long has stopped replicating (rule S4), whatever its beacons say.</summary>
    public TimeSpan ProgressDeadline => TimeSpan.FromMilliseconds(Math.Max(Timings.LeaseMs, 1_000));

    /// <summary>A flush may wait for a disk's whole backlog; Linux guests give up a request after 30 s (SCSI) or never (virtio).</summary>
    public TimeSpan FlushDeadline => TimeSpan.FromMilliseconds(Math.Max(Timings.DetectionMs, 20_000));

    /// <summary>For the steps of a resync in which the peer is busy with its tree and acknowledges nothing. A million objects take
    /// about a minute.</summary>
    public TimeSpan ResyncStepDeadline { get; init; } = TimeSpan.FromMinutes(3);

    /// <summary>Copied between two flushes of a resync, bytes. What is flushed on both hosts need not be copied again when the session is
    /// lost, no flush has much more than this to write (a second on a slow disk), and the disk works while the link does.</summary>
    public long ResyncFlushBytes { get; init; } = 128L << 20;
}
