using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Peers;

/// <summary>What arrives from the peer, once, over however many networks it came. Called on the connections' receiving loops; must not block.</summary>
public interface IPeerEvents
{
    /// <summary>A beacon of a module; the answer, if any, goes by <see cref="PeerLink.Answer"/>.</summary>
    void BeaconReceived(string module, Beacon beacon);

    void BeaconAnswered(string module, BeaconAnswer answer);

    /// <summary>The peer is the initial host of a module that is being prepared, and says how much its directory holds.</summary>
    void ContentReceived(string module, Guid record, IReadOnlyList<long> contentBytes);

    /// <summary><see cref="PeerLink.PeerReachable"/> or the state of a network changed.</summary>
    void PeerChanged();
}
