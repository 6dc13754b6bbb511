using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Peers;

namespace Pollux.Tests.Unit.Hosts;

public sealed class PeerLinkTests : IDisposable
{
    private readonly TestAuthority _authority = new();
    private readonly CancellationTokenSource _patience = new(TimeSpan.FromSeconds(60));

    private CancellationToken Cancel => _patience.Token;

    [Fact]
    public async Task A_beacon_arrives_and_its_answer_comes_back()
    {
        await using var a = new Node(_authority, "c1/a");
        await using var b = new Node(_authority, "c1/b");
        a.Link.SetPeer("c1/b", [b.Address]);
        b.Link.SetPeer("c1/a", []);
        b.Events.Answer = (module, beacon) => b.Link.Answer(module, new BeaconAnswer(beacon.Incarnation, beacon.Sequence, Guid.Empty));
        await a.Events.ReachableAsync(a.Link, Cancel);

        var sent = Beacon(1);
        a.Link.Send("c1/vm", sent);
        Assert.Equal(sent, await b.Events.Beacons.Reader.ReadAsync(Cancel));
        Assert.Equal(1, (await a.Events.Answers.Reader.ReadAsync(Cancel)).BeaconSequence);
    }

    [Fact]
    public async Task Both_directions_work_beside_each_other()
    {
        await using var a = new Node(_authority, "c1/a");
        await using var b = new Node(_authority, "c1/b");
        a.Link.SetPeer("c1/b", [b.Address]);
        b.Link.SetPeer("c1/a", [a.Address]);
        await UntilArrivesAsync(a, b);
        await UntilArrivesAsync(b, a);
        var record = Guid.NewGuid();
        a.Link.SendContent("c1/new", record, [4096]);
        Assert.Equal((record, "4096"), await b.Events.Content.Reader.ReadAsync(Cancel));
        a.Link.SendContent("c1/new", record, [4096, 8192]);
        Assert.Equal((record, "4096 8192"), await b.Events.Content.Reader.ReadAsync(Cancel));
    }

    [Fact]
    public async Task Two_networks_carry_a_beacon_once_and_either_is_enough()
    {
        await using var a = new Node(_authority, "c1/a");
        await using var b = new Node(_authority, "c1/b", PeerAddress.EveryOf(0));
        var port = b.Link.ListensOn.Port;
        a.Link.SetPeer("c1/b", [$"127.0.0.1:{port}", (Socket.OSSupportsIPv6 ? "[::1]" : "127.0.0.2") + $":{port}"]);
        b.Link.SetPeer("c1/a", []);
        b.Events.Answer = (module, beacon) => b.Link.Answer(module, new BeaconAnswer(beacon.Incarnation, beacon.Sequence, Guid.Empty));
        await a.Events.StatusAsync(a.Link, $"network 1: connected to c1/b at 127.0.0.1:{port}; network 2: connected", Cancel);

        var incarnation = Guid.NewGuid();
        for (var sequence = 1; sequence <= 3; sequence++)
        {
            a.Link.Send("c1/vm", Beacon(sequence) with { Incarnation = incarnation });
            Assert.Equal(sequence, (await b.Events.Beacons.Reader.ReadAsync(Cancel)).Sequence);
            Assert.Equal(sequence, (await a.Events.Answers.Reader.ReadAsync(Cancel)).BeaconSequence);
        }

        // One of them is taken away while the peer is configured anew; the other goes on without a break.
        var kept = a.Link.Networks[0];
        a.Link.SetPeer("c1/b", [$"127.0.0.1:{port}", "127.0.0.3:1"]);
        Assert.Same(kept, a.Link.Networks[0]);
        await a.Events.StatusAsync(a.Link, "network 2: c1/b at 127.0.0.3:1: Connection refused", Cancel);
        a.Link.Send("c1/vm", Beacon(4) with { Incarnation = incarnation });
        Assert.Equal(4, (await b.Events.Beacons.Reader.ReadAsync(Cancel)).Sequence);
        Assert.Equal(4, (await a.Events.Answers.Reader.ReadAsync(Cancel)).BeaconSequence);
        Assert.False(a.Events.Answers.Reader.TryRead(out _));
        Assert.True(a.Link.Readings[0].SilentMs < 2_000 && a.Link.Networks[0].RoundTrip > TimeSpan.Zero);
        Assert.Null(a.Link.Readings[1].SilentMs);
    }

    [Fact]
    public async Task A_peer_that_comes_back_is_found_again()
    {
        await using var a = new Node(_authority, "c1/a");
        string address;
        await using (var b = new Node(_authority, "c1/b"))
        {
            address = b.Address;
            a.Link.SetPeer("c1/b", [address]);
            b.Link.SetPeer("c1/a", []);
            await a.Events.ReachableAsync(a.Link, Cancel);
        }

        await a.Events.UnreachableAsync(a.Link, Cancel);
        await using var again = new Node(_authority, "c1/b", PeerAddress.Parse(address) as IPEndPoint);
        again.Link.SetPeer("c1/a", []);
        await a.Events.ReachableAsync(a.Link, Cancel);
    }

