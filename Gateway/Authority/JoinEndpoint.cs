using System.Buffers.Text;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Pollux.Gateway.Api;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.HostProtocol;

namespace Pollux.Gateway.Authority;

/// <summary>How a host gets its certificate: see <see cref="JoinRequest"/>.</summary>
internal static class JoinEndpoint
{
    /// <summary>Characters of the proof behind the secret.</summary>
    private static readonly int ProofLength = Base64Url.GetEncodedLength(CertificateAuthority.TokenProofBytes);

    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapGet(JoinRequest.AuthorityPath, (CertificateAuthority authority) => Results.Text(authority.CertificatePem, "application/x-pem-file"))
            .ExcludeFromDescription();
        app.MapPost(JoinRequest.Path, JoinAsync).ExcludeFromDescription();
    }

    /// <summary>As a host has to send it back: three parts joined by dots, each base64url.</summary>
    public static string ComposeToken(string host, string secret, CertificateAuthority authority) =>
        $"{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(host))}.{secret}{Base64Url.EncodeToString(authority.TokenProof(host, secret))}.{Base64Url.EncodeToString(authority.Fingerprint)}";

    private static async Task<IResult> JoinAsync(JoinRequest request, CertificateAuthority authority, IGrainFactory grains)
    {
        if (Parse(request.Token) is not var (host, secret, fingerprint))
            return Refuse(Problems.TokenRefused("CLUSTER/HOST", "It is not complete: a token has three parts joined by dots."));
        if (!CryptographicOperations.FixedTimeEquals(fingerprint, authority.Fingerprint))
            return Refuse(Problems.TokenRefused(host, "It was issued by another installation."));
        // Anybody can ask: nothing is activated or read for a name that no gateway of this installation has written into a token.
        if (SecretOf(host, secret, authority) is not { } issued)
            return Refuse(Problems.TokenRefused(host, "It was not issued by this installation, or by an earlier release."));
        if (Load(request.CertificateRequestPem) is not { } publicKey)
            return Refuse(new Problem(
                "host.certificate-request", "Certificate request refused", "Nothing was changed.",
                "It is not a correctly signed PKCS#10 request for an ECDSA key on P-256, P-384 or P-521.",
                "Join with the pollux-host that belongs to this server."));

        var outcome = await grains.GetGrain<IHostGrain>(host).JoinAsync(issued, HostName.PublicKeyHash(publicKey));
        if (outcome.Problem is { } problem) return Refuse(problem);
        using var certificate = authority.SignHost(publicKey, host);
        return Results.Json(new JoinAnswer(host, certificate.ExportCertificatePem(), authority.CertificatePem), JoiningJson.Default.JoinAnswer);
    }

    /// <returns>The part that the host's grain knows; null unless the proof behind it is right.</returns>
    private static string? SecretOf(string host, string text, CertificateAuthority authority)
    {
        var length = text.Length - ProofLength;
        if (length <= 0) return null;
        var proof = Base64Url.EncodeToString(authority.TokenProof(host, text[..length]));
        return CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(text[length..]), Encoding.UTF8.GetBytes(proof)) ? text[..length] : null;
    }

    private static IResult Refuse(Problem problem) => ProblemResults.Of(problem, StatusCodes.Status403Forbidden);

    private static (string Host, string Secret, byte[] Fingerprint)? Parse(string? token)
    {
        var parts = (token ?? "").Split('.');
        if (parts.Length != 3 || !Base64Url.IsValid(parts[0]) || !Base64Url.IsValid(parts[2])) return null;
        var host = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(parts[0]));
        return GrainKey.TryParse(host, out _, out _) ? (host, parts[1], Base64Url.DecodeFromChars(parts[2])) : null;
    }

    /// <summary>The request's signature proves that the asker has the key. Its names are not used.</summary>
    private static PublicKey? Load(string? pem)
    {
        try
        {
            var request = CertificateRequest.LoadSigningRequestPem(pem ?? "", HashAlgorithmName.SHA256);
            using var key = request.PublicKey.GetECDsaPublicKey();
            return key?.KeySize is 256 or 384 or 521 ? request.PublicKey : null;
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException or NotSupportedException)
        {
            return null;
        }
    }
}
