using System.Diagnostics.Metrics;
using Pollux.DataPlane.Peers;

namespace Pollux.DataPlane.Telemetry;

/// <summary>Metrics of the networks to the peer, tagged with the number of the network; the host is the resource.</summary>
public static class PeerMetrics
{
    private static readonly Meter Meter = new("Pollux.Peers");
    private static volatile PeerLink? s_peers;

    static PeerMetrics()
    {
        Meter.CreateObservableGauge("pollux.network.silence", () => Read(static (network, nowMs) => network.Read(nowMs).SilentMs / 1000.0), "s",
            "Since the last message that came back over the network; absent before the first.");
        Meter.CreateObservableGauge("pollux.network.round_trip", () => Read(static (network, _) => network.RoundTrip?.TotalSeconds), "s",
            "Round trip of the last ping over the network; absent before the first.");
    }

    /// <summary>The process has one peer.</summary>
    public static void Show(PeerLink peers) => s_peers = peers;

    private static IEnumerable<Measurement<double>> Read(Func<PeerNetwork, long, double?> value)
    {
        if (s_peers is not { } peers)
            yield break;
        foreach (var network in peers.Networks)
        {
            if (value(network, BootClock.NowMs) is { } read)
                yield return new Measurement<double>(read, new KeyValuePair<string, object?>("network", network.Number));
        }
    }
}
