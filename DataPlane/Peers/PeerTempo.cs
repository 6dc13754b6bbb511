namespace Pollux.DataPlane.Peers;

/// <summary>The times of the link, scaled to the shortest detection time of the modules. The two hosts learn of a change at different
/// moments: the longest ping interval stays well below the shortest silence.</summary>
public sealed record PeerTempo(long DetectionMs)
{
    /// <summary>Interval of pings: at most a quarter of a second, whatever the detection time.</summary>
    public int PingMs => (int)Math.Clamp(DetectionMs / 15, 100, 250);

    /// <summary>A connection without a message for this long is dropped and dialled anew: TCP's own repeats grow far beyond a detection
    /// time, so after a short cut a new connection is there sooner than the old one revives.</summary>
    public int SilenceMs => (int)Math.Clamp(DetectionMs * 4 / 15, 533, 4_000);

    /// <summary>A network that has come back is preferred again after it was heard for this long: one that fails every few seconds must not
    /// take the replication with it each time.</summary>
    public int SteadyMs => (int)Math.Clamp(DetectionMs * 2, 5_000, 60_000);

    /// <summary>Time for TCP and TLS together, at most 1 s.</summary>
    public int ConnectMs => Math.Min(1_000, SilenceMs);

    /// <summary>Bounds of the jittered pause between attempts.</summary>
    public int PauseMsMin => PingMs / 2;
    public int PauseMsMax => PingMs;
}
