using System.Text.Json.Serialization;

namespace Pollux.HostProtocol;

/// <summary>A host's first contact, two steps at the gateway's API address. GET <see cref="AuthorityPath"/> gives the authority's
/// certificate over a connection that is not yet trusted and carries nothing secret; the host compares it with the token's fingerprint.
/// Then POST <see cref="Path"/> over a new connection that trusts that authority only and whose server certificate names the address used.</summary>
/// <param name="Token">One-time token as printed by <c>pollux host add</c>: three parts joined by dots, each base64url without padding:
/// the grain key <c>cluster/host</c> in UTF-8, the secret with a proof that a gateway issued it, and the SHA-256 of the authority's certificate in DER.</param>
/// <param name="CertificateRequestPem">PKCS#10 request for the host's own key, which never leaves the host. Its subject is not used:
/// the token says which host it is.</param>
public sealed record JoinRequest(string Token, string CertificateRequestPem)
{
    public const string Path = "/hosts/v1/join";

    /// <summary>Answers with the authority's certificate as PEM, to anybody.</summary>
    public const string AuthorityPath = "/hosts/v1/authority";
}

/// <param name="Host">Grain key, <c>cluster/host</c>; the certificate carries it as URI <c>pollux://host/cluster/host</c> and is good for
/// both ends of a TLS connection.</param>
public sealed record JoinAnswer(string Host, string CertificatePem, string AuthorityPem);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(JoinRequest))]
[JsonSerializable(typeof(JoinAnswer))]
public sealed partial class JoiningJson : JsonSerializerContext;
