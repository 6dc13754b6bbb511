using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Pollux.Gateway.Authority;
using Pollux.Gateway.Commands;
using Pollux.Gateway.Server;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Gateway;

/// <summary>The whole <c>pollux server</c> in this process, on a free port and a data directory of its own: real Kestrel, TLS and SQLite.</summary>
public sealed class RunningServer : IAsyncLifetime
{
    private readonly DirectoryInfo _data = Directory.CreateTempSubdirectory("pollux-server-");
    private readonly IPEndPoint _listen = new(IPAddress.Loopback, FreePort());
    private readonly (int Silo, int Client) _siloPorts = (FreePort(), FreePort());
    private static int _number;
    private WebApplication? _app;

    public string Data => _data.FullName;

    public Uri Address => new($"https://127.0.0.1:{_listen.Port}");

    public X509Certificate2 Authority => X509Certificate2.CreateFromPem(File.ReadAllText(Path.Combine(Data, CertificateAuthority.CertificateFile)));

    public HttpClient Http { get; private set; } = new();

    public async Task InitializeAsync() => await StartAsync();

    public async Task StartAsync(bool restored = false)
    {
        _app = PolluxServer.Build(new ServerOptions(Data, _listen, ["pollux.example"], SiloPort: _siloPorts.Silo, ClientPort: _siloPorts.Client)
        {
            Restored = restored,
        });
        await _app.StartAsync();
        Http = Client(File.ReadAllText(Path.Combine(Data, OperatorTokens.FileName)).Trim());
    }

    public async Task StopAsync()
    {
        await _app!.StopAsync();
        await _app.DisposeAsync();
    }

    public async Task DisposeAsync()
    {
        await StopAsync();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        _data.Delete(recursive: true);
    }

    public static string NewName() => $"pair-{Interlocked.Increment(ref _number)}";

    /// <summary>A client that trusts only this server's authority.</summary>
    public HttpClient Client(string? operatorToken)
    {
        var http = new HttpClient(new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions { CertificateChainPolicy = Policy() },
        })
        { BaseAddress = Address };
        if (operatorToken is not null) http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", operatorToken);
        return http;
    }

    /// <summary>Runs a <c>pollux</c> command against this server.</summary>
    public async Task<(int Code, string Output, string Error)> CommandAsync(params string[] arguments)
    {
        using StringWriter output = new(), error = new();
        string[] access =
        [
            "--server", Address.ToString(), "--token-file", Path.Combine(Data, OperatorTokens.FileName), "--ca-file",
            Path.Combine(Data, CertificateAuthority.CertificateFile),
        ];
        var code = await PolluxCommandLine.RunAsync([.. arguments, .. access], output, error);
        return (code, output.ToString(), error.ToString());
    }

    public async Task<JsonElement> StatusAsync(string cluster)
    {
        var status = await Http.GetFromJsonAsync<JsonElement>($"/api/v1/status?cluster={cluster}");
        return status.GetProperty("clusters")[0];
    }

    public async Task<string> CreateClusterAsync()
    {
        var name = NewName();
        (await Http.PostAsJsonAsync("/api/v1/clusters", new { name, detectionMs = 3000 })).EnsureSuccessStatusCode();
        return name;
    }

    public async Task<string> AddHostAsync(string cluster, string host)
    {
        var answer = await Http.PostAsJsonAsync($"/api/v1/clusters/{cluster}/hosts", new { name = host });
        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        return (await answer.Content.ReadFromJsonAsync<JsonElement>()).GetProperty("token").GetString()!;
    }

    public Task<HttpResponseMessage> AskToJoinAsync(string token, ECDsa key) => Client(null).PostAsJsonAsync(
        JoinRequest.Path, new JoinRequest(token, new CertificateRequest("CN=ignored", key, HashAlgorithmName.SHA256).CreateSigningRequestPem()),
        JoiningJson.Default.JoinRequest);

    /// <returns>The host's certificate with its key.</returns>
    public async Task<X509Certificate2> JoinAsync(string token)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var answer = await AskToJoinAsync(token, key);
        answer.EnsureSuccessStatusCode();
        var joined = (await answer.Content.ReadFromJsonAsync(JoiningJson.Default.JoinAnswer))!;
        using var certificate = X509Certificate2.CreateFromPem(joined.CertificatePem);
        return certificate.CopyWithPrivateKey(key);
    }

    /// <summary>A cluster whose two hosts are joined and connected.</summary>
    public async Task<(string Cluster, SessionClient A, SessionClient B)> PairAsync()
    {
        var cluster = await CreateClusterAsync();
        return (cluster, await ConnectAsync(cluster, "a"), await ConnectAsync(cluster, "b"));
    }

    public async Task<SessionClient> ConnectAsync(string cluster, string host)
    {
        var certificate = await JoinAsync(await AddHostAsync(cluster, host));
        var session = await SessionClient.DialAsync(this, $"{cluster}/{host}", certificate);
        await session.SayHelloAsync();
        return session;
    }

    public X509ChainPolicy Policy() => new()
    {
        TrustMode = X509ChainTrustMode.CustomRootTrust, CustomTrustStore = { Authority }, RevocationMode = X509RevocationMode.NoCheck,
    };

    public static async Task<string> CodeAsync(HttpResponseMessage answer)
    {
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
        var problem = await answer.Content.ReadFromJsonAsync<JsonElement>();
        foreach (var member in new[] { "title", "detail", "impact", "action" })
            Assert.NotEqual("", problem.GetProperty(member).GetString());
        return problem.GetProperty("code").GetString()!;
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
