using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Peers;

/// <summary>Accepts the connections that the peer dials, one for each network: on them come its beacons, and our answers go back.</summary>
/// <remarks>Mutual TLS 1.3; only the expected host is served. A newer connection of a network replaces the older one.</remarks>
internal sealed class PeerListener : IAsyncDisposable
{
    /// <summary>Connections that may be in their handshake at a time: the one peer needs one for each network; the rest is for its redials
    /// and for strangers.</summary>
    private const int HandshakesMax = 4 + NetworkChoice.NetworksMax;

    private readonly HostTls _tls;
    private readonly string _self;
    private readonly Func<PeerTempo> _tempo;
    private readonly Action<PeerConnection, PeerMessage> _received;
    private readonly Action<PeerConnection> _ended;
    private readonly TcpListener _listener;
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _handshakes = new(HandshakesMax, HandshakesMax);
    private readonly Lock _gate = new();
    private readonly HashSet<Task> _accepted = [];
    private readonly CancellationTokenSource?[] _connections = new CancellationTokenSource?[NetworkChoice.NetworksMax];
    private string? _expected;
    private Task _accepting = Task.CompletedTask;

    /// <param name="listen">Port 0 chooses one.</param>
    /// <param name="received">Called on the connection's loop; must not block.</param>
    /// <param name="ended">Nothing comes or goes on it any more.</param>
    public PeerListener(
        HostTls tls, string self, IPEndPoint listen, Func<PeerTempo> tempo, Action<PeerConnection, PeerMessage> received, Action<PeerConnection> ended)
    {
        (_tls, _self, _tempo, _received, _ended) = (tls, self, tempo, received, ended);
        _listener = new TcpListener(listen);
        if (listen.AddressFamily == AddressFamily.InterNetworkV6)
            _listener.Server.DualMode = true;
    }

    public IPEndPoint EndPoint => (IPEndPoint)_listener.LocalEndpoint;

    /// <exception cref="SocketException">The address cannot be listened on.</exception>
    public void Start()
    {
        _listener.Start(HandshakesMax);
        _accepting = Vital.Run("accepting the peer", AcceptAsync);
    }

    /// <summary>Serves this host and no other; connections of another end.</summary>
    public void Expect(string host)
    {
        lock (_gate)
        {
            if (_expected == host)
                return;
            _expected = host;
            foreach (var connection in _connections)
                connection?.Cancel();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Stop();
        await _accepting.ConfigureAwait(false);
        Task[] accepted;
        lock (_gate)
            accepted = [.. _accepted];
        await Task.WhenAll(accepted).ConfigureAwait(false);
        _listener.Dispose();
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            Socket socket;
            try
            {
                await _handshakes.WaitAsync(_stop.Token).ConfigureAwait(false);
                socket = await _listener.AcceptSocketAsync(_stop.Token).ConfigureAwait(false);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException e)
            {
                // The one who dialled is gone again, or descriptors are short: neither must end the accepting.
                _handshakes.Release();
                HostLog.Warn("peer", "accepting a connection failed", ("reason", e.Message));
                await Task.Delay(_tempo().PingMs, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                continue;
            }

            var task = ServeAsync(socket);
            lock (_gate)
                _accepted.Add(task);
            _ = task.ContinueWith(Forget, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }

    private void Forget(Task done)
    {
        lock (_gate)
            _accepted.Remove(done);
    }

    private async Task ServeAsync(Socket socket)
    {
        await Task.Yield();
        using var connection = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        PeerConnection? link = null;
        var from = socket.RemoteEndPoint;
        try
        {
            using (socket)
            {
                int network;
                try
                {
                    (link, network) = await GreetAsync(socket, connection.Token).ConfigureAwait(false);
                }
                finally
                {
                    _handshakes.Release();
                }

                await RunAsync(link, network, connection).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (PeerConversation.IsLinkFault(e))
        {
            if (!_stop.IsCancellationRequested)
                HostLog.Warn("peer", "connection from the peer's side ended", ("from", from), ("reason", PeerConversation.Explain(e, _tempo())));
        }
        finally
        {
            if (link is not null)
                await link.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task<(PeerConnection Link, int Network)> GreetAsync(Socket socket, CancellationToken cancel)
    {
        using var handshake = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        handshake.CancelAfter(_tempo().ConnectMs);
        TcpTuning.Apply(socket, _tempo().SilenceMs);
        var (stream, host) = await _tls.AcceptAsync(new NetworkStream(socket), handshake.Token).ConfigureAwait(false);
        var link = new PeerConnection(stream);
        try
        {
            string? expected;
            lock (_gate)
                expected = _expected;
            if (host != expected)
                throw new AuthenticationException($"{host} is not the peer of {_self}");
            var hello = await link.ReadAsync(handshake.Token).ConfigureAwait(false);
            await link.WriteOneAsync(PeerConversation.Hello(_self, network: 1), handshake.Token).ConfigureAwait(false);
            return (link, PeerConversation.CheckHello(hello, host).Network);
        }
        catch
        {
            await link.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private async Task RunAsync(PeerConnection link, int network, CancellationTokenSource connection)
    {
        lock (_gate)
        {
            _connections[network - 1]?.Cancel();
            _connections[network - 1] = connection;
        }

        try
        {
            await PeerConversation.RunAsync(link, message => _received(link, message), pings: false, _tempo, connection).ConfigureAwait(false);
        }
        finally
        {
            lock (_gate)
            {
                if (_connections[network - 1] == connection)
                    _connections[network - 1] = null;
            }

            _ended(link);
        }
    }
}
