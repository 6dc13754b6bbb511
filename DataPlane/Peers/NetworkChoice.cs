using System.Collections.Immutable;

namespace Pollux.DataPlane.Peers;

/// <summary>How well one network to the peer is heard.</summary>
/// <param name="SilentMs">Since the last message that came back over it, milliseconds; null: none came yet.</param>
/// <param name="SteadyMs">For how long it has been heard without a break, milliseconds; 0 while it is not.</param>
public readonly record struct NetworkReading(long? SilentMs, long SteadyMs);

public enum NetworkVerdict
{
    Stay,

    /// <summary>It is silent and another is not: what runs over it is broken off now.</summary>
    Leave,

    /// <summary>A preferred one has been heard steadily: what runs over this one moves at the next safe moment.</summary>
    GoBack,
}

/// <summary>Which of the networks between the two hosts carries the replication. Networks are numbered from 1 in order of preference, and
/// readings are in that order.</summary>
public static class NetworkChoice
{
    /// <summary>Networks of a host. Two are usual, a third is a luxury; each costs a connection and a beacon per module and interval.</summary>
    public const int NetworksMax = 4;

    /// <summary>In which order to dial: the first that answers is taken.</summary>
    public static ImmutableArray<int> DialOrder(IReadOnlyList<NetworkReading> networks, PeerTempo tempo) =>
        [.. Enumerable.Range(1, networks.Count).OrderBy(number => Rank(networks[number - 1], tempo))];

    /// <param name="used">The network that is used now; 0: one that the peer no longer has.</param>
    public static NetworkVerdict Judge(int used, IReadOnlyList<NetworkReading> networks, PeerTempo tempo)
    {
        var better = used == 0 ? networks.Count : used - 1;
        if (used > 0 && used <= networks.Count && networks[used - 1].SilentMs >= tempo.SilenceMs && networks.Any(network => network.SilentMs < tempo.SilenceMs / 2))
            return NetworkVerdict.Leave;
        return networks.Take(better).Any(network => network.SilentMs < tempo.SilenceMs && network.SteadyMs >= tempo.SteadyMs)
            ? NetworkVerdict.GoBack
            : NetworkVerdict.Stay;
    }

    /// <summary>One that has come back may go again: it is not preferred before it has been steady, unless nothing else is.</summary>
    private static int Rank(in NetworkReading network, PeerTempo tempo) => network switch
    {
        { SilentMs: null } => 1,
        { SilentMs: var silentMs } when silentMs >= tempo.SilenceMs => 2,
        { SteadyMs: var steadyMs } => steadyMs >= tempo.SteadyMs ? 0 : 1,
    };
}
