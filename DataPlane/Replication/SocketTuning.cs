using System.Net.Sockets;
using System.Text;

namespace Pollux.DataPlane.Replication;

/// <summary>Options of the replication's sockets, for both ends.</summary>
public static class SocketTuning
{
    // linux/tcp.h
    private const int TcpUserTimeout = 18;
    private const int TcpCongestion = 13;
    private const int ProtocolTcp = 6;

    /// <summary>A few frames of 1 MiB; the kernel doubles it for its own bookkeeping.</summary>
    private const int BufferBytes = 4 << 20;

    /// <summary>Sets what a short round trip needs, and bounds how long a silent connection lives.</summary>
    /// <param name="silenceMax">Unacknowledged data or keep-alive probes for longer than this end the connection (TCP_USER_TIMEOUT).</param>
    public static void Apply(Socket socket, TimeSpan silenceMax)
    {
        socket.NoDelay = true;
        socket.SendBufferSize = BufferBytes;
        socket.ReceiveBufferSize = BufferBytes;
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, Math.Max(1, (int)(silenceMax.TotalSeconds / 3)));
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, Math.Max(1, (int)(silenceMax.TotalSeconds / 6)));
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, 3);
        if (!OperatingSystem.IsLinux())
            return;
        socket.SetRawSocketOption(ProtocolTcp, TcpUserTimeout, BitConverter.GetBytes((int)silenceMax.TotalMilliseconds));
        try
        {
            // BBR, the default of some distributions, paces by its own estimate and is slow on short links.
            socket.SetRawSocketOption(ProtocolTcp, TcpCongestion, "cubic"u8);
        }
        catch (SocketException)
        {
            // Not built into this kernel: its default stays.
        }
    }

    /// <summary>The congestion control in use, for tests and logs.</summary>
    public static string CongestionControl(Socket socket)
    {
        Span<byte> name = stackalloc byte[16];
        var length = socket.GetRawSocketOption(ProtocolTcp, TcpCongestion, name);
        return Encoding.ASCII.GetString(name[..length]).TrimEnd('\0');
    }
}
