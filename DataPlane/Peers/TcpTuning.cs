using System.Net.Sockets;

namespace Pollux.DataPlane.Peers;

/// <summary>Socket options of all links between hosts (tcp(7)).</summary>
public static class TcpTuning
{
    private const int IpProtocolTcp = 6;
    private const int TcpUserTimeout = 18;
    private const int TcpCongestion = 13;

    /// <summary>No delay; cubic where the kernel has it, since BBR, a common default, is slow on a LAN; an end to unanswered data.</summary>
    /// <param name="userTimeoutMs">Sent data that stays unacknowledged for this long ends the connection.</param>
    public static void Apply(Socket socket, int userTimeoutMs)
    {
        socket.NoDelay = true;
        socket.SetRawSocketOption(IpProtocolTcp, TcpUserTimeout, BitConverter.GetBytes(userTimeoutMs));
        try
        {
            socket.SetRawSocketOption(IpProtocolTcp, TcpCongestion, "cubic"u8);
        }
        catch (SocketException)
        {
            // A kernel without cubic keeps its default: slower perhaps, never wrong.
        }
    }
}
