using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.Security;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Commands;

/// <summary>Why a command did not succeed, as it is shown to the operator.</summary>
internal sealed class CommandFailure(Problem problem) : Exception(problem.Title)
{
    public Problem Problem => problem;
}

/// <param name="Server">Base address.</param>
internal sealed record ApiAccess(Uri Server, string TokenFile, string CaFile);

/// <summary>The server's REST API as the commands use it. Trusts only the installation's own authority.</summary>
internal sealed class ApiClient : IDisposable
{
    /// <summary>Creating a module waits for two hosts' verdicts, 25 s at most.</summary>
    private static readonly TimeSpan RequestMax = TimeSpan.FromSeconds(40);

    internal static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);

    private readonly HttpClient _http;
    private readonly X509Certificate2 _authority;
    private readonly Uri _server;

    /// <exception cref="CommandFailure">Token or authority cannot be read.</exception>
    public ApiClient(ApiAccess access)
    {
        _server = access.Server;
        _authority = Load(access.CaFile);
        _http = new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false,
            ConnectTimeout = TimeSpan.FromSeconds(5),
            SslOptions = new SslClientAuthenticationOptions
            {
                EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
                CertificateChainPolicy = new X509ChainPolicy
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust,
                    CustomTrustStore = { _authority },
                    RevocationMode = X509RevocationMode.NoCheck,
                    DisableCertificateDownloads = true,
                },
            },
        })
        {
            BaseAddress = access.Server,
            Timeout = Timeout.InfiniteTimeSpan,
        };
        _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", ReadToken(access.TokenFile));
    }

    public async Task<T> GetAsync<T>(string path, CancellationToken cancel) => await ReadAsync<T>(await SendAsync(HttpMethod.Get, path, null, cancel), cancel);

    public async Task<T> PostAsync<T>(string path, object? body, CancellationToken cancel) =>
        await ReadAsync<T>(await SendAsync(HttpMethod.Post, path, body, cancel), cancel);

    public async Task PostAsync(string path, object? body, CancellationToken cancel) => (await SendAsync(HttpMethod.Post, path, body, cancel)).Dispose();

    public async Task PutAsync(string path, object body, CancellationToken cancel) => (await SendAsync(HttpMethod.Put, path, body, cancel)).Dispose();

    public async Task DeleteAsync(string path, CancellationToken cancel) => (await SendAsync(HttpMethod.Delete, path, null, cancel)).Dispose();

    /// <summary>The data of each server-sent event, until the server ends the stream.</summary>
    public async IAsyncEnumerable<string> StreamAsync(string path, [EnumeratorCancellation] CancellationToken cancel)
    {
        using var response = await SendAsync(HttpMethod.Get, path, null, cancel);
        await using var stream = await response.Content.ReadAsStreamAsync(cancel);
        await foreach (var item in SseParser.Create(stream).EnumerateAsync(cancel)) yield return item.Data;
    }

    public void Dispose()
    {
        _http.Dispose();
        _authority.Dispose();
    }

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, object? body, CancellationToken cancel)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(RequestMax);
        using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : JsonContent.Create(body, body.GetType(), options: Json) };
        HttpResponseMessage response;
        try
        {
            response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, deadline.Token);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new CommandFailure(new Problem("server.timeout", "No answer from the server", "The outcome of the command is not known.",
                $"{_server} did not answer within {RequestMax.TotalSeconds:0} s.", "Look with: pollux status. Then repeat the command if it did nothing."));
        }
        catch (HttpRequestException e)
        {
            throw new CommandFailure(new Problem("server.unreachable", "Server unreachable", "The command was not carried out.",
                $"{_server}: {Reason(e)}", "See to it that 'pollux server' runs there, or name another: --server URL or POLLUX_SERVER."));
        }
        if (response.IsSuccessStatusCode) return response;
        using (response) throw new CommandFailure(await ReadProblemAsync(response, cancel));
    }

    private static string Reason(HttpRequestException e) => e.InnerException is AuthenticationException
        ? "its certificate is not of the authority in the CA file, or does not name this address."
        : e.InnerException?.Message ?? e.Message;

    private static async Task<T> ReadAsync<T>(HttpResponseMessage response, CancellationToken cancel)
    {
        using (response)
            return await response.Content.ReadFromJsonAsync<T>(Json, cancel)
                ?? throw new CommandFailure(new Problem("server.answer", "Empty answer", "Not known.", "The server sent nothing.", "Repeat the command."));
    }

    private static async Task<Problem> ReadProblemAsync(HttpResponseMessage response, CancellationToken cancel)
    {
        try
        {
            var problem = await response.Content.ReadFromJsonAsync<JsonElement>(cancel);
            string Text(string name) => problem.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
            return new Problem(Text("code"), Text("title"), Text("impact"), Text("detail"), Text("action"));
        }
        catch (JsonException)
        {
            return new Problem("server.answer", "Not a Pollux server", "The command was not carried out.",
                $"The answer was HTTP {(int)response.StatusCode} without a problem document.", "Check the address: --server URL or POLLUX_SERVER.");
        }
    }

    private static string ReadToken(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CommandFailure(new Problem("cli.token-file", "Operator token not readable", "The command was not carried out.", e.Message,
                "Copy the file operator-token from the server's data directory and name it: --token-file FILE or POLLUX_TOKEN_FILE."));
        }
    }

    private static X509Certificate2 Load(string path)
    {
        try
        {
            return X509Certificate2.CreateFromPem(File.ReadAllText(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new CommandFailure(new Problem("cli.ca-file", "Authority's certificate not readable", "The command was not carried out.", e.Message,
                "Copy ca.crt from the server's data directory and name it: --ca-file FILE or POLLUX_CA_FILE."));
        }
    }
}
