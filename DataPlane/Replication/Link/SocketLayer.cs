using System.Runtime.InteropServices;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Replication;

/// <summary>The socket itself.</summary>
internal sealed unsafe class SocketLayer(int descriptor) : ILinkLayer
{
    public nint Send(LoopNative.IoVector* vectors, int count)
    {
        var message = new LoopNative.MessageHeader { Vectors = vectors, VectorCount = (nuint)count };
        while (true)
        {
            var sent = LoopNative.SendMessage(descriptor, &message, LoopNative.MessageDontWait | LoopNative.MessageNoSignal);
            if (sent >= 0)
                return sent;
            switch (Marshal.GetLastPInvokeError())
            {
                case Errno.EINTR:
                    continue;
                case Errno.EAGAIN:
                    return -1;
                case var errno:
                    throw new IOException($"send: {Errno.Describe(errno)}");
            }
        }
    }

    public int Receive(byte* buffer, int bytes) => Receive(buffer, bytes, LoopNative.MessageDontWait);

    /// <summary>The same; what was received stays to be received.</summary>
    public int Peek(byte* buffer, int bytes) => Receive(buffer, bytes, LoopNative.MessageDontWait | LoopNative.MessagePeek);

    public void Dispose()
    {
    }

    private int Receive(byte* buffer, int bytes, int flags)
    {
        while (true)
        {
            var got = LoopNative.Receive(descriptor, buffer, (nuint)bytes, flags);
            if (got >= 0)
                return (int)got;
            switch (Marshal.GetLastPInvokeError())
            {
                case Errno.EINTR:
                    continue;
                case Errno.EAGAIN:
                    return -1;
                case var errno:
                    throw new IOException($"receive: {Errno.Describe(errno)}");
            }
        }
    }
}
