using System.Collections.Immutable;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Peers;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>The addresses of this host as it announces them. They may be changed while it runs (<c>pollux-host addresses</c>): the stored
/// identity is looked at again when its file has changed.</summary>
internal sealed class OwnAddresses(HostIdentity identity, DataPlaneOptions options)
{
    private readonly IdentityStore _store = new(options.DataDirectory);
    private ImmutableArray<string> _addresses = identity.Addresses;
    private DateTime _storedAt = new IdentityStore(options.DataDirectory).StoredAt;

    /// <summary>Where a peer is reached, in order of preference; none while it is not known.</summary>
    public static ImmutableArray<HostNetwork> NetworksOf(PeerHost peer) =>
        peer.Networks is { Length: > 1 } several ? [.. several.Take(NetworkChoice.NetworksMax)]
        : peer is { PeerAddress: { } beacons, ReplicationAddress: { } replication } ? [new HostNetwork(beacons, replication)]
        : [];

    /// <summary>Takes over what was stored since the last look.</summary>
    /// <returns>True if the addresses are others now.</returns>
    public bool Changed()
    {
        var storedAt = _store.StoredAt;
        if (storedAt == _storedAt)
            return false;
        _storedAt = storedAt;
        try
        {
            using var stored = _store.Load();
            if (stored.Addresses.SequenceEqual(_addresses))
                return false;
            ImmutableInterlocked.InterlockedExchange(ref _addresses, stored.Addresses);
            HostLog.Info("host", "the addresses of this host have changed", ("addresses", string.Join(", ", stored.Addresses)));
            return true;
        }
        catch (IdentityException e)
        {
            HostLog.Warn("host", "the stored identity has changed and cannot be read; the addresses stay", ("reason", e.Message));
            return false;
        }
    }

    /// <exception cref="System.Net.Sockets.SocketException">None is configured, and there is no route to the server.</exception>
    public ImmutableArray<HostNetwork> Announce()
    {
        var addresses = _addresses;
        if (addresses.IsEmpty)
            addresses = [LocalAddress.Towards(identity.Server)];
        return [.. addresses.Select(address => new HostNetwork(PeerAddress.Format(address, options.PeerPort), PeerAddress.Format(address, options.ReplicationPort)))];
    }
}
