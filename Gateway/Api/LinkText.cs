using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Api;

/// <summary>The words of API and CLI for <see cref="LinkSecurity"/>.</summary>
internal static class LinkText
{
    public const string Tls = "tls";
    public const string Plaintext = "plaintext";

    public static string Of(LinkSecurity link) => link == LinkSecurity.Plaintext ? Plaintext : Tls;

    /// <returns>Null if it is neither word.</returns>
    public static LinkSecurity? Parse(string text) => text switch
    {
        Tls => LinkSecurity.Tls,
        Plaintext => LinkSecurity.Plaintext,
        _ => null,
    };
}
