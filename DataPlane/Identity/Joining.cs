using System.Collections.Immutable;
using System.Net;
using System.Net.Http.Json;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Identity;

/// <summary>A host's way into its cluster: makes a key, lets the control plane sign it against a one-time token, and stores the identity.</summary>
/// <remarks>
/// 1. Fetch the authority's certificate over a connection that is not trusted yet; nothing secret is sent; refuse it unless its SHA-256
///    stands in the token.
/// 2. Over a new connection that trusts only that authority, send the token and the certificate request.
/// 3. Refuse an answer that is for another host, another key or another authority; store.
/// </remarks>
public static class Joining
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    /// <summary>Answers of the join dialogue are a few KiB.</summary>
    private const int AnswerBytesMax = 64 * 1024;

    /// <exception cref="IdentityException">Refused or failed; nothing was stored.</exception>
    public static async Task<HostIdentity> JoinAsync(
        Uri server, string token, string dataDirectory, ImmutableArray<string> addresses, CancellationToken cancel)
    {
        var store = new IdentityStore(dataDirectory);
        var parsed = JoinToken.Parse(token);
        if (store.Exists)
        {
            using var present = store.Load();
            if (present.Host != parsed.Host)
            {
                throw new IdentityException("host.already-joined",
                    $"This machine is already host {present.Host}. A machine belongs to one cluster; to join another, remove its data in {dataDirectory} first.");
            }

            // The same host anew: its certificate ran out, or the control plane has another authority. Its modules stay.
            if (addresses.IsEmpty)
                addresses = present.Addresses;
        }

        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(Deadline);
        try
        {
            using var authority = await FetchAuthorityAsync(server, parsed, deadline.Token).ConfigureAwait(false);
            using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            var request = new CertificateRequest($"CN={parsed.Host}", key, HashAlgorithmName.SHA256).CreateSigningRequestPem();
            var answer = await AskAsync(server, authority, new JoinRequest(token.Trim(), request), deadline.Token).ConfigureAwait(false);
            Check(answer, parsed, key);
            store.Save(IdentityFacts.Of(answer.Host, server.ToString(), addresses), key, answer.CertificatePem, authority.ExportCertificatePem());
            return store.Load();
        }
        catch (HttpRequestException e)
        {
            var reason = e.InnerException is AuthenticationException
                ? "its certificate does not come from the authority in the token, or does not name this address (start the server with --advertise)"
                : e.InnerException?.Message ?? e.Message;
            throw new IdentityException("server.unreachable", $"The server at {server} cannot be used: {reason}", e);
        }
        catch (OperationCanceledException e) when (!cancel.IsCancellationRequested)
        {
            throw new IdentityException("server.unreachable",
                $"The server at {server} did not answer within {Deadline.TotalSeconds:0} s. Check the address and the network. "
                + "If the token was used up meanwhile, make a new one with 'pollux host add'.", e);
        }
    }

    private static async Task<X509Certificate2> FetchAuthorityAsync(Uri server, JoinToken token, CancellationToken cancel)
    {
        using var http = Client(new SslClientAuthenticationOptions
        {
            EnabledSslProtocols = SslProtocols.Tls13,
            // Not trusted on purpose: what comes is public and is checked against the token below.
            RemoteCertificateValidationCallback = (_, _, _, _) => true,
        });
        var pem = await http.GetStringAsync(new Uri(server, JoinRequest.AuthorityPath), cancel).ConfigureAwait(false);
        X509Certificate2 authority;
        try
        {
            authority = X509Certificate2.CreateFromPem(pem);
        }
        catch (CryptographicException e)
        {
            throw new IdentityException("join.authority", $"The server at {server} is no Pollux server: it gave no certificate of an authority.", e);
        }

        if (CryptographicOperations.FixedTimeEquals(SHA256.HashData(authority.RawData), token.AuthorityFingerprint))
            return authority;
        authority.Dispose();
        throw new IdentityException("join.authority",
            $"The server at {server} is not the one that made this token: its authority has another fingerprint. Check the address.");
    }

    private static async Task<JoinAnswer> AskAsync(Uri server, X509Certificate2 authority, JoinRequest request, CancellationToken cancel)
    {
        using var http = Client(HostTls.Gateway(authority, certificate: null));
        using var response = await http.PostAsJsonAsync(
            new Uri(server, JoinRequest.Path), request, JoiningJson.Default.JoinRequest, cancel).ConfigureAwait(false);
        var body = await response.Content.ReadAsStringAsync(cancel).ConfigureAwait(false);
        try
        {
            if (response.StatusCode == HttpStatusCode.OK)
                return JsonSerializer.Deserialize(body, JoiningJson.Default.JoinAnswer) ?? throw new JsonException("empty answer");
            using var problem = JsonDocument.Parse(body);
            throw new IdentityException(
                Text(problem, "code") ?? "join.refused",
                $"The server refused: {Text(problem, "title")} {Text(problem, "detail")} {Text(problem, "action")}".TrimEnd());
        }
        catch (JsonException e)
        {
            throw new IdentityException("join.refused", $"The server answered {(int)response.StatusCode} without saying why.", e);
        }
    }

    private static string? Text(JsonDocument problem, string name) =>
        problem.RootElement.ValueKind == JsonValueKind.Object && problem.RootElement.TryGetProperty(name, out var value)
            ? value.GetString() : null;

    private static void Check(JoinAnswer answer, JoinToken token, ECDsa key)
    {
        using var certificate = X509Certificate2.CreateFromPem(answer.CertificatePem);
        using var publicKey = certificate.GetECDsaPublicKey();
        if (answer.Host != token.Host || CertificateNames.HostOf(certificate) != token.Host || publicKey is null
            || !publicKey.ExportSubjectPublicKeyInfo().AsSpan().SequenceEqual(key.ExportSubjectPublicKeyInfo()))
            throw new IdentityException("join.answer", "The server's answer is for another host or another key; it was not stored.");
    }

    private static HttpClient Client(SslClientAuthenticationOptions tls) =>
        new(new SocketsHttpHandler { SslOptions = tls, UseProxy = false, AllowAutoRedirect = false })
        {
            MaxResponseContentBufferSize = AnswerBytesMax,
            Timeout = Timeout.InfiniteTimeSpan,
        };
}
