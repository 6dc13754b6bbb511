using System.Net.Sockets;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Guard;

/// <summary>The socket between data plane and guard: one line (<see cref="GuardLines"/>) a message, with descriptors where the line says so. It
/// is below the run directory and root's alone. The guard listens, so that the next data plane finds it.</summary>
internal static class GuardSocket
{
    /// <summary>Takes the lines of one data plane after the other, on a thread of its own.</summary>
    /// <exception cref="SocketException">The path cannot be used.</exception>
    public static void Listen(string path, GuardProcess guard)
    {
        File.Delete(path);
        var listener = DescriptorSocket.Create();
        listener.Bind(new UnixDomainSocketEndPoint(path));
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        listener.Listen();
        new Thread(() =>
        {
            while (true)
            {
                using var client = listener.Accept();
                guard.Arrived();
                Follow(client, guard);
                guard.Gone();
            }
        })
        { IsBackground = true, Name = "guard-socket" }.Start();
    }

    public static Socket? TryConnect(string path)
    {
        var socket = DescriptorSocket.Create();
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return socket;
        }
        catch (SocketException)
        {
            socket.Dispose();
            return null;
        }
    }

    public static void Send(Socket socket, string line, IReadOnlyList<SafeFileHandle> descriptors) =>
        DescriptorSocket.Send(socket, Encoding.UTF8.GetBytes(line), descriptors);

    /// <returns>Null when the other end is closed.</returns>
    /// <exception cref="IOException">The connection is broken.</exception>
    public static string? Receive(Socket socket, out SafeFileHandle[] descriptors)
    {
        var message = new byte[DescriptorSocket.MessageBytesMax];
        var length = DescriptorSocket.Receive(socket, message, out descriptors);
        return length == 0 ? null : Encoding.UTF8.GetString(message, 0, length);
    }

    private static void Follow(Socket client, GuardProcess guard)
    {
        try
        {
            while (Receive(client, out var descriptors) is { } line)
            {
                if (line != GuardLines.Tell)
                {
                    guard.Take(line, descriptors);
                    continue;
                }

                foreach (var (told, held) in guard.Tell())
                    Send(client, told, held);
            }
        }
        catch (Exception e) when (e is IOException or FormatException or ObjectDisposedException)
        {
            HostLog.Error("guard", "the connection with the data plane ended", ("reason", e.Message));
        }
    }
}
