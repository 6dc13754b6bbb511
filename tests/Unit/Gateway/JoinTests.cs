using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

public sealed class JoinTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task Anybody_gets_the_authority_that_the_token_pins()
    {
        var token = await server.AddHostAsync(await server.CreateClusterAsync(), "a");
        using var authority = X509Certificate2.CreateFromPem(await server.Client(null).GetStringAsync(JoinRequest.AuthorityPath));
        Assert.Equal(SHA256.HashData(authority.RawData), System.Buffers.Text.Base64Url.DecodeFromChars(token.Split('.')[2]));
    }

    [Fact]
    public async Task The_certificate_names_the_host_and_comes_from_the_authority()
    {
        var cluster = await server.CreateClusterAsync();
        using var certificate = await server.JoinAsync(await server.AddHostAsync(cluster, "a"));
        using var chain = new X509Chain { ChainPolicy = server.Policy() };
        Assert.True(chain.Build(certificate));
        Assert.Contains($"pollux://host/{cluster}/a", certificate.Extensions["2.5.29.17"]!.Format(false), StringComparison.Ordinal);
        Assert.InRange(certificate.NotAfter, DateTime.Now.AddDays(360), DateTime.Now.AddDays(366));
    }

    [Fact]
    public async Task A_used_token_is_good_only_for_the_key_that_used_it()
    {
        var token = await server.AddHostAsync(await server.CreateClusterAsync(), "a");
        using ECDsa first = ECDsa.Create(ECCurve.NamedCurves.nistP256), second = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        Assert.Equal(HttpStatusCode.OK, (await server.AskToJoinAsync(token, first)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await server.AskToJoinAsync(token, first)).StatusCode);
        using var refused = await server.AskToJoinAsync(token, second);
        Assert.Equal((HttpStatusCode.Forbidden, "host.token"), (refused.StatusCode, await RunningServer.CodeAsync(refused)));
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("a.b.c")]
    [InlineData("")]
    [InlineData("Li4vLi4.x.eA")]
    public async Task A_token_that_is_none_is_refused(string token)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var refused = await server.AskToJoinAsync(token, key);
        Assert.Equal("host.token", await RunningServer.CodeAsync(refused));
    }

    [Fact]
    public async Task A_wrong_secret_and_a_host_that_was_not_added_are_refused()
    {
        var token = (await server.AddHostAsync(await server.CreateClusterAsync(), "a")).Split('.');
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var wrong = await server.AskToJoinAsync($"{token[0]}.{new string('A', token[1].Length)}.{token[2]}", key);
        Assert.Equal("host.token", await RunningServer.CodeAsync(wrong));
        var nobody = System.Buffers.Text.Base64Url.EncodeToString("nowhere/a"u8);
        using var unknown = await server.AskToJoinAsync($"{nobody}.{token[1]}.{token[2]}", key);
        Assert.Equal("host.token", await RunningServer.CodeAsync(unknown));
    }

    [Fact]
    public async Task A_token_with_an_invented_name_or_a_changed_secret_is_refused_before_anything_is_looked_up_by_it()
    {
        var cluster = await server.CreateClusterAsync();
        var token = (await server.AddHostAsync(cluster, "a")).Split('.');
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var invented = System.Buffers.Text.Base64Url.EncodeToString("nowhere/a"u8);
        var changed = (token[1][0] == 'A' ? 'B' : 'A') + token[1][1..];
        foreach (var (name, secret) in new[] { (invented, token[1]), (token[0], changed), (token[0], token[1][..^1]), (token[0], "x") })
        {
            using var refused = await server.AskToJoinAsync($"{name}.{secret}.{token[2]}", key);
            var problem = await System.Net.Http.Json.HttpContentJsonExtensions.ReadFromJsonAsync<System.Text.Json.JsonElement>(refused.Content);
            // What the grains refuse has other words.
            Assert.Contains("not issued by this installation", problem.GetProperty("detail").GetString(), StringComparison.Ordinal);
        }
        (await server.JoinAsync(string.Join('.', token))).Dispose();
    }

    [Fact]
    public async Task A_certificate_request_that_is_none_uses_no_token_up()
    {
        var token = await server.AddHostAsync(await server.CreateClusterAsync(), "a");
        using var refused = await System.Net.Http.Json.HttpClientJsonExtensions.PostAsJsonAsync(
            server.Client(null), JoinRequest.Path, new JoinRequest(token, "no request"), JoiningJson.Default.JoinRequest);
        Assert.Equal("host.certificate-request", await RunningServer.CodeAsync(refused));
        (await server.JoinAsync(token)).Dispose();
    }

    [Fact]
    public async Task A_client_that_trusts_another_authority_does_not_reach_the_server()
    {
        using var stranger = new HttpClient { BaseAddress = server.Address };
        await Assert.ThrowsAsync<HttpRequestException>(() => stranger.GetStringAsync("/healthz"));
    }
}
