using System.Net;
using System.Net.Sockets;

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

    /// <summary>Where a host listens: on all of its addresses, of IPv6 (and, a listener being of both kinds, IPv4) where the kernel has it.</summary>
    public static IPEndPoint EveryOf(int port) => new(Socket.OSSupportsIPv6 ? IPAddress.IPv6Any : IPAddress.Any, port);

    public static string Format(string address, int port) =>
        address.Contains(':', StringComparison.Ordinal) && !address.StartsWith('[') ? $"[{address}]:{port}" : $"{address}:{port}";
}
