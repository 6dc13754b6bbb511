using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Peers;

/// <summary>Carries the beacons of all modules of a host to its peer, and their answers back.</summary>
/// <remarks>
/// Two connections, so that neither host waits for the other to dial: on the one that we dial go our beacons out and their answers
/// back; on the one that the peer dials, the other way round. An answer goes back on the connection that its beacon came on. Mutual
/// TLS 1.3; the peer must be exactly the configured host. A newer accepted connection replaces the older one. A silent connection is
/// dropped after <see cref="PeerTempo.SilenceMs"/> and dialled anew.
/// </remarks>
public sealed class PeerLink : IAsyncDisposable
{
    /// <summary>Connections that may be in their handshake at a time: the one peer needs one; the rest is for its redials and for strangers.</summary>
    private const int HandshakesMax = 8;

    private readonly HostTls _tls;
    private readonly string _self;
    private readonly IPeerEvents _events;
    private readonly TcpListener _listener;
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _handshakes = new(HandshakesMax, HandshakesMax);
    private readonly Lock _gate = new();
    private readonly Dictionary<string, PeerConnection> _beaconCameOn = [];
    private readonly HashSet<Task> _accepted = [];
    private volatile PeerTempo _tempo = new(RoleTimings.DetectionMsDefault);
    private volatile PeerConnection? _dialled;
    private volatile string _status = "no peer is configured";
    private CancellationTokenSource _redial = new();
    private (string Host, string? Address)? _peer;
    private CancellationTokenSource? _acceptedStop;
    private Task _loops = Task.CompletedTask;
    private long _heardMs = long.MinValue / 2;
    private bool _wasReachable;

    /// <param name="listen">Where the peer's connection is accepted; port 0 chooses one.</param>
    public PeerLink(HostTls tls, string self, IPEndPoint listen, IPeerEvents events)
    {
        _tls = tls;
        _self = self;
        _events = events;
        _listener = new TcpListener(listen);
    }

    public IPEndPoint ListensOn => (IPEndPoint)_listener.LocalEndpoint;

    /// <summary>Whether the peer's host process was heard on either connection within one and a half silence times.</summary>
    public bool PeerReachable => BootClock.NowMs - Volatile.Read(ref _heardMs) < _tempo.SilenceMs * 3 / 2;

    /// <summary>For people: the state of the dialled connection, and why it is down if it is.</summary>
    public string Status => _status;

    /// <exception cref="SocketException">The address cannot be listened on.</exception>
    public void Start()
    {
        _listener.Start(HandshakesMax);
        _loops = Task.WhenAll(
            Vital.Run("accepting the peer", AcceptAsync), Vital.Run("dialling the peer", DialAsync), Vital.Run("watching the peer", WatchAsync));
    }

    /// <summary>Says who the peer is; a change drops the present connections.</summary>
    /// <param name="address"><c>address:port</c>, or null while it is not known: then only its own connection is accepted.</param>
    public void SetPeer(string host, string? address)
    {
        lock (_gate)
        {
            if (_peer == (host, address))
                return;
            var hostChanged = _peer?.Host != host;
            _peer = (host, address);
            if (hostChanged)
                _acceptedStop?.Cancel();
            _redial.Cancel();
        }
    }

    public void SetTempo(PeerTempo tempo) => _tempo = tempo;

    /// <summary>Sends at once if the peer is connected; a beacon that cannot leave is replaced by the module's next.</summary>
    public void Send(string module, Beacon beacon) => _dialled?.Put(module, new PeerMessage(Module: module, Beacon: beacon));

    /// <summary>Tells the peer how much the directory of a module under preparation holds.</summary>
    public void SendContent(string module, Guid record, long contentBytes) =>
        _dialled?.Put(module, new PeerMessage(Module: module, ContentOf: record, ContentBytes: contentBytes));

    /// <summary>Answers on the connection that the module's last beacon came on.</summary>
    public void Answer(string module, BeaconAnswer answer)
    {
        PeerConnection? connection;
        lock (_gate)
            _beaconCameOn.TryGetValue(module, out connection);
        connection?.Put(module, new PeerMessage(Module: module, Answer: answer));
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Stop();
        lock (_gate)
            _redial.Cancel();
        await _loops.ConfigureAwait(false);
        Task[] accepted;
        lock (_gate)
            accepted = [.. _accepted];
        await Task.WhenAll(accepted).ConfigureAwait(false);
        _listener.Dispose();
        _stop.Dispose();
    }