    [Fact]
    public async Task A_stranger_with_a_certificate_of_the_same_cluster_is_not_the_peer()
    {
        await using var b = new Node(_authority, "c1/b");
        b.Link.SetPeer("c1/a", []);
        await using var stranger = new Node(_authority, "c1/x");
        stranger.Link.SetPeer("c1/b", [b.Address]);
        await stranger.Events.StatusAsync(stranger.Link, "c1/b at", Cancel);
        Assert.False(b.Link.PeerReachable);
        Assert.False(b.Events.Beacons.Reader.TryRead(out _));
    }

    [Fact]
    public async Task Another_protocol_version_is_refused_with_the_reason()
    {
        await using var b = new Node(_authority, "c1/b");
        b.Link.SetPeer("c1/a", []);
        using var raw = await RawAsync(b, """{"hello":{"protocolVersion":99,"host":"c1/a"}}""");
        Assert.Equal(0, await ReadToEndAsync(raw.Stream));
        Assert.False(b.Link.PeerReachable);
    }

    [Theory]
    [InlineData("""{"module":"c1/vm","beacon":{"sequence":1}}""")]
    [InlineData("""{"module":"c1/vm","beacon":null}""")]
    [InlineData("[]")]
    [InlineData("nonsense")]
    public async Task A_malformed_message_ends_the_connection_and_reaches_nobody(string message)
    {
        await using var b = new Node(_authority, "c1/b");
        b.Link.SetPeer("c1/a", []);
        using var raw = await RawAsync(b, """{"hello":{"protocolVersion":1,"host":"c1/a"}}""");
        await raw.Stream.WriteAsync(Frame(message), Cancel);
        await ReadToEndAsync(raw.Stream);
        Assert.False(b.Events.Beacons.Reader.TryRead(out _));
    }

