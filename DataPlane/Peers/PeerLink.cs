using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Peers;

/// <summary>Carries the beacons of all modules of a host to its peer over all networks, and their answers back.</summary>
/// <remarks>
/// Two connections for each network, so that neither host waits for the other to dial: on the one that we dial
/// (<see cref="PeerNetwork"/>) go our beacons out and their answers back; on the one that the peer dials (<see cref="PeerListener"/>), the
/// other way round. What comes over several networks counts once (<see cref="BeaconSieve"/>). Mutual TLS 1.3; the peer must be exactly the
/// configured host.
/// </remarks>
public sealed class PeerLink : IAsyncDisposable
{
    private readonly HostTls _tls;
    private readonly string _self;
    private readonly IPeerEvents _events;
    private readonly PeerListener _listener;
    private readonly BeaconSieve _sieve = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _gate = new();
    private readonly HashSet<Task> _dialling = [];
    private volatile PeerTempo _tempo = new(RoleTimings.DetectionMsDefault);
    private volatile NetworkList _networks = new([]);
    private volatile string? _host;
    private Task _watching = Task.CompletedTask;
    private long _heardMs = long.MinValue / 2;
    private bool _wasReachable;

    /// <param name="listen">Where the peer's connections are accepted; port 0 chooses one.</param>
    public PeerLink(HostTls tls, string self, IPEndPoint listen, IPeerEvents events)
    {
        _tls = tls;
        _self = self;
        _events = events;
        _listener = new PeerListener(tls, self, listen, () => _tempo, OnAcceptedMessage, _sieve.Ended);
    }

    public IPEndPoint ListensOn => _listener.EndPoint;

    /// <summary>Whether the peer's host process was heard on any connection within one and a half silence times.</summary>
    public bool PeerReachable => BootClock.NowMs - Volatile.Read(ref _heardMs) < _tempo.SilenceMs * 3 / 2;

    public PeerTempo Tempo => _tempo;

    /// <summary>For people: the state of the dialled connections, and why one is down if it is.</summary>
    public string Status => _networks.Items switch
    {
        [] when _host is not { } host => "no peer is configured",
        [] => $"the address of {_host} is not known yet: it has not joined or connected",
        [var only] => only.Status,
        var several => string.Join("; ", several.Select(network => $"network {network.Number}: {network.Status}")),
    };

    /// <summary>How each network is heard, in order of preference.</summary>
    public ImmutableArray<NetworkReading> Readings
    {
        get
        {
            var nowMs = BootClock.NowMs;
            return [.. _networks.Items.Select(network => network.Read(nowMs))];
        }
    }

    internal ImmutableArray<PeerNetwork> Networks => _networks.Items;

    /// <exception cref="SocketException">The address cannot be listened on.</exception>
    public void Start()
    {
        _listener.Start();
        _watching = Vital.Run("watching the peer", WatchAsync);
    }

    /// <summary>Says who the peer is. What has not changed goes on as it is.</summary>
    /// <param name="addresses"><c>address:port</c> of each network in order of preference; none while they are not known: then only its own
    /// connections are accepted. Those beyond <see cref="NetworkChoice.NetworksMax"/> are not used.</param>
    public void SetPeer(string host, IReadOnlyList<string> addresses)
    {
        lock (_gate)
        {
            if (_stop.IsCancellationRequested)
                return;
            if (_host != host)
                _sieve.Clear();
            _host = host;
            _listener.Expect(host);
            var present = _networks.Items;
            var wanted = addresses.Take(NetworkChoice.NetworksMax).ToArray();
            if (present.Select(network => (network.Host, network.Address)).SequenceEqual(wanted.Select(address => (host, address))))
                return;
            var next = ImmutableArray.CreateBuilder<PeerNetwork>(wanted.Length);
            for (var i = 0; i < wanted.Length; i++)
            {
                var kept = i < present.Length && present[i].Host == host && present[i].Address == wanted[i];
                next.Add(kept ? present[i] : Dial(host, i + 1, wanted[i]));
            }

            _networks = new NetworkList(next.MoveToImmutable());
            foreach (var gone in present.Except(_networks.Items))
                gone.Stop();
        }

        _events.PeerChanged();
    }

    public void SetTempo(PeerTempo tempo) => _tempo = tempo;

    /// <summary>Sends at once over every network that is connected; a beacon that cannot leave is replaced by the module's next.</summary>
    public void Send(string module, Beacon beacon) => Put(module, new PeerMessage(Module: module, Beacon: beacon));

    /// <summary>Tells the peer how much the directory of a module under preparation holds.</summary>
    public void SendContent(string module, Guid record, IReadOnlyList<long> contentBytes) => Put(module, new PeerMessage(
        Module: module, ContentOf: record, ContentBytes: contentBytes[0], FurtherContentBytes: contentBytes.Count > 1 ? [.. contentBytes.Skip(1)] : null));

    /// <summary>Answers over every network that the module's last beacon came by.</summary>
    public void Answer(string module, BeaconAnswer answer)
    {
        foreach (var connection in _sieve.WaysOf(module, answer))
            connection.Put(module, new PeerMessage(Module: module, Answer: answer));
    }

    public async ValueTask DisposeAsync()
    {
        Task[] dialling;
        lock (_gate)
        {
            _stop.Cancel();
            foreach (var network in _networks.Items)
                network.Stop();
            dialling = [.. _dialling];
        }

        await _listener.DisposeAsync().ConfigureAwait(false);
        await Task.WhenAll(dialling).ConfigureAwait(false);
        await _watching.ConfigureAwait(false);
        _stop.Dispose();
    }

    private PeerNetwork Dial(string host, int number, string address)
    {
        var network = new PeerNetwork(_tls, _self, host, number, address, () => _tempo, OnDialledMessage, _events.PeerChanged);
        var dialling = Vital.Run($"dialling the peer over network {number}", network.RunAsync);
        _dialling.Add(dialling);
        _ = dialling.ContinueWith(Forget, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        return network;
    }

    private void Forget(Task done)
    {
        lock (_gate)
            _dialling.Remove(done);
    }

    private void Put(string module, PeerMessage message)
    {
        foreach (var network in _networks.Items)
            network.Put(module, message);
    }

    private void OnDialledMessage(PeerMessage message)
    {
        Heard();
        if (message is { Module: { } module, Answer: { } answer })
        {
            if (_sieve.IsNew(module, answer))
                _events.BeaconAnswered(module, answer);
        }
        else if (message.Pong is null)
        {
            throw new InvalidDataException("the peer sent something else than an answer");
        }
    }

    private void OnAcceptedMessage(PeerConnection link, PeerMessage message)
    {
        Heard();
        if (message is { Module: { } module, Beacon: { } beacon })
        {
            if (_sieve.IsNew(module, beacon, link, out var answer))
                _events.BeaconReceived(module, beacon);
            else if (answer is not null)
                link.Put(module, new PeerMessage(Module: module, Answer: answer));
        }
        else if (message is { Module: { } prepared, ContentOf: { } record, ContentBytes: { } bytes })
        {
            _events.ContentReceived(prepared, record, [bytes, .. message.FurtherContentBytes ?? []]);
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
        HostLog.Info("peer", reachable ? "reachable" : "unreachable", ("status", Status));
        _events.PeerChanged();
    }

    private sealed record NetworkList(ImmutableArray<PeerNetwork> Items);
}