    private async Task DialAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            (string Host, string? Address)? peer;
            CancellationToken changed;
            lock (_gate)
            {
                if (_redial.IsCancellationRequested && !_stop.IsCancellationRequested)
                    _redial = new CancellationTokenSource();
                changed = _redial.Token;
                peer = _peer;
            }

            using var attempt = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token, changed);
            try
            {
                if (peer is { Address: { } address } known)
                    await DialOnceAsync(known.Host, address, attempt.Token).ConfigureAwait(false);
                else
                    SetStatus(peer is null ? "no peer is configured" : $"the address of {peer.Value.Host} is not known yet: it has not joined or connected");
            }
            catch (Exception e) when (IsLinkFault(e))
            {
                if (!attempt.IsCancellationRequested)
                    SetStatus($"{peer?.Host} at {peer?.Address}: {Explain(e)}");
            }

            if (!_stop.IsCancellationRequested && !changed.IsCancellationRequested)
                await Task.Delay(Random.Shared.Next(_tempo.PauseMsMin, _tempo.PauseMsMax), attempt.Token)
                    .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task DialOnceAsync(string host, string address, CancellationToken cancel)
    {
        using var connection = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        PeerConnection link;
        using (var connect = CancellationTokenSource.CreateLinkedTokenSource(cancel))
        {
            connect.CancelAfter(_tempo.ConnectMs);
            TcpTuning.Apply(socket, _tempo.SilenceMs);
            await socket.ConnectAsync(PeerAddress.Parse(address), connect.Token).ConfigureAwait(false);
            link = new PeerConnection(await _tls.DialAsync(new NetworkStream(socket), host, connect.Token).ConfigureAwait(false));
            await link.WriteOneAsync(Hello(), connect.Token).ConfigureAwait(false);
            CheckHello(await link.ReadAsync(connect.Token).ConfigureAwait(false), host);
        }

        await using (link.ConfigureAwait(false))
        {
            Heard();
            _dialled = link;
            SetStatus($"connected to {host} at {address}");
            try
            {
                await RunAsync(link, OnDialledMessage, pings: true, connection).ConfigureAwait(false);
            }
            finally
            {
                _dialled = null;
            }
        }
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
                await Task.Delay(_tempo.PingMs, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
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
                try
                {
                    using var handshake = CancellationTokenSource.CreateLinkedTokenSource(connection.Token);
                    handshake.CancelAfter(_tempo.ConnectMs);
                    TcpTuning.Apply(socket, _tempo.SilenceMs);
                    var (stream, host) = await _tls.AcceptAsync(new NetworkStream(socket), handshake.Token).ConfigureAwait(false);
                    link = new PeerConnection(stream);
                    string? expected;
                    lock (_gate)
                        expected = _peer?.Host;
                    if (host != expected)
                        throw new AuthenticationException($"{host} is not the peer of {_self}");
                    var hello = await link.ReadAsync(handshake.Token).ConfigureAwait(false);
                    await link.WriteOneAsync(Hello(), handshake.Token).ConfigureAwait(false);
                    CheckHello(hello, host);
                }
                finally
                {
                    _handshakes.Release();
                }

                lock (_gate)
                {
                    _acceptedStop?.Cancel();
                    _acceptedStop = connection;
                }

                Heard();
                try
                {
                    var here = link;
                    await RunAsync(link, message => OnAcceptedMessage(here, message), pings: false, connection).ConfigureAwait(false);
                }
                finally
                {
                    lock (_gate)
                    {
                        if (_acceptedStop == connection)
                            _acceptedStop = null;
                        foreach (var (module, cameOn) in _beaconCameOn)
                        {
                            if (cameOn == link)
                                _beaconCameOn.Remove(module);
                        }
                    }
                }
            }
        }
        catch (Exception e) when (IsLinkFault(e))
        {
            if (!_stop.IsCancellationRequested)
                HostLog.Warn("peer", "connection from the peer's side ended", ("from", from), ("reason", Explain(e)));
        }
        finally
        {
            if (link is not null)
                await link.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Reads, writes and pings until one of them fails or the connection is silent; throws the reason.</summary>
    private async Task RunAsync(PeerConnection link, Action<PeerMessage> received, bool pings, CancellationTokenSource connection)
    {
        var cancel = connection.Token;
        var reading = ReadAllAsync(link, received, cancel);
        var writing = link.WriteAsync(cancel);
        var watching = WatchSilenceAsync(link, pings, cancel);
        var first = await Task.WhenAny(reading, writing, watching).ConfigureAwait(false);
        await connection.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(reading, writing, watching).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first.ConfigureAwait(false);
    }

    private async Task ReadAllAsync(PeerConnection link, Action<PeerMessage> received, CancellationToken cancel)
    {
        while (true)
        {
            var message = await link.ReadAsync(cancel).ConfigureAwait(false);
            Heard();
            received(message);
        }
    }

    private async Task WatchSilenceAsync(PeerConnection link, bool pings, CancellationToken cancel)
    {
        for (long count = 1; ; count++)
        {
            if (BootClock.NowMs - link.HeardMs > _tempo.SilenceMs)
                throw new IOException($"nothing was heard for {_tempo.SilenceMs} ms");
            if (pings)
                link.PutPing(new PeerMessage(Ping: count));
            await Task.Delay(_tempo.PingMs, cancel).ConfigureAwait(false);
        }
    }

    private void OnDialledMessage(PeerMessage message)
    {
        if (message is { Module: { } module, Answer: { } answer })
            _events.BeaconAnswered(module, answer);
        else if (message.Pong is null)
            throw new InvalidDataException("the peer sent something else than an answer");
    }

    private void OnAcceptedMessage(PeerConnection link, PeerMessage message)
    {
        if (message is { Module: { } module, Beacon: { } beacon })
        {
            lock (_gate)
            {
                if (_beaconCameOn.Count >= PeerConnection.SlotsMax && !_beaconCameOn.ContainsKey(module))
                    throw new InvalidDataException($"the peer names more than {PeerConnection.SlotsMax} modules");
                _beaconCameOn[module] = link;
            }

            _events.BeaconReceived(module, beacon);
        }
        else if (message is { Module: { } prepared, ContentOf: { } record, ContentBytes: { } bytes })
        {
            _events.ContentReceived(prepared, record, bytes);
        }
        else if (message.Ping is { } ping)
        {
            link.PutPing(new PeerMessage(Pong: ping));
        }
        else
        {
            throw new InvalidDataException("the peer sent something else than a beacon or a ping");
        }
    }

    /// <summary>Reports when the peer falls silent; that it is heard again is reported by <see cref="Heard"/>.</summary>
    private async Task WatchAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            await Task.Delay(_tempo.PingMs, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            ReportReachability();
        }
    }

    private void Heard()
    {
        Volatile.Write(ref _heardMs, BootClock.NowMs);
        ReportReachability();
    }

    private void ReportReachability()
    {
        bool reachable = PeerReachable, changed;
        lock (_gate)
        {
            changed = reachable != _wasReachable;
            _wasReachable = reachable;
        }

        if (!changed)
            return;
        HostLog.Info("peer", reachable ? "reachable" : "unreachable", ("status", _status));
        _events.PeerChanged();
    }

    private void SetStatus(string status)
    {
        if (status == _status)
            return;
        _status = status;
        HostLog.Info("peer", "link to the peer", ("status", status));
        _events.PeerChanged();
    }

    private PeerMessage Hello() => new(Hello: new PeerHello(PeerMessage.ProtocolVersion, _self));

    private static void CheckHello(PeerMessage message, string host)
    {
        if (message.Hello is not { } hello)
            throw new InvalidDataException("the peer did not begin with a hello");
        if (hello.ProtocolVersion != PeerMessage.ProtocolVersion)
            throw new InvalidDataException($"the peer speaks protocol {hello.ProtocolVersion}, this host {PeerMessage.ProtocolVersion}: upgrade the older of the two");
        if (hello.Host != host)
            throw new InvalidDataException($"the peer calls itself {hello.Host}, its certificate says {host}");
    }

    private static bool IsLinkFault(Exception e) =>
        e is IOException or SocketException or AuthenticationException or InvalidDataException or OperationCanceledException
            or ObjectDisposedException or FormatException;

    private string Explain(Exception e) => e switch
    {
        OperationCanceledException => $"no connection within {_tempo.ConnectMs} ms, or it was replaced",
        EndOfStreamException => "the peer closed the connection",
        AuthenticationException => $"TLS failed: {e.Message}",
        InvalidDataException => e.Message,
        _ => e.GetBaseException().Message,
    };
}
