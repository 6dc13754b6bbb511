using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>Sends replies and notifications of one session, from any thread, without allocation. Each request is answered exactly once.</summary>
/// <remarks>A reply returns false when the kernel no longer waits for it: the connection is gone, or a signal ended the request while it
/// was being read. A handler that gave the kernel a reference in such a reply takes it back. Any other refusal means that the reply was
/// malformed, which is a fault of this process and aborts the session.</remarks>
public sealed unsafe class FuseReplier
{
    private readonly SafeFileHandle[] _devices;
    private readonly Action<FuseException> _fault;
    private long _unwanted;

    internal FuseReplier(SafeFileHandle[] devices, Action<FuseException> fault)
    {
        _devices = devices;
        _fault = fault;
    }

    /// <summary>Replies that the kernel no longer waited for.</summary>
    public long UnwantedReplies => Interlocked.Read(ref _unwanted);

    public bool Ok(FuseReplyToken token) => Error(token, 0);

    /// <param name="errno">0, or a positive Linux error number below 512 (the kernel refuses others).</param>
    public bool Error(FuseReplyToken token, int errno)
    {
        FuseOutHeader header;
        header.Length = (uint)sizeof(FuseOutHeader);
        header.Error = -errno;
        header.Unique = token.Unique;
        return Send(token.Device, (byte*)&header, sizeof(FuseOutHeader));
    }

    /// <summary>Answers a WRITE with the bytes written.</summary>
    public bool Written(FuseReplyToken token, uint sizeBytes) => Reply(token, new FuseWriteOut { Size = sizeBytes });

    /// <summary>Answers with a structure of the kernel (at most 256 bytes).</summary>
    public bool Reply<T>(FuseReplyToken token, in T value) where T : unmanaged
    {
        var length = sizeof(FuseOutHeader) + sizeof(T);
        var message = stackalloc byte[length];
        *(FuseOutHeader*)message = new FuseOutHeader { Length = (uint)length, Unique = token.Unique };
        *(T*)(message + sizeof(FuseOutHeader)) = value;
        return Send(token.Device, message, length);
    }

    /// <summary>Answers with bytes from anywhere.</summary>
    public bool Data(FuseReplyToken token, ReadOnlySpan<byte> data)
    {
        var header = new FuseOutHeader { Length = (uint)(sizeof(FuseOutHeader) + data.Length), Unique = token.Unique };
        // SAFETY: both vectors live until the call returns: the header on this stack, the data pinned.
        fixed (byte* body = data)
        {
            var vectors = stackalloc FuseNative.IoVector[2];
            vectors[0] = new FuseNative.IoVector { Base = &header, Length = (nuint)sizeof(FuseOutHeader) };
            vectors[1] = new FuseNative.IoVector { Base = body, Length = (nuint)data.Length };
            return SendVectors(token.Device, vectors, data.IsEmpty ? 1 : 2, (int)header.Length);
        }
    }

