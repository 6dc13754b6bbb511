using System.Net;

namespace Pollux.DataPlane.Peers;

/// <summary>Addresses as hosts announce them: <c>address:port</c>, an IPv6 address in brackets, or <c>name:port</c>.</summary>
public static class PeerAddress
{
    /// <exception cref="FormatException">The text has no port.</exception>
    public static EndPoint Parse(string text)
    {
        var colon = text.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(text.AsSpan(colon + 1), out var port) || port == 0)
            throw new FormatException($"'{text}' is not address:port");
        var host = text[..colon].Trim('[', ']');
        return IPAddress.TryParse(host, out var address) ? new IPEndPoint(address, port) : new DnsEndPoint(host, port);
    }

    public static string Format(string address, int port) =>
        address.Contains(':', StringComparison.Ordinal) && !address.StartsWith('[') ? $"[{address}]:{port}" : $"{address}:{port}";
}
