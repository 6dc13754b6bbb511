using System.Net;
using System.Net.Sockets;

namespace Pollux.DataPlane.Control;

/// <summary>Which of this machine's addresses is used to reach another machine.</summary>
internal static class LocalAddress
{
    /// <summary>Connecting a datagram socket sends nothing: it only asks the routing table.</summary>
    /// <exception cref="SocketException">No address or no route.</exception>
    public static string Towards(Uri server)
    {
        var target = IPAddress.TryParse(server.Host.Trim('[', ']'), out var address)
            ? address
            : Dns.GetHostAddresses(server.Host).FirstOrDefault() ?? throw new SocketException((int)SocketError.HostNotFound);
        using var socket = new Socket(target.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Connect(target, server.Port);
        return ((IPEndPoint)socket.LocalEndPoint!).Address.ToString();
    }
}
