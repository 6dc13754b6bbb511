using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Pollux.DataPlane.Native;

/// <summary>Messages with descriptors between processes of one machine: a unix socket that keeps the bounds of messages (SOCK_SEQPACKET), and
/// SCM_RIGHTS of unix(7), which .NET's sockets do not offer.</summary>
public static unsafe partial class DescriptorSocket
{
    /// <summary>Longest message, bytes.</summary>
    public const int MessageBytesMax = 16 * 1024;

    /// <summary>Descriptors in one message (SCM_MAX_FD of the kernel).</summary>
    public const int DescriptorsMax = 253;

    // asm-generic/socket.h, linux/socket.h.
    private const int SocketLevel = 1;
    private const int Rights = 1;
    private const int NoSignal = 0x4000;
    private const int CloseOnExec = 0x40000000;
    private const int ControlTruncated = 8;
    private const int Truncated = 0x20;

    public static Socket Create() => new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);

    /// <exception cref="IOException">The other end is gone.</exception>
    /// <exception cref="ObjectDisposedException">A descriptor is closed.</exception>
    public static void Send(Socket socket, ReadOnlySpan<byte> message, IReadOnlyList<SafeFileHandle> descriptors)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(message.Length, MessageBytesMax);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Count, DescriptorsMax);
        var dataBytes = descriptors.Count * sizeof(int);
        var added = 0;
        var control = stackalloc byte[ControlBytes(dataBytes)];
        // SAFETY: the control buffer has room for one header and all descriptors, which are referenced until the call has returned.
        try
        {
            for (var one = false; added < descriptors.Count; added++, one = false)
                descriptors[added].DangerousAddRef(ref one);
            fixed (byte* body = message)
                Send(socket, body, message.Length);
        }
        finally
        {
            while (added > 0)
                descriptors[--added].DangerousRelease();
        }

        void Send(Socket to, byte* body, int length)
        {
            var vector = new Vector { Base = body, Length = (nuint)length };
            var header = new MessageHeader { Vectors = &vector, VectorCount = 1 };
            if (descriptors.Count > 0)
            {
                *(ControlHeader*)control = new ControlHeader { Length = (nuint)(sizeof(ControlHeader) + dataBytes), Level = SocketLevel, Type = Rights };
                var numbers = (int*)(control + sizeof(ControlHeader));
                for (var i = 0; i < descriptors.Count; i++)
                    numbers[i] = (int)descriptors[i].DangerousGetHandle();
                header.Control = control;
                header.ControlLength = (nuint)ControlBytes(dataBytes);
            }

            nint sent;
            do
                sent = SendMessage(to.SafeHandle, &header, NoSignal);
            while (sent < 0 && Libc.LastErrno == Errno.EINTR);
            if (sent != length)
                throw new IOException($"A message could not be sent: {Errno.Describe(Libc.LastErrno)}");
        }
    }

    /// <param name="descriptors">Those that came with the message; the caller's.</param>
    /// <returns>Bytes received; 0: the other end is closed.</returns>
    /// <exception cref="IOException">The connection is broken, or the message does not fit.</exception>
    public static int Receive(Socket socket, Span<byte> message, out SafeFileHandle[] descriptors)
    {
        descriptors = [];
        const int controlBytes = 16 + (DescriptorsMax * sizeof(int)) + 8;
        var control = stackalloc byte[controlBytes];
        // SAFETY: the kernel writes at most what the lengths allow.
        fixed (byte* body = message)
        {
            var vector = new Vector { Base = body, Length = (nuint)message.Length };
            var header = new MessageHeader { Vectors = &vector, VectorCount = 1, Control = control, ControlLength = controlBytes };
            nint received;
            do
                received = ReceiveMessage(socket.SafeHandle, &header, CloseOnExec);
            while (received < 0 && Libc.LastErrno == Errno.EINTR);
            if (received < 0)
                throw new IOException($"No message could be received: {Errno.Describe(Libc.LastErrno)}");
            if (header.ControlLength >= (nuint)sizeof(ControlHeader))
                descriptors = Take((ControlHeader*)control);
            if ((header.Flags & (ControlTruncated | Truncated)) == 0)
                return (int)received;
            foreach (var descriptor in descriptors)
                descriptor.Dispose();
            throw new IOException($"A message is longer than {message.Length} bytes.");
        }
    }

    private static SafeFileHandle[] Take(ControlHeader* header)
    {
        if (header->Level != SocketLevel || header->Type != Rights)
            return [];
        var count = ((int)header->Length - sizeof(ControlHeader)) / sizeof(int);
        var numbers = (int*)((byte*)header + sizeof(ControlHeader));
        var taken = new SafeFileHandle[count];
        for (var i = 0; i < count; i++)
            taken[i] = new SafeFileHandle(numbers[i], ownsHandle: true);
        return taken;
    }

    /// <summary>CMSG_SPACE: header and data, padded to a machine word.</summary>
    private static int ControlBytes(int dataBytes) => sizeof(ControlHeader) + ((dataBytes + 7) & ~7);

    [StructLayout(LayoutKind.Sequential)]
    private struct Vector
    {
        public void* Base;
        public nuint Length;
    }

    /// <summary>struct msghdr of 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct MessageHeader
    {
        public void* Name;
        public uint NameLength;
        public Vector* Vectors;
        public nuint VectorCount;
        public void* Control;
        public nuint ControlLength;
        public int Flags;
    }

    /// <summary>struct cmsghdr of 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ControlHeader
    {
        public nuint Length;
        public int Level;
        public int Type;
    }

    [LibraryImport("libc", EntryPoint = "sendmsg", SetLastError = true)]
    private static partial nint SendMessage(SafeSocketHandle socket, MessageHeader* message, int flags);

    [LibraryImport("libc", EntryPoint = "recvmsg", SetLastError = true)]
    private static partial nint ReceiveMessage(SafeSocketHandle socket, MessageHeader* message, int flags);
}
