using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Replication;
using Pollux.Tests.Unit.Hosts;

namespace Pollux.Tests.Unit.Replication;

/// <summary>TLS of the replication links: who is let in, what others see of it, and that keys are renewed.</summary>
public sealed class LinkTlsTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly TestAuthority _authority = new();
    private readonly CancellationTokenSource _deadline = new(Patience);

    [Fact]
    public async Task Hosts_of_one_cluster_see_each_others_names_and_understand_each_other()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, accepted, host) = await ConnectAsync(new HostTls(a), new HostTls(b), "c1/b");
        Assert.Equal("c1/a", host);
        await EchoAsync(dialled, accepted, 300_000);
        await dialled.DisposeAsync();
        Assert.Equal(0, await accepted.ReadAsync(new byte[1], _deadline.Token));
        await accepted.DisposeAsync();
    }

    [Fact]
    public async Task A_host_of_another_authority_is_refused_and_hears_of_it()
    {
        using var stranger = new TestAuthority();
        using var a = stranger.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var refused = await Assert.ThrowsAsync<AuthenticationException>(() => ConnectAsync(new HostTls(a), new HostTls(b), "c1/b"));
        Assert.Contains("certificate verify failed", refused.Message);
    }

    [Fact]
    public async Task A_dialler_of_another_authority_is_refused_by_the_acceptor_with_an_alert()
    {
        using var stranger = new TestAuthority();
        using var a = stranger.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, accepted) = await SocketsAsync();
        using var credentials = new TlsCredentials(a.Certificate);
        var accepting = new HostTls(b).AcceptLinkAsync(accepted, _deadline.Token);
        await dialled.SecureAsync(credentials, accepts: false, static _ => true, _deadline.Token);
        await Assert.ThrowsAsync<AuthenticationException>(() => accepting.AsTask());
        // In TLS 1.3 the dialler is done before the acceptor has judged its certificate: the first read tells.
        var told = await Assert.ThrowsAsync<IOException>(() => dialled.ReadAsync(new byte[1], _deadline.Token).AsTask());
        Assert.Contains("alert", told.Message);
        await dialled.DisposeAsync();
        await accepted.DisposeAsync();
    }

    [Fact]
    public async Task A_host_that_is_not_the_configured_peer_is_refused_by_the_dialler()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var refused = await Assert.ThrowsAsync<AuthenticationException>(() => ConnectAsync(new HostTls(a), new HostTls(b), "c1/x"));
        Assert.Contains("c1/b, not c1/x", refused.Message);
    }

    [Fact]
    public async Task A_host_of_another_cluster_is_refused()
    {
        using var a = _authority.Host("c2/a");
        using var b = _authority.Host("c1/b");
        await Assert.ThrowsAsync<AuthenticationException>(() => ConnectAsync(new HostTls(a), new HostTls(b), "c1/b"));
    }

    [Fact]
    public async Task Who_brings_no_certificate_is_refused()
    {
        using var b = _authority.Host("c1/b");
        await RefusesAsync(b, new SslClientAuthenticationOptions { TargetHost = "b", EnabledSslProtocols = SslProtocols.Tls13 });
    }

    [Fact]
    public async Task Tls_1_2_is_refused()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        await RefusesAsync(b, new SslClientAuthenticationOptions
        {
            TargetHost = "b",
            EnabledSslProtocols = SslProtocols.Tls12,
            ClientCertificates = [a.Certificate],
        });
    }

    [Fact]
    public async Task What_is_no_tls_is_refused()
    {
        using var b = _authority.Host("c1/b");
        var (dialled, accepted) = await SocketsAsync();
        await dialled.WriteAsync("GET / HTTP/1.1\r\n\r\n"u8.ToArray(), _deadline.Token);
        await Assert.ThrowsAsync<AuthenticationException>(() => new HostTls(b).AcceptLinkAsync(accepted, _deadline.Token).AsTask());
        await dialled.DisposeAsync();
        await accepted.DisposeAsync();
    }

    [Fact]
    public async Task A_peer_that_says_nothing_is_given_up_at_the_deadline()
    {
        using var b = _authority.Host("c1/b");
        var (dialled, accepted) = await SocketsAsync();
        using var soon = new CancellationTokenSource(TimeSpan.FromMilliseconds(200));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new HostTls(b).AcceptLinkAsync(accepted, soon.Token).AsTask());
        await dialled.DisposeAsync();
        await accepted.DisposeAsync();
    }

    /// <summary>As a host of an earlier version, which speaks it by SslStream: hosts are upgraded one after the other.</summary>
    [Fact]
    public async Task Another_implementation_understands_it()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, accepted) = await SocketsAsync();
        var accepting = new HostTls(b).AcceptLinkAsync(accepted, _deadline.Token);
        await using var stream = await new HostTls(a).DialAsync(dialled, "c1/b", _deadline.Token);
        Assert.Equal("c1/a", await accepting);
        Assert.Equal(SslProtocols.Tls13, ((SslStream)stream).SslProtocol);
        await EchoAsync(stream, accepted, 300_000);
        await accepted.DisposeAsync();
    }

    [Fact]
    public async Task Keys_are_renewed_in_both_directions_while_data_flows()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, accepted) = await SocketsAsync();
        using var few = new TlsCredentials(a.Certificate) { RecordsPerKey = 3 };
        using var some = new TlsCredentials(b.Certificate) { RecordsPerKey = 5 };
        var seen = new Watched();
        var accepting = accepted.SecureAsync(some, accepts: true, static _ => true, _deadline.Token);
        await dialled.SecureAsync(few, accepts: false, static _ => true, _deadline.Token);
        await accepting;
        dialled.Interpose(layer => seen.Add((TlsLayer)layer));
        accepted.Interpose(layer => seen.Add((TlsLayer)layer));
        // More than the socket takes at once: renewals meet a full socket.
        const int Bytes = 64 << 20;
        await EchoAsync(dialled, accepted, Bytes);
        await EchoAsync(accepted, dialled, Bytes);
        Assert.Equal(2, seen.Layers.Count);
        Assert.All(seen.Layers, static layer => Assert.InRange(layer.KeysRenewed, Bytes / (16 << 10) / 5, long.MaxValue));

        // And where it has room.
        const int Rounds = 50;
        var before = seen.Layers.Select(static layer => layer.KeysRenewed).ToArray();
        for (var i = 0; i < Rounds; i++)
        {
            await EchoAsync(dialled, accepted, 5 * 16 << 10);
            await EchoAsync(accepted, dialled, 5 * 16 << 10);
        }
        Assert.All(seen.Layers.Zip(before), static layer => Assert.InRange(layer.First.KeysRenewed - layer.Second, Rounds - 1, long.MaxValue));
        await dialled.DisposeAsync();
        await accepted.DisposeAsync();
    }

    /// <summary>What was encrypted when the socket became full is neither lost nor sent twice, and does not hold up what arrives.</summary>
    [Fact]
    public async Task Both_ends_with_full_sockets_still_receive_everything()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, accepted, _) = await ConnectAsync(new HostTls(a), new HostTls(b), "c1/b");
        var sent = MirroringTests.Pattern(1, 16 << 20);
        var (there, here) = (FillSocket(dialled, sent), FillSocket(accepted, sent));
        Assert.InRange(there, 1, sent.Length - 1);
        Assert.InRange(here, 1, sent.Length - 1);
        // A part of what was not taken is on its way already.
        await Task.WhenAll(ArrivesAsync(dialled, accepted, there), ArrivesAsync(accepted, dialled, here));
        await dialled.DisposeAsync();
        await accepted.DisposeAsync();

        async Task ArrivesAsync(LinkTransport from, LinkTransport to, int taken)
        {
            var got = new byte[sent.Length];
            var reading = to.ReadExactlyAsync(got, _deadline.Token).AsTask();
            await from.WriteAsync(sent.AsMemory(taken), _deadline.Token);
            await reading;
            Assert.Equal(sent, got);
        }

        static unsafe int FillSocket(LinkTransport link, byte[] bytes)
        {
            var taken = 0;
            fixed (byte* start = bytes)
            {
                while (taken < bytes.Length)
                {
                    var vector = new LoopNative.IoVector { Base = start + taken, Length = (nuint)(bytes.Length - taken) };
                    var more = link.Send(&vector, 1);
                    if (more < 0)
                        break;
                    taken += (int)more;
                }
            }
            return taken;
        }
    }

    [Fact]
    public async Task A_changed_byte_ends_the_connection()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        using var upstream = new TcpListener(IPAddress.Loopback, 0);
        upstream.Start();
        var (dialled, front) = await SocketsAsync();
        using var back = new TcpClient();
        await back.ConnectAsync((IPEndPoint)upstream.LocalEndpoint, _deadline.Token);
        var accepted = new LinkTransport(await upstream.AcceptSocketAsync(_deadline.Token));
        var flip = false;
        var there = RelayAsync(front, back.GetStream(), () => flip);
        var here = RelayAsync(back.GetStream(), front, static () => false);
        var accepting = new HostTls(b).AcceptLinkAsync(accepted, _deadline.Token);
        await new HostTls(a).DialLinkAsync(dialled, "c1/b", _deadline.Token);
        await accepting;
        await dialled.WriteAsync(new byte[100], _deadline.Token);
        await accepted.ReadExactlyAsync(new byte[100], _deadline.Token);
        flip = true;
        await dialled.WriteAsync(new byte[100], _deadline.Token);
        var broken = await Assert.ThrowsAsync<IOException>(() => accepted.ReadAsync(new byte[100], _deadline.Token).AsTask());
        Assert.Contains("bad record mac", broken.Message);
        await dialled.DisposeAsync();
        await accepted.DisposeAsync();
        await there;
        back.Close();
        await here;

        async Task RelayAsync(Stream from, Stream to, Func<bool> changes)
        {
            var buffer = new byte[64 << 10];
            try
            {
                for (int got; (got = await from.ReadAsync(buffer, _deadline.Token)) > 0;)
                {
                    if (changes())
                        buffer[got - 1] ^= 1;
                    await to.WriteAsync(buffer.AsMemory(0, got), _deadline.Token);
                }
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // One of the ends has closed.
            }
            await to.DisposeAsync();
        }
    }

    [Fact]
    public async Task An_unsound_record_behind_sound_ones_ends_the_link_without_another_readiness()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialledSocket, acceptedSocket) = await RawSocketsAsync();
        var (dialled, accepted) = (new LinkTransport(dialledSocket), new LinkTransport(acceptedSocket));
        var accepting = new HostTls(b).AcceptLinkAsync(accepted, _deadline.Token).AsTask();
        await new HostTls(a).DialLinkAsync(dialled, "c1/b", _deadline.Token);
        await accepting;
        // A whole record, behind which the receiver looks for more, and one that nobody has encrypted.
        await dialled.WriteAsync(new byte[16 << 10], _deadline.Token);
        byte[] unsound = [0x17, 0x03, 0x03, 0x00, 0x64, .. new byte[100]];
        Assert.Equal(unsound.Length, dialledSocket.Send(unsound));
        Assert.True(SpinWait.SpinUntil(() => acceptedSocket.Available >= (16 << 10) + unsound.Length, Patience));

        using var buffers = new BufferPool(2);
        using var channel = new LinkChannel(new LinkConnection(accepted), buffers, static _ => { });
        Assert.True(channel.Receive());
        Assert.True(channel.MayHoldMore);
        Assert.False(channel.Receive());
        Assert.Contains("bad record mac", channel.EndReason);
        await dialled.DisposeAsync();
    }

    public void Dispose()
    {
        _authority.Dispose();
        _deadline.Dispose();
    }

    private async Task<(LinkTransport Dialled, LinkTransport Accepted, string Host)> ConnectAsync(HostTls dialler, HostTls acceptor, string expected)
    {
        var (dialled, accepted) = await SocketsAsync();
        var accepting = acceptor.AcceptLinkAsync(accepted, _deadline.Token).AsTask();
        try
        {
            await dialler.DialLinkAsync(dialled, expected, _deadline.Token);
            return (dialled, accepted, await accepting);
        }
        catch
        {
            await dialled.DisposeAsync();
            await Assert.ThrowsAnyAsync<Exception>(() => accepting);
            await accepted.DisposeAsync();
            throw;
        }
    }

    private async Task RefusesAsync(HostIdentity acceptor, SslClientAuthenticationOptions options)
    {
        var (dialled, accepted) = await SocketsAsync();
        var accepting = new HostTls(acceptor).AcceptLinkAsync(accepted, _deadline.Token).AsTask();
        await using var stream = new SslStream(dialled, leaveInnerStreamOpen: false, static (_, _, _, _) => true);
        await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            await stream.AuthenticateAsClientAsync(options, _deadline.Token);
            await stream.ReadExactlyAsync(new byte[1], _deadline.Token);
        });
        await Assert.ThrowsAsync<AuthenticationException>(() => accepting);
        await accepted.DisposeAsync();
    }

    private static async Task<(LinkTransport Dialled, LinkTransport Accepted)> SocketsAsync()
    {
        var (dialled, accepted) = await RawSocketsAsync();
        return (new LinkTransport(dialled), new LinkTransport(accepted));
    }

    private static async Task<(Socket Dialled, Socket Accepted)> RawSocketsAsync()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        var dialled = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await LinkConnection.ConnectAsync(dialled, listener.LocalEndPoint!, CancellationToken.None);
        return (dialled, await listener.AcceptAsync());
    }

    private async Task EchoAsync(Stream from, Stream to, int bytes)
    {
        var sent = MirroringTests.Pattern(bytes, bytes);
        var writing = from.WriteAsync(sent, _deadline.Token);
        var got = new byte[bytes];
        await to.ReadExactlyAsync(got, _deadline.Token);
        await writing;
        Assert.Equal(sent, got);
    }

    private sealed class Watched
    {
        public List<TlsLayer> Layers { get; } = [];

        public ILinkLayer Add(TlsLayer layer)
        {
            Layers.Add(layer);
            return layer;
        }
    }
}
