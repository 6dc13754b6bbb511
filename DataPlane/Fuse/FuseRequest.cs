using System.Runtime.CompilerServices;

namespace Pollux.DataPlane.Fuse;

/// <summary>One request in a worker's buffer; valid during <see cref="IFuseHandler.Handle"/> only. What a later reply needs is
/// <see cref="Token"/>.</summary>
public readonly unsafe ref struct FuseRequest
{
    /// <summary>FUSE_UNIQUE_RESEND: set in the number of a request that was sent before, to a server that did not answer it.</summary>
    public const ulong ResentBit = 1UL << 63;

    /// <summary>The kernel's name of the root of every mount (FUSE_ROOT_ID, linux/fuse.h).</summary>
    public const ulong RootNode = 1;

    private readonly byte* _message;
    private readonly byte* _payload;

    internal FuseRequest(byte* message, byte* payload, int payloadCapacity, int device)
    {
        _message = message;
        _payload = payload;
        PayloadCapacity = payloadCapacity;
        Token = new FuseReplyToken(Header.Unique, device);
    }

    public ref readonly FuseInHeader Header => ref *(FuseInHeader*)_message;

    public FuseOpcode Opcode => Header.Opcode;

    public ulong NodeId => Header.NodeId;

    public FuseReplyToken Token { get; }

    /// <summary>Says by which id the handler knows the root of this mount; <see cref="NodeId"/> gives that from now on. To be called first of all
    /// by a handler that does not call it <see cref="RootNode"/>.</summary>
    internal void NameRoot(ulong id)
    {
        var header = (FuseInHeader*)_message;
        if (header->NodeId == RootNode)
            header->NodeId = id;
    }

    /// <summary>An earlier process read this request and did not answer it: what it asks may have been done.</summary>
    public bool IsResent => (Header.Unique & ResentBit) != 0;

    /// <summary>The arguments after the header.</summary>
    public ReadOnlySpan<byte> Body => new(_message + sizeof(FuseInHeader), (int)Header.Length - sizeof(FuseInHeader));

    /// <summary>Bytes that <see cref="Payload"/> holds.</summary>
    public int PayloadCapacity { get; }

    /// <summary>The page-aligned part of the buffer. Of a WRITE it holds the data. To answer a READ, fill it and call
    /// <see cref="FuseReplier.Payload"/>: the reply's header lands on the request's, which must not be read any more. It overlaps
    /// <see cref="Body"/> from its 41st byte on (long names).</summary>
    public Span<byte> Payload => new(_payload, PayloadCapacity);

    internal byte* PayloadPointer => _payload;

    /// <summary>The arguments as a structure of the kernel.</summary>
    /// <exception cref="FuseException">The request is shorter than the structure.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ref readonly T As<T>() where T : unmanaged
    {
        if (Header.Length < sizeof(FuseInHeader) + sizeof(T))
            ThrowShort(Opcode);
        // SAFETY: the message is at least this long, lives in the worker's buffer for the time of the call, and x86-64 and arm64 allow
        // unaligned loads.
        return ref *(T*)(_message + sizeof(FuseInHeader));
    }

    /// <summary>What follows the structure: a name, two names, or data.</summary>
    public ReadOnlySpan<byte> After<T>() where T : unmanaged
    {
        if (Header.Length < sizeof(FuseInHeader) + sizeof(T))
            ThrowShort(Opcode);
        return Body[sizeof(T)..];
    }

    /// <summary>Cuts the zero-terminated string at the start of <paramref name="bytes"/>, without the zero, and moves past it.</summary>
    /// <exception cref="FuseException">There is no terminating zero.</exception>
    public static ReadOnlySpan<byte> TakeName(ref ReadOnlySpan<byte> bytes)
    {
        var end = bytes.IndexOf((byte)0);
        if (end < 0)
            throw new FuseException("A FUSE request carries a name without its terminating zero.");
        var name = bytes[..end];
        bytes = bytes[(end + 1)..];
        return name;
    }

    private static void ThrowShort(FuseOpcode opcode) =>
        throw new FuseException($"A FUSE request {opcode} is shorter than its arguments.");
}
