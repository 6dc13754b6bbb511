using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Pollux.Grains.Core;

namespace Pollux.Gateway.Authority;

/// <summary>Which host a certificate names: the URI <c>pollux://host/cluster/host</c> among its alternative names.</summary>
internal static class HostName
{
    private const string Prefix = "pollux://host/";
    private const string AlternativeNames = "2.5.29.17";

    public static Uri UriOf(string host) => new(Prefix + host);

    /// <returns>Grain key, or null unless the certificate names exactly one host.</returns>
    public static string? Of(X509Certificate2 certificate)
    {
        if (certificate.Extensions[AlternativeNames] is not { } extension) return null;
        try
        {
            return Of(extension.RawData);
        }
        catch (AsnContentException)
        {
            return null;
        }
    }

    /// <summary>Lower-case hex SHA-256 of the SubjectPublicKeyInfo.</summary>
    public static string PublicKeyHash(PublicKey key) => Convert.ToHexStringLower(SHA256.HashData(key.ExportSubjectPublicKeyInfo()));

    private static string? Of(byte[] extension)
    {
        // GeneralNames ::= SEQUENCE OF GeneralName; uniformResourceIdentifier is [6] IA5String (RFC 5280 §4.2.1.6).
        var uriTag = new Asn1Tag(TagClass.ContextSpecific, 6);
        var names = new AsnReader(extension, AsnEncodingRules.DER).ReadSequence();
        string? host = null;
        while (names.HasData)
        {
            if (!names.PeekTag().HasSameClassAndValue(uriTag))
            {
                names.ReadEncodedValue();
                continue;
            }
            var uri = names.ReadCharacterString(UniversalTagNumber.IA5String, uriTag);
            if (!uri.StartsWith(Prefix, StringComparison.Ordinal) || host is not null) return null;
            host = uri[Prefix.Length..];
        }
        return GrainKey.TryParse(host, out _, out _) ? host : null;
    }
}
