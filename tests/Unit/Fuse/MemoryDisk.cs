using System.Collections.Concurrent;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;

namespace Pollux.Tests.Unit.Fuse;

/// <summary>A file system with one file, <c>disk</c>, in memory. Hooks let a test hold, delay or break a request.</summary>
internal sealed class MemoryDisk(int sizeBytes) : IFuseHandler
{
    public const string FileName = "disk";
    private const ulong Root = 1;
    private const ulong Disk = 2;

    public byte[] Content { get; } = new byte[sizeBytes];

    public FuseOpenFlags OpenFlags { get; init; } = FuseOpenFlags.DirectIo | FuseOpenFlags.ParallelDirectWrites;

    public uint AttributesValidSeconds { get; init; }

    /// <summary>Called with each WRITE after its data is stored; true: the hook answers.</summary>
    public Func<FuseReplyToken, uint, bool>? OnWrite { get; set; }

    public Action? OnGetAttributes { get; set; }

    public ConcurrentBag<uint> WriteSizes { get; } = [];

    public FuseNegotiation Negotiated { get; private set; }

    public TaskCompletionSource EndedOnce { get; } = new();

    public void Started(in FuseNegotiation negotiated, FuseReplier reply) => Negotiated = negotiated;

    public void Ended() => EndedOnce.SetResult();

    public void Handle(in FuseRequest request, FuseReplier reply)
    {
        var token = request.Token;
        switch (request.Opcode)
        {
            case FuseOpcode.Lookup:
                var rest = request.Body;
                if (FuseRequest.TakeName(ref rest).SequenceEqual("disk"u8))
                    reply.Reply(token, new FuseEntryOut { NodeId = Disk, EntryValidSeconds = 60, Attr = Attributes(Disk) });
                else
                    reply.Error(token, Errno.ENOENT);
                break;
            case FuseOpcode.GetAttr:
                OnGetAttributes?.Invoke();
                reply.Reply(token, new FuseAttrOut { AttrValidSeconds = AttributesValidSeconds, Attr = Attributes(request.NodeId) });
                break;
            case FuseOpcode.SetAttr:
                reply.Reply(token, new FuseAttrOut { Attr = Attributes(request.NodeId) });
                break;
            case FuseOpcode.Open:
                reply.Reply(token, new FuseOpenOut { OpenFlags = OpenFlags });
                break;
            case FuseOpcode.OpenDirectory:
                reply.Reply(token, default(FuseOpenOut));
                break;
            case FuseOpcode.Read:
                Read(request, reply);
                break;
            case FuseOpcode.Write:
                var write = request.As<FuseWriteIn>();
                request.Payload[..(int)write.Size].CopyTo(Content.AsSpan((int)write.Offset));
                WriteSizes.Add(write.Size);
                if (OnWrite?.Invoke(token, write.Size) != true)
                    reply.Written(token, write.Size);
                break;
            case FuseOpcode.Release or FuseOpcode.ReleaseDirectory or FuseOpcode.Flush or FuseOpcode.Fsync:
                reply.Ok(token);
                break;
            default:
                reply.Error(token, Errno.ENOSYS);
                break;
        }
    }

    private void Read(in FuseRequest request, FuseReplier reply)
    {
        var read = request.As<FuseReadIn>();
        var count = (int)Math.Min(read.Size, (ulong)Content.Length - Math.Min(read.Offset, (ulong)Content.Length));
        Content.AsSpan((int)read.Offset, count).CopyTo(request.Payload);
        reply.Payload(request, count);
    }

    private FuseAttr Attributes(ulong node) => new()
    {
        Inode = node,
        Mode = node == Root ? 0x41EDu : 0x81A4u,
        Links = 1,
        Size = node == Root ? 0u : (ulong)Content.Length,
        BlockSize = 4096,
    };
}
