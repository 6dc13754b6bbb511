using System.Diagnostics;
using System.Net.Sockets;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Peers;

/// <summary>One of the networks to the peer: dials its address, keeps the connection, and knows how well it is heard.</summary>
/// <remarks>Our beacons and pings go out on the connection that we dial, their answers come back on it. A silent connection is dropped after
/// <see cref="PeerTempo.SilenceMs"/> and dialled anew.</remarks>
internal sealed class PeerNetwork
{
    private readonly HostTls _tls;
    private readonly string _self;
    private readonly Func<PeerTempo> _tempo;
    private readonly Action<PeerMessage> _received;
    private readonly Action _changed;
    private readonly CancellationTokenSource _stop = new();
    private volatile PeerConnection? _dialled;
    private volatile string _status;
    private long _heardMs;
    private long _connectedMs;
    private long _roundTripTicks = -1;

    /// <param name="host">Who must answer there.</param>
    /// <param name="number">From 1, in order of preference.</param>
    /// <param name="address"><c>address:port</c></param>
    public PeerNetwork(
        HostTls tls, string self, string host, int number, string address, Func<PeerTempo> tempo, Action<PeerMessage> received, Action changed)
    {
        (_tls, _self, Host, Number, Address, _tempo, _received, _changed) = (tls, self, host, number, address, tempo, received, changed);
        _status = $"{host} at {address}: not dialled yet";
    }

    public string Host { get; }

    public int Number { get; }

    public string Address { get; }

    /// <summary>For people: the state of the dialled connection, and why it is down if it is.</summary>
    public string Status => _status;

    /// <summary>Of the last ping that was answered; null before the first.</summary>
    public TimeSpan? RoundTrip => Volatile.Read(ref _roundTripTicks) is >= 0 and var ticks ? TimeSpan.FromTicks(ticks) : null;

    public NetworkReading Read(long nowMs)
    {
        var heardMs = Volatile.Read(ref _heardMs);
        return new NetworkReading(heardMs == 0 ? null : nowMs - heardMs, _dialled is null ? 0 : nowMs - Volatile.Read(ref _connectedMs));
    }

    public void Put(string module, PeerMessage message) => _dialled?.Put(module, message);

    /// <summary>Ends <see cref="RunAsync"/>.</summary>
    public void Stop() => _stop.Cancel();

    public async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                await DialOnceAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (PeerConversation.IsLinkFault(e))
            {
                if (!_stop.IsCancellationRequested)
                    SetStatus($"{Host} at {Address}: {PeerConversation.Explain(e, _tempo())}");
            }

            await Task.Delay(Random.Shared.Next(_tempo().PauseMsMin, _tempo().PauseMsMax), _stop.Token)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task DialOnceAsync()
    {
        using var connection = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        PeerConnection link;
        using (var connect = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token))
        {
            connect.CancelAfter(_tempo().ConnectMs);
            TcpTuning.Apply(socket, _tempo().SilenceMs);
            await socket.ConnectAsync(PeerAddress.Parse(Address), connect.Token).ConfigureAwait(false);
            link = new PeerConnection(await _tls.DialAsync(new NetworkStream(socket), Host, connect.Token).ConfigureAwait(false));
            await link.WriteOneAsync(PeerConversation.Hello(_self, Number), connect.Token).ConfigureAwait(false);
            PeerConversation.CheckHello(await link.ReadAsync(connect.Token).ConfigureAwait(false), Host);
        }

        await using (link.ConfigureAwait(false))
        {
            Volatile.Write(ref _heardMs, BootClock.NowMs);
            Volatile.Write(ref _connectedMs, BootClock.NowMs);
            _dialled = link;
            SetStatus($"connected to {Host} at {Address}");
            try
            {
                await PeerConversation.RunAsync(link, OnMessage, pings: true, _tempo, connection).ConfigureAwait(false);
            }
            finally
            {
                _dialled = null;
            }
        }
    }

    private void OnMessage(PeerMessage message)
    {
        Volatile.Write(ref _heardMs, BootClock.NowMs);
        if (message.Pong is { } sentAt)
            Volatile.Write(ref _roundTripTicks, Stopwatch.GetElapsedTime(sentAt).Ticks);
        _received(message);
    }

    private void SetStatus(string status)
    {
        if (status == _status)
            return;
        _status = status;
        HostLog.Info("peer", "link to the peer", ("network", Number), ("status", status));
        _changed();
    }
}
