using System.Net;
using System.Net.Sockets;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Peers;
using Pollux.DataPlane.Replication;

namespace Pollux.DataPlane.Modules;

/// <summary>Dials the peer's replication listener over the network that <see cref="NetworkChoice"/> prefers, and over the next ones if that does
/// not answer.</summary>
internal sealed class ReplicationDialler(HostTls tls, PeerLink peers, TimeSpan silenceMax)
{
    private volatile Known? _peer;

    private sealed record Known(string Host, IReadOnlyList<string> Addresses);

    /// <param name="addresses"><c>address:port</c> of each network, in order of preference.</param>
    public void SetPeer(string host, IReadOnlyList<string> addresses) => _peer = new Known(host, addresses);

    /// <summary>A link over TLS.</summary>
    public async ValueTask<LinkConnection> DialAsync(CancellationToken cancel)
    {
        var peer = Peer;
        var order = NetworkChoice.DialOrder(peers.Readings, peers.Tempo).Where(number => number <= peer.Addresses.Count).ToArray();
        var (socket, network) = await NetworkDialler.ConnectAsync(
            [.. order.Union(Enumerable.Range(1, peer.Addresses.Count)).Select(number => (number, peer.Addresses[number - 1]))], ConnectAsync, cancel)
            .ConfigureAwait(false);
        var (connection, _) = await LinkConnection.SecureAsync(
            new LinkTransport(socket), (transport, token) => tls.DialLinkAsync(transport, peer.Host, token), cancel).ConfigureAwait(false);
        connection.Network = network;
        return connection;
    }

    /// <summary>A bare connection over one network.</summary>
    public async ValueTask<Socket> ConnectAsync(int network, CancellationToken cancel) =>
        network <= Peer.Addresses.Count
            ? await ConnectAsync(PeerAddress.Parse(Peer.Addresses[network - 1]), cancel).ConfigureAwait(false)
            : throw new IOException($"the peer has no network {network} any more");

    public NetworkVerdict Judge(int network) =>
        NetworkChoice.Judge(_peer is { } peer && network <= peer.Addresses.Count ? network : 0, peers.Readings, peers.Tempo);

    private Known Peer => _peer is { Addresses.Count: > 0 } peer ? peer : throw new IOException("the peer's replication address is not known yet");

    private async Task<Socket> ConnectAsync(EndPoint peer, CancellationToken cancel)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            SocketTuning.Apply(socket, silenceMax);
            return await LinkConnection.ConnectAsync(socket, peer, cancel).ConfigureAwait(false);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