    /// <summary>Answers with the first <paramref name="count"/> bytes of <see cref="FuseRequest.Payload"/>, without a copy in this
    /// process. Only during <see cref="IFuseHandler.Handle"/>, and the last thing done with the request.</summary>
    public bool Payload(in FuseRequest request, int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)count, (uint)request.PayloadCapacity);
        var token = request.Token;
        // SAFETY: the buffer has 80 bytes before the payload (FuseWorker), where the request's header was.
        var message = request.PayloadPointer - sizeof(FuseOutHeader);
        var length = sizeof(FuseOutHeader) + count;
        *(FuseOutHeader*)message = new FuseOutHeader { Length = (uint)length, Unique = token.Unique };
        return Send(token.Device, message, length);
    }

    /// <summary>Tells the kernel to drop cached attributes of a node and, unless <paramref name="offsetBytes"/> is negative, its cached
    /// data from there (<paramref name="lengthBytes"/> 0: to the end).</summary>
    /// <returns>False if the kernel does not know the node.</returns>
    public bool NotifyInvalidateInode(ulong nodeId, long offsetBytes, long lengthBytes) =>
        Notify(FuseNotifyCode.InvalidateInode,
            new FuseNotifyInvalidateInodeOut { Inode = nodeId, Offset = offsetBytes, Length = lengthBytes }, default);

    /// <summary>Tells the kernel to drop a cached name. Never call it while handling a request of the same directory: the kernel may hold
    /// the directory's lock until that request is answered.</summary>
    /// <returns>False if the kernel does not know the entry.</returns>
    public bool NotifyInvalidateEntry(ulong parent, ReadOnlySpan<byte> name) =>
        Notify(FuseNotifyCode.InvalidateEntry, new FuseNotifyInvalidateEntryOut { Parent = parent, NameLength = (uint)name.Length }, name);

    /// <summary>Tells the kernel that an entry is gone, so that watchers see it. The warning of <see cref="NotifyInvalidateEntry"/>
    /// holds here too.</summary>
    public bool NotifyDelete(ulong parent, ulong child, ReadOnlySpan<byte> name) =>
        Notify(FuseNotifyCode.Delete, new FuseNotifyDeleteOut { Parent = parent, Child = child, NameLength = (uint)name.Length }, name);

    /// <summary>Tells the kernel to send everything again that was read and not answered. Only while nobody reads: what this process has
    /// taken would come twice.</summary>
    /// <exception cref="FuseException">The kernel cannot (before Linux 6.9), or the connection is gone.</exception>
    internal void NotifyResend()
    {
        var header = new FuseOutHeader { Length = (uint)sizeof(FuseOutHeader), Error = (int)FuseNotifyCode.Resend };
        while (FuseNative.Write(_devices[0], &header, header.Length) != header.Length)
        {
            var errno = Marshal.GetLastPInvokeError();
            if (errno != Errno.EINTR)
                throw new FuseException("The kernel does not send unanswered requests again", errno);
        }
    }

    private bool Notify<T>(FuseNotifyCode code, in T value, ReadOnlySpan<byte> name) where T : unmanaged
    {
        // FUSE_NAME_MAX of the kernel is 1024; names of Linux file systems end at 255 bytes.
        ArgumentOutOfRangeException.ThrowIfGreaterThan(name.Length, 1024);
        var length = sizeof(FuseOutHeader) + sizeof(T) + (name.IsEmpty ? 0 : name.Length + 1);
        var message = stackalloc byte[length];
        *(FuseOutHeader*)message = new FuseOutHeader { Length = (uint)length, Error = (int)code };
        *(T*)(message + sizeof(FuseOutHeader)) = value;
        if (!name.IsEmpty)
        {
            name.CopyTo(new Span<byte>(message + sizeof(FuseOutHeader) + sizeof(T), name.Length));
            message[length - 1] = 0;
        }

        return Send(0, message, length);
    }

    private bool Send(int device, byte* message, int length)
    {
        try
        {
            while (true)
            {
                var sent = FuseNative.Write(_devices[device], message, (nuint)length);
                if (sent == length)
                    return true;
                if (!MayRetry(sent, message))
                    return false;
            }
        }
        catch (ObjectDisposedException)
        {
            Interlocked.Increment(ref _unwanted);
            return false;
        }
    }

    private bool SendVectors(int device, FuseNative.IoVector* vectors, int count, int length)
    {
        try
        {
            while (true)
            {
                var sent = FuseNative.WriteVector(_devices[device], vectors, count);
                if (sent == length)
                    return true;
                if (!MayRetry(sent, (byte*)vectors[0].Base))
                    return false;
            }
        }
        catch (ObjectDisposedException)
        {
            Interlocked.Increment(ref _unwanted);
            return false;
        }
    }

    private bool MayRetry(nint sent, byte* message)
    {
        var errno = sent < 0 ? Marshal.GetLastPInvokeError() : 0;
        switch (errno)
        {
            case Errno.EINTR:
                return true;
            // ENOENT: no such request waits (or, for a notification, no such node); the others: the connection is gone.
            case Errno.ENOENT or Errno.ENODEV or Errno.ENOTCONN or Errno.ECONNABORTED or Errno.EPERM:
                Interlocked.Increment(ref _unwanted);
                return false;
            // A notification that does not fit the kernel's present state (an entry in use, a node of another type).
            case not 0 when ((FuseOutHeader*)message)->Unique == 0:
                return false;
            default:
                var header = *(FuseOutHeader*)message;
                _fault(new FuseException(
                    $"The kernel refused a reply of {header.Length} bytes, error {header.Error}, to request {header.Unique}", errno));
                return false;
        }
    }
}
