using System.Buffers.Text;
using System.Text;

namespace Pollux.DataPlane.Identity;

/// <summary>The readable parts of a one-time token (see <see cref="HostProtocol.JoinRequest"/>).</summary>
/// <param name="Host">Grain key, <c>cluster/host</c>.</param>
/// <param name="AuthorityFingerprint">SHA-256 of the authority's certificate, 32 bytes.</param>
internal sealed record JoinToken(string Host, byte[] AuthorityFingerprint)
{
    /// <exception cref="IdentityException">The text is no token.</exception>
    public static JoinToken Parse(string text)
    {
        var parts = text.Trim().Split('.');
        try
        {
            if (parts.Length == 3 && Base64Url.DecodeFromChars(parts[2]) is { Length: 32 } fingerprint
                && Encoding.UTF8.GetString(Base64Url.DecodeFromChars(parts[0])) is var host && host.Split('/').Length == 2)
                return new JoinToken(host, fingerprint);
        }
        catch (FormatException)
        {
            // Same answer as for the other malformed tokens, below.
        }

        throw new IdentityException("join.token-malformed",
            "The token is not complete: it has three parts joined by dots, as 'pollux host add CLUSTER/HOST' prints it. Copy it again.");
    }
}