    [Fact]
    public async Task A_message_over_the_size_limit_ends_the_connection()
    {
        await using var b = new Node(_authority, "c1/b");
        b.Link.SetPeer("c1/a", []);
        using var raw = await RawAsync(b, """{"hello":{"protocolVersion":1,"host":"c1/a"}}""");
        var length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, PeerMessage.BytesMax + 1);
        await raw.Stream.WriteAsync(length, Cancel);
        await ReadToEndAsync(raw.Stream);
    }

    [Fact]
    public async Task A_peer_that_invents_names_without_end_is_cut_off()
    {
        await using var b = new Node(_authority, "c1/b");
        b.Link.SetPeer("c1/a", []);
        using var raw = await RawAsync(b, """{"hello":{"protocolVersion":1,"host":"c1/a"}}""");
        var ending = ReadToEndAsync(raw.Stream);
        for (var i = 0; i <= PeerConnection.SlotsMax; i++)
        {
            var name = $"c1/vm{i}";
            await raw.Stream.WriteAsync(Frame(JsonSerializer.Serialize(new PeerMessage(Module: name, Beacon: Beacon(1)), PeerJson.Default.PeerMessage)), Cancel);
        }

        await ending;
        var heard = 0;
        while (b.Events.Beacons.Reader.TryRead(out _))
            heard++;
        Assert.Equal(PeerConnection.SlotsMax, heard);
    }

    [Fact]
    public async Task A_slow_connection_carries_the_newest_beacon_of_a_module_only()
    {
        var (ours, theirs) = Pipes();
        await using var connection = new PeerConnection(ours);
        for (var sequence = 1; sequence <= 1000; sequence++)
            connection.Put("c1/vm", new PeerMessage(Module: "c1/vm", Beacon: Beacon(sequence)));
        connection.Put("c1/other", new PeerMessage(Module: "c1/other", Beacon: Beacon(5)));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var writing = connection.WriteAsync(stop.Token);
        await using var reader = new PeerConnection(theirs);
        Assert.Equal(1000, (await reader.ReadAsync(Cancel)).Beacon!.Sequence);
        Assert.Equal(5, (await reader.ReadAsync(Cancel)).Beacon!.Sequence);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => writing);
    }

    public void Dispose()
    {
        _authority.Dispose();
        _patience.Dispose();
    }

    private static Beacon Beacon(long sequence) => new(Guid.NewGuid(), sequence, Role.Prim, true, DataState.UpToDate,
        new AuthorityRecord(Guid.NewGuid(), 3, "c1/a", ["c1/a", "c1/b"]), false, false, false, true);

    private async Task UntilArrivesAsync(Node from, Node to)
    {
        await from.Events.StatusAsync(from.Link, "connected to", Cancel);
        var beacon = Beacon(1);
        from.Link.Send("c1/vm", beacon);
        Assert.Equal(beacon, await to.Events.Beacons.Reader.ReadAsync(Cancel));
    }

    private async Task<(Stream Stream, IDisposable Socket)> ConnectAsync(Node to)
    {
        var client = new TcpClient();
        await client.ConnectAsync((IPEndPoint)PeerAddress.Parse(to.Address), Cancel);
        using var identity = _authority.Host("c1/a");
        return (await new HostTls(identity).DialAsync(client.GetStream(), to.Name, Cancel), client);
    }

    /// <summary>A connection whose hello the node has answered.</summary>
    private async Task<Raw> RawAsync(Node to, string hello)
    {
        for (var attempt = 1; ; attempt++)
        {
            IDisposable? connection = null;
            try
            {
                (var stream, connection) = await ConnectAsync(to);
                await stream.WriteAsync(Frame(hello), Cancel);
                await ReadMessageAsync(stream);
                return new Raw(stream, connection);
            }
            catch (IOException) when (attempt < 5)
            {
                // A greeting has less than a second, which a busy machine may miss.
                connection?.Dispose();
            }
        }
    }

    private static byte[] Frame(string json)
    {
        var bytes = new byte[4 + Encoding.UTF8.GetByteCount(json)];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, bytes.Length - 4);
        Encoding.UTF8.GetBytes(json, bytes.AsSpan(4));
        return bytes;
    }

    private async Task ReadMessageAsync(Stream stream)
    {
        var buffer = new byte[PeerMessage.BytesMax];
        await stream.ReadExactlyAsync(buffer.AsMemory(0, 4), Cancel);
        await stream.ReadExactlyAsync(buffer.AsMemory(0, BinaryPrimitives.ReadInt32LittleEndian(buffer)), Cancel);
    }

    /// <returns>Bytes that came before the end.</returns>
    private async Task<int> ReadToEndAsync(Stream stream)
    {
        var buffer = new byte[PeerMessage.BytesMax];
        try
        {
            var rest = 0;
            while (await stream.ReadAsync(buffer, Cancel) is > 0 and var count)
                rest += count;
            return rest;
        }
        catch (IOException)
        {
            // Reset instead of closed: an end as well.
            return 0;
        }
    }

    private (Stream, Stream) Pipes()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var client = new TcpClient();
        client.Connect((IPEndPoint)listener.LocalEndpoint);
        return (client.GetStream(), listener.AcceptTcpClient().GetStream());
    }

    private sealed record Raw(Stream Stream, IDisposable Socket) : IDisposable
    {
        public void Dispose() => Socket.Dispose();
    }

    private sealed class Node : IAsyncDisposable
    {
        private readonly HostIdentity _identity;

        public Node(TestAuthority authority, string name, IPEndPoint? listen = null)
        {
            Name = name;
            _identity = authority.Host(name);
            Link = new PeerLink(new HostTls(_identity), name, listen ?? new IPEndPoint(IPAddress.Loopback, 0), Events);
            Link.SetTempo(new PeerTempo(3_000));
            Link.Start();
        }

        public string Name { get; }

        public Events Events { get; } = new();

        public PeerLink Link { get; }

        public string Address => Link.ListensOn.ToString();

        public async ValueTask DisposeAsync()
        {
            await Link.DisposeAsync();
            _identity.Dispose();
        }
    }

    private sealed class Events : IPeerEvents
    {
        private readonly SemaphoreSlim _changed = new(0);

        public Channel<Beacon> Beacons { get; } = Channel.CreateUnbounded<Beacon>();

        public Channel<BeaconAnswer> Answers { get; } = Channel.CreateUnbounded<BeaconAnswer>();

        public Channel<(Guid Record, string Bytes)> Content { get; } = Channel.CreateUnbounded<(Guid, string)>();

        public Action<string, Beacon> Answer { get; set; } = (_, _) => { };

        public void BeaconReceived(string module, Beacon beacon)
        {
            Beacons.Writer.TryWrite(beacon);
            Answer(module, beacon);
        }

        public void BeaconAnswered(string module, BeaconAnswer answer) => Answers.Writer.TryWrite(answer);

        public void ContentReceived(string module, Guid record, IReadOnlyList<long> contentBytes) => Content.Writer.TryWrite((record, string.Join(' ', contentBytes)));

        public void PeerChanged() => _changed.Release();

        public Task ReachableAsync(PeerLink link, CancellationToken cancel) => StatusAsync(link, "connected to", cancel);

        public async Task UnreachableAsync(PeerLink link, CancellationToken cancel)
        {
            while (link.PeerReachable)
                await _changed.WaitAsync(cancel);
        }

        public async Task StatusAsync(PeerLink link, string part, CancellationToken cancel)
        {
            while (!link.Status.Contains(part, StringComparison.Ordinal))
                await _changed.WaitAsync(cancel);
        }
    }
}
