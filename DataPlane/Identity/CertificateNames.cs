using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Pollux.DataPlane.Identity;

/// <summary>Reads a host's name from the URI subject alternative name of its certificate (RFC 5280 section 4.2.1.6).</summary>
public static class CertificateNames
{
    private const string SubjectAlternativeName = "2.5.29.17";

    /// <summary>The grain key <c>cluster/host</c>, or null unless the certificate carries exactly one URI of a host.</summary>
    public static string? HostOf(X509Certificate2 certificate)
    {
        string? host = null;
        foreach (var extension in certificate.Extensions)
        {
            if (extension.Oid?.Value != SubjectAlternativeName)
                continue;
            foreach (var uri in Uris(extension.RawData))
            {
                if (!uri.StartsWith(HostIdentity.UriPrefix, StringComparison.Ordinal))
                    continue;
                if (host is not null)
                    return null;
                host = uri[HostIdentity.UriPrefix.Length..];
            }
        }

        return host?.Split('/') is [{ Length: > 0 }, { Length: > 0 }] ? host : null;
    }

    private static List<string> Uris(byte[] extension)
    {
        var uris = new List<string>();
        try
        {
            var uriTag = new Asn1Tag(TagClass.ContextSpecific, 6);
            var names = new AsnReader(extension, AsnEncodingRules.DER).ReadSequence();
            while (names.HasData)
            {
                if (names.PeekTag().HasSameClassAndValue(uriTag))
                    uris.Add(names.ReadCharacterString(UniversalTagNumber.IA5String, uriTag));
                else
                    names.ReadEncodedValue();
            }
        }
        catch (Exception e) when (e is AsnContentException or DecoderFallbackException or CryptographicException)
        {
            // A name that does not parse names nobody.
            uris.Clear();
        }

        return uris;
    }
}
