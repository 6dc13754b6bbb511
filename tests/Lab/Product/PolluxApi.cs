using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography.X509Certificates;

namespace Pollux.Lab.Product;

/// <summary>The control plane's REST API as a client on the machine sees it: its authority is the only one trusted.</summary>
public sealed class PolluxApi : IDisposable
{
    private static readonly TimeSpan RequestMax = TimeSpan.FromSeconds(3);

    private readonly HttpClient _client;

    /// <param name="address">https://ADDRESS:PORT</param>
    /// <param name="folder">The server's data folder, where it keeps ca.crt and operator-token.</param>
    public PolluxApi(Uri address, string folder)
    {
        Address = address;
        TokenFile = Path.Combine(folder, "operator-token");
        AuthorityFile = Path.Combine(folder, "ca.crt");
        var authority = X509CertificateLoader.LoadCertificateFromFile(AuthorityFile);
        var handler = new SocketsHttpHandler { ConnectTimeout = RequestMax, PooledConnectionLifetime = TimeSpan.FromMinutes(1) };
        handler.SslOptions.CertificateChainPolicy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            CustomTrustStore = { authority },
        };
        _client = new HttpClient(handler) { BaseAddress = address, Timeout = RequestMax };
        _client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", File.ReadAllText(TokenFile).Trim());
    }

    public Uri Address { get; }

    public string TokenFile { get; }

    public string AuthorityFile { get; }

    /// <summary>The status of the fleet; null while the control plane does not answer.</summary>
    public async Task<FleetStatus?> TryGetStatusAsync()
    {
        try
        {
            return await _client.GetFromJsonAsync<FleetStatus>("/api/v1/status", FleetStatus.Json);
        }
        catch (HttpRequestException)
        {
            return null;
        }
        catch (TaskCanceledException)
        {
            return null;
        }
    }

    public async Task<ModuleStatus?> TryGetModuleAsync(string cluster, string module) =>
        (await TryGetStatusAsync())?.Clusters?.FirstOrDefault(one => one.Name == cluster)?.Modules?.FirstOrDefault(one => ModuleStatus.ShortName(one.Name) == module);

    public void Dispose() => _client.Dispose();
}
