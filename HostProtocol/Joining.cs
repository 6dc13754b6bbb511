using System.Text.Json.Serialization;

namespace Pollux.HostProtocol;

/// <summary>A host's first contact: POST <see cref="Path"/> at the gateway's API address, server certificate pinned by the token's fingerprint.</summary>
/// <param name="Token">One-time token as printed by <c>pollux host add</c>: <c>cluster/host.secret.fingerprint</c>, base64url parts;
/// fingerprint is the SHA-256 of the CA certificate, so that the host can trust the answer.</param>
/// <param name="CertificateRequestPem">PKCS#10 request for the host's own key, which never leaves the host.</param>
public sealed record JoinRequest(string Token, string CertificateRequestPem)
{
    public const string Path = "/hosts/v1/join";
}

/// <param name="Host">Grain key, <c>cluster/host</c>; the certificate carries it as URI <c>pollux://host/cluster/host</c>.</param>
public sealed record JoinAnswer(string Host, string CertificatePem, string AuthorityPem);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(JoinRequest))]
[JsonSerializable(typeof(JoinAnswer))]
public sealed partial class JoiningJson : JsonSerializerContext;
