using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Pollux.DataPlane.Identity;

namespace Pollux.Tests.Unit.Hosts;

public sealed class HostTlsTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly TestAuthority _authority = new();

    [Fact]
    public async Task Hosts_of_one_cluster_see_each_others_names()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, accepted) = await ConnectAsync(a, b, "c1/b");
        Assert.Null(dialled);
        Assert.Equal("c1/a", accepted);
    }

    [Fact]
    public async Task A_host_of_another_authority_is_refused_by_both_ends()
    {
        using var stranger = new TestAuthority();
        using var a = stranger.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, accepted) = await ConnectAsync(a, b, "c1/b");
        Assert.NotNull(dialled);
        Assert.Null(accepted);
    }

    [Fact]
    public async Task A_host_that_is_not_the_configured_peer_is_refused_by_the_dialler()
    {
        using var a = _authority.Host("c1/a");
        using var b = _authority.Host("c1/b");
        var (dialled, _) = await ConnectAsync(a, b, "c1/x");
        Assert.Contains("c1/b, not c1/x", Assert.IsType<AuthenticationException>(dialled).Message);
    }

    [Fact]
    public async Task A_host_of_another_cluster_is_refused()
    {
        using var a = _authority.Host("c2/a");
        using var b = _authority.Host("c1/b");
        var (_, accepted) = await ConnectAsync(a, b, "c1/b");
        Assert.Null(accepted);
    }

    [Fact]
    public void A_certificate_with_two_host_names_names_nobody()
    {
        using var key = System.Security.Cryptography.ECDsa.Create();
        var request = new System.Security.Cryptography.X509Certificates.CertificateRequest(
            "CN=two", key, System.Security.Cryptography.HashAlgorithmName.SHA256);
        var names = new System.Security.Cryptography.X509Certificates.SubjectAlternativeNameBuilder();
        names.AddUri(new Uri("pollux://host/c1/a"));
        names.AddUri(new Uri("pollux://host/c1/b"));
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow, DateTimeOffset.UtcNow.AddHours(1));
        Assert.Null(CertificateNames.HostOf(certificate));
    }

    public void Dispose() => _authority.Dispose();

    /// <returns>What the dialler threw, and whom the acceptor saw (null if it refused).</returns>
    private static async Task<(Exception? Dialled, string? Accepted)> ConnectAsync(HostIdentity dialler, HostIdentity acceptor, string expected)
    {
        using var deadline = new CancellationTokenSource(Patience);
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var accepting = AcceptAsync();
        using var client = new TcpClient();
        await client.ConnectAsync((IPEndPoint)listener.LocalEndpoint, deadline.Token);
        Exception? dialled = null;
        try
        {
            await using var stream = await new HostTls(dialler).DialAsync(client.GetStream(), expected, deadline.Token);
            // In TLS 1.3 the dialler is done before the acceptor has judged its certificate: the first read tells.
            await stream.ReadExactlyAsync(new byte[1], deadline.Token);
        }
        catch (Exception e) when (e is AuthenticationException or IOException)
        {
            dialled = e;
        }

        client.Close();
        return (dialled, await accepting);

        async Task<string?> AcceptAsync()
        {
            using var socket = await listener.AcceptTcpClientAsync(deadline.Token);
            try
            {
                var (stream, host) = await new HostTls(acceptor).AcceptAsync(socket.GetStream(), deadline.Token);
                await stream.WriteAsync(new byte[1], deadline.Token);
                await stream.DisposeAsync();
                return host;
            }
            catch (Exception e) when (e is AuthenticationException or IOException)
            {
                return null;
            }
        }
    }
}
