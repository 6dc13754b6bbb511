using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Pollux.Gateway.Authority;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

public sealed class SessionTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task A_host_is_welcome_and_gets_its_desired_state()
    {
        var cluster = await server.CreateClusterAsync();
        using var a = await server.ConnectAsync(cluster, "a");
        var desired = await a.ReceiveAsync<DesiredState>();
        Assert.Empty(desired.Modules);
        using var b = await server.ConnectAsync(cluster, "b");
        var withPeer = await a.ReceiveAsync<DesiredState>(state => state.Peer?.PeerAddress is not null);
        Assert.Equal(new PeerHost($"{cluster}/b", "10.0.0.1:7410", "10.0.0.1:7411"), withPeer.Peer);
        Assert.True(withPeer.Version > desired.Version);
    }

    [Fact]
    public async Task A_host_with_several_networks_is_reached_over_all_of_them()
    {
        var cluster = await server.CreateClusterAsync();
        using var a = await server.ConnectAsync(cluster, "a");
        var host = $"{cluster}/b";
        using var b = await SessionClient.DialAsync(server, host, await server.JoinAsync(await server.AddHostAsync(cluster, "b")));
        HostNetwork[] networks = [new("10.0.0.1:7410", "10.0.0.1:7411"), new("10.1.0.1:7410", "10.1.0.1:7411")];
        await b.SendAsync(b.Hello() with { Networks = [.. networks] });
        Assert.Equal(host, Assert.IsType<Welcome>(await b.ReceiveAsync()).Host);
        var desired = await a.ReceiveAsync<DesiredState>(state => state.Peer?.PeerAddress is not null);
        Assert.Equal(networks, desired.Peer!.Networks);

        await b.SendAsync(new ObservedState(0, true, [])
        {
            Networks = [new(1, "10.0.0.2:7410", true, 20, 150, "connected"), new(2, "10.1.0.2:7410", false, 9_000, 150, "no route")],
        });
        var status = await UntilAsync(
            () => server.StatusAsync(cluster), one => one.GetProperty("hosts")[1].GetProperty("networks").GetArrayLength() == 2);
        var seen = status.GetProperty("hosts")[1];
        Assert.Equal("network.down", Assert.Single(seen.GetProperty("problems").EnumerateArray()).GetProperty("code").GetString());
        Assert.Equal([true, false], seen.GetProperty("networks").EnumerateArray().Select(network => network.GetProperty("up").GetBoolean()));
    }

    [Fact]
    public async Task More_networks_than_there_may_be_end_the_session()
    {
        var cluster = await server.CreateClusterAsync();
        using var a = await SessionClient.DialAsync(server, $"{cluster}/a", await server.JoinAsync(await server.AddHostAsync(cluster, "a")));
        await a.SendAsync(a.Hello() with { Networks = [.. Enumerable.Range(1, 5).Select(i => new HostNetwork($"10.{i}.0.1:7410", $"10.{i}.0.1:7411"))] });
        Assert.IsType<Goodbye>(await a.ReceiveAsync());
    }

    [Fact]
    public async Task A_ping_is_answered()
    {
        using var a = await server.ConnectAsync(await server.CreateClusterAsync(), "a");
        await a.SendAsync(new Ping(42));
        Assert.Equal(42, (await a.ReceiveAsync<Pong>()).Sequence);
    }

    [Fact]
    public async Task Without_a_certificate_of_the_authority_there_is_no_session()
    {
        Assert.Equal(HttpStatusCode.Forbidden, await RefusedAsync(null));
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=stranger", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddUri(new Uri("pollux://host/some/a"));
        request.CertificateExtensions.Add(names.Build());
        using var selfMade = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        Assert.Equal(HttpStatusCode.Forbidden, await RefusedAsync(selfMade));
    }

    [Fact]
    public async Task The_servers_own_certificate_makes_no_host()
    {
        using var pem = X509Certificate2.CreateFromPemFile(Path.Combine(server.Data, "server.crt"), Path.Combine(server.Data, "server.key"));
        Assert.Equal(HttpStatusCode.Forbidden, await RefusedAsync(pem));
    }

    [Fact]
    public async Task A_valid_certificate_of_a_host_that_nobody_added_gets_a_goodbye()
    {
        using var authority = CertificateAuthority.LoadOrCreate(server.Data, TimeProvider.System);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var signed = authority.SignHost(new PublicKey(key), "nowhere/a");
        using var certificate = signed.CopyWithPrivateKey(key);
        using var host = await SessionClient.DialAsync(server, "nowhere/a", certificate);
        await host.SendAsync(host.Hello());
        Assert.Equal("host.unknown", await host.GoodbyeAsync());
    }

    [Fact]
    public async Task A_certificate_from_before_the_host_joined_anew_gets_a_goodbye()
    {
        var cluster = await server.CreateClusterAsync();
        using var former = await server.JoinAsync(await server.AddHostAsync(cluster, "a"));
        var token = (await server.CommandAsync("host", "token", $"{cluster}/a")).Output.Trim();
        (await server.JoinAsync(token)).Dispose();
        using var host = await SessionClient.DialAsync(server, $"{cluster}/a", former);
        await host.SendAsync(host.Hello());
        Assert.Equal("host.certificate-replaced", await host.GoodbyeAsync());
    }

    [Fact]
    public async Task Another_protocol_version_gets_a_goodbye()
    {
        using var host = await DialAsync();
        await host.SendAsync(host.Hello() with { ProtocolVersion = HostProtocolLimits.Version + 1 });
        Assert.Equal("protocol.version", await host.GoodbyeAsync());
    }

    [Fact]
    public async Task A_hello_for_another_host_than_the_certificate_gets_a_goodbye()
    {
        using var host = await DialAsync();
        await host.SendAsync(host.Hello() with { Host = "other/a" });
        Assert.Equal("session.identity", await host.GoodbyeAsync());
    }

    [Theory]
    [InlineData("{")]
    [InlineData("{}")]
    [InlineData("null")]
    [InlineData("""{"type":"conquer"}""")]
    [InlineData("""{"type":"observed","desiredVersion":1}""")]
    [InlineData("""{"type":"observed","desiredVersion":1,"modules":[null]}""")]
    [InlineData("""{"type":"observed","desiredVersion":1,"modules":[{"module":"x/y"}]}""")]
    [InlineData("""{"type":"observed","desiredVersion":"many"}""")]
    public async Task A_message_that_does_not_parse_gets_a_goodbye(string text)
    {
        using var host = await server.ConnectAsync(await server.CreateClusterAsync(), "a");
        await host.SendTextAsync(text);
        Assert.Equal("message.malformed", await host.GoodbyeAsync());
    }

    [Fact]
    public async Task A_message_over_the_limit_gets_a_goodbye()
    {
        using var host = await server.ConnectAsync(await server.CreateClusterAsync(), "a");
        await host.SendTextAsync(new string(' ', HostProtocolLimits.MessageBytesMax + 1));
        Assert.Equal("message.too-large", await host.GoodbyeAsync());
    }

    [Fact]
    public async Task Binary_messages_and_a_second_hello_get_a_goodbye()
    {
        var cluster = await server.CreateClusterAsync();
        using (var host = await server.ConnectAsync(cluster, "a"))
        {
            await host.SendTextAsync("x", WebSocketMessageType.Binary);
            Assert.Equal("message.malformed", await host.GoodbyeAsync());
        }
        using var other = await server.ConnectAsync(cluster, "b");
        await other.SendAsync(other.Hello());
        Assert.Equal("message.unexpected", await other.GoodbyeAsync());
    }

    [Fact]
    public async Task A_request_in_another_hosts_name_gets_a_goodbye_and_changes_nothing()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            var record = await CreateModuleAsync(cluster, a, b);
            await b.SendAsync(new ArbitrationRequest(Guid.NewGuid(), $"{cluster}/web", record.Incarnation, 1, "takeover", a.Host, b.Host, null));
            Assert.Equal("session.identity", await b.GoodbyeAsync());
            var module = (await server.StatusAsync(cluster)).GetProperty("modules")[0];
            Assert.Equal(1, module.GetProperty("record").GetProperty("epoch").GetInt64());
        }
    }

    [Fact]
    public async Task A_newer_session_of_the_host_ends_the_older_one()
    {
        var cluster = await server.CreateClusterAsync();
        using var certificate = await server.JoinAsync(await server.AddHostAsync(cluster, "a"));
        using var first = await SessionClient.DialAsync(server, $"{cluster}/a", certificate);
        await first.SayHelloAsync();
        using var second = await SessionClient.DialAsync(server, $"{cluster}/a", certificate);
        await second.SayHelloAsync();
        Assert.Equal("session.superseded", await first.GoodbyeAsync());
        await second.SendAsync(new Ping(1));
        await second.ReceiveAsync<Pong>();
    }

    [Fact]
    public async Task An_arbitration_goes_all_the_way_and_its_repetition_gives_the_same()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (a)
        using (b)
        {
            var record = await CreateModuleAsync(cluster, a, b);
            var spans = new ConcurrentQueue<Activity>();
            using var listener = new ActivityListener
            {
                ShouldListenTo = static source => source.Name == "Pollux.ControlPlane",
                Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
                ActivityStopped = spans.Enqueue,
            };
            ActivitySource.AddActivityListener(listener);
            var request = new ArbitrationRequest(
                Guid.NewGuid(), $"{cluster}/web", record.Incarnation, record.Epoch, "takeover", a.Host, b.Host,
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
            await a.SendAsync(request);
            var granted = await a.ReceiveAsync<ArbitrationAnswer>();
            Assert.Equal((request.OperationId, "granted", 2L, a.Host), (granted.OperationId, granted.Outcome, granted.Record!.Epoch, granted.Record.Primary));
            // The host's trace goes on in the control plane.
            var span = Assert.Single(spans, span => span.TraceId.ToHexString() == "0af7651916cd43dd8448eb211c80319c");
            Assert.Equal(("arbitration", "b7ad6b7169203331"), (span.OperationName, span.ParentSpanId.ToHexString()));
            await a.SendAsync(request);
            Assert.Equal(granted.Record.Epoch, (await a.ReceiveAsync<ArbitrationAnswer>()).Record!.Epoch);

            await b.SendAsync(request with { OperationId = Guid.NewGuid(), By = b.Host, Peer = a.Host });
            var refused = await b.ReceiveAsync<ArbitrationAnswer>();
            Assert.Equal(("refused", 2L), (refused.Outcome, refused.Record!.Epoch));
            Assert.NotEqual("", refused.Reason);
        }
    }

    [Fact]
    public async Task A_host_that_goes_away_is_shown_as_unreachable_with_what_it_said_last()
    {
        var (cluster, a, b) = await server.PairAsync();
        using (b)
        {
            await CreateModuleAsync(cluster, a, b);
            a.Dispose();
            var status = await UntilAsync(() => server.StatusAsync(cluster), s => !s.GetProperty("hosts")[0].GetProperty("connected").GetBoolean());
            Assert.Equal("host.unreachable", status.GetProperty("hosts")[0].GetProperty("problems")[0].GetProperty("code").GetString());
            var onA = status.GetProperty("modules")[0].GetProperty("hosts")[0];
            Assert.Equal(("UNKNOWN", "host.unreachable"), (onA.GetProperty("role").GetString(), onA.GetProperty("code").GetString()));
        }
    }

    /// <returns>The new module's record.</returns>
    internal async Task<RecordMessage> CreateModuleAsync(string cluster, SessionClient a, SessionClient b, string? vm = null)
    {
        var creation = server.Http.PostAsJsonAsync($"/api/v1/clusters/{cluster}/modules", new { name = "web", directory = "/vms/web", primary = "a", vm });
        await a.AcceptAsync();
        await b.AcceptAsync();
        Assert.Equal(HttpStatusCode.Created, (await creation).StatusCode);
        return (await a.ReceiveAsync<DesiredState>(state => state.Modules is [{ Phase: ModulePhase.Active }])).Modules[0].Record;
    }

    internal static async Task<JsonElement> UntilAsync(Func<Task<JsonElement>> look, Func<JsonElement, bool> holds)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        using var pause = new PeriodicTimer(TimeSpan.FromMilliseconds(50));
        while (true)
        {
            var seen = await look();
            if (holds(seen)) return seen;
            Assert.False(deadline.IsCancellationRequested, $"Not within 20 s; last seen: {seen}");
            await pause.WaitForNextTickAsync(CancellationToken.None);
        }
    }

    private async Task<HttpStatusCode> RefusedAsync(X509Certificate2? certificate)
    {
        var http = new SocketsHttpHandler();
        http.SslOptions.CertificateChainPolicy = server.Policy();
        if (certificate is not null) http.SslOptions.ClientCertificates = [certificate];
        await Assert.ThrowsAsync<WebSocketException>(() => SessionClient.DialAsync(server, "some/a", certificate));
        using var client = new HttpClient(http);
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(server.Address, HostProtocolLimits.Path));
        request.Headers.Add("Connection", "Upgrade");
        request.Headers.Add("Upgrade", "websocket");
        request.Headers.Add("Sec-WebSocket-Version", "13");
        request.Headers.Add("Sec-WebSocket-Key", Convert.ToBase64String(new byte[16]));
        using var answer = await client.SendAsync(request);
        Assert.StartsWith("host.certificate", await RunningServer.CodeAsync(answer), StringComparison.Ordinal);
        return answer.StatusCode;
    }

    private async Task<SessionClient> DialAsync()
    {
        var cluster = await server.CreateClusterAsync();
        return await SessionClient.DialAsync(server, $"{cluster}/a", await server.JoinAsync(await server.AddHostAsync(cluster, "a")));
    }
}
