namespace Pollux.DataPlane.Core.Roles;

/// <summary>Beacons and answers: the lease of this host, and what is known of the peer.</summary>
public sealed partial class RoleMachine
{
    /// <summary>Sending times kept, beacons. A lease lasts some eight intervals: older answers could not extend it.</summary>
    private const int SentTimesKept = 64;

    private readonly long[] sentMs = new long[SentTimesKept];
    private long beaconSequence;
    private long nextBeaconMs;
    private (Role Role, AuthorityRecord Record, bool Run) beaconShown;

    private Beacon? peerBeacon;
    private long? peerSeenMs;

    /// <summary>When the recorded primary, being the peer, last showed that it has the right to execute; or this machine's start.</summary>
    private long primaryAliveMs;

    /// <summary>Since when the peer says that it is stopped by command and runs nothing.</summary>
    private long? peerStoppedSinceMs;

    /// <summary>When this host last answered a beacon: a promise not to take over for lease and margin (S8).</summary>
    private long? answeredMs;

    /// <summary>Set while this host is about to take over, so that S8's time can pass: no beacon is answered.</summary>
    private bool withholdAnswers;

    /// <summary>End of the right to execute that answers have given (S8); 0 before the first.</summary>
    private long leaseUntilMs;
    private long? lastAnsweredBeaconSentMs;

    private bool LeaseValid => nowMs < leaseUntilMs;

    /// <summary>A beacon of the peer came within the detection time.</summary>
    private bool PeerReachable => peerSeenMs is { } seenMs && nowMs - seenMs < timings.DetectionMs;

    /// <summary>The peer's last beacon, if it counts still.</summary>
    private Beacon? PeerNow => PeerReachable ? peerBeacon : null;

    /// <summary>The peer knows another incarnation of the record: only the arbiter can tell which one is valid (S10).</summary>
    private bool ForeignRecord =>
        PeerNow is { } beacon && beacon.Record.Epoch > 0 && beacon.Record.Incarnation != Record.Incarnation;

    private static bool IsPrimaryRole(Role role) => role is Role.Prim or Role.Alone;

    private void OnBeacon(Beacon beacon)
    {
        // One that a newer one has overtaken says nothing about now: taken for a sign of life it would put off a takeover.
        if (beacon.Incarnation == peerBeacon?.Incarnation && beacon.Sequence <= peerBeacon.Sequence)
            return;
        Obey(beacon.Record, fromArbiter: false);
        peerBeacon = beacon;
        peerSeenMs = nowMs;
        var stopped = beacon is { StopRequested: true, WorkloadRuns: false, Role: Role.Stop };
        peerStoppedSinceMs = stopped ? peerStoppedSinceMs ?? nowMs : null;
        HearPromise(beacon);
        // The target of a resync waits for a beacon of this session: at once rather than within an interval.
        if (sourceBase is not null)
            nextBeaconMs = nowMs;

        // Only the recorded primary is answered, and only while this host, by its own record, is not the primary itself. Its epoch may be
        // older than ours if it has yet to learn of its own change.
        var fromPrimary = IsPrimaryRole(beacon.Role) && beacon.Record.Incarnation == Record.Incarnation
            && beacon.Record.Primary == peer && Record.Primary == peer;
        if (!fromPrimary)
            return;
        targetHeardPrimary = true;
        if (!beacon.WithoutLease)
            primaryAliveMs = nowMs; // S8: a beacon without lease counts as silence.
        if (withholdAnswers || phase == Phase.Claiming)
            return;
        answeredMs = nowMs;
        Emit(new RoleEffect.AnswerBeacon(new BeaconAnswer(beacon.Incarnation, beacon.Sequence, configuration.Incarnation)));
    }

    private void OnBeaconAnswered(BeaconAnswer answer)
    {
        // S8: the answer names the beacon and both incarnations.
        var age = beaconSequence - answer.BeaconSequence;
        if (answer.BeaconIncarnation != configuration.Incarnation || answer.AnswererIncarnation != peerBeacon?.Incarnation
            || age is < 0 or >= SentTimesKept || answer.BeaconSequence < 1)
            return;
        var sent = sentMs[answer.BeaconSequence % SentTimesKept];
        lastAnsweredBeaconSentMs = Math.Max(lastAnsweredBeaconSentMs ?? sent, sent);
        leaseUntilMs = Math.Max(leaseUntilMs, sent + timings.LeaseMs);
    }

    private void SendBeaconIfDue()
    {
        var shown = (View.Role, durableRecord, Wanted);
        if (nowMs < nextBeaconMs && shown == beaconShown)
            return;
        beaconShown = shown;
        nextBeaconMs = nowMs + timings.BeaconIntervalMs;
        sentMs[++beaconSequence % SentTimesKept] = nowMs;
        // The durable record: what this host says, it still says after a crash. It is no primary before it has stored that.
        var role = phase == Phase.Opening && !Durable ? Role.Wait : View.Role;
        Emit(new RoleEffect.SendBeacon(new Beacon(
            configuration.Incarnation, beaconSequence, role, View.Ready, State.DataState, durableRecord,
            WithoutLease: IsPrimaryRole(role) && LeaseNeeded && !LeaseValid, State.LostPower, StopRequested: !Wanted, WorkloadMayRun)
        {
            Leaves = hostStops,
            PromisedEpoch = Durable ? State.PromisedEpoch : 0,
            PeerReleased = ServesOrOpens && PeerReleased && !peerHolds,
        }));
    }
}
