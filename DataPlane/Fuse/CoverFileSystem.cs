using System.Text;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fuse;

/// <summary>What lies over a module's directory on a host that does not serve it: a read-only directory with one file,
/// <c>NOT-PRIMARY.txt</c>, that says why. Every other name gives EACCES, every change EROFS, so nobody reads or writes the copy behind the
/// engine's back.</summary>
public sealed class CoverFileSystem : IFuseHandler
{
    public const string FileName = "NOT-PRIMARY.txt";

    /// <summary>Longest explanation, bytes of UTF-8: it must fit one READ of the smallest page.</summary>
    public const int TextBytesMax = 4096;

    private const ulong Root = 1;
    private const ulong File = 2;
    private static readonly byte[] s_fileName = Encoding.ASCII.GetBytes(FileName);
    private volatile Page _page;

    /// <param name="explanation">Why this host does not serve the module, and where to look.</param>
    /// <exception cref="ArgumentException">The text is longer than <see cref="TextBytesMax"/>.</exception>
    public CoverFileSystem(string explanation) => _page = new Page(explanation);

    /// <summary>Why this host does not serve the module. May change at any time; the next read shows it.</summary>
    public string Explanation
    {
        get => _page.Text;
        set => _page = new Page(value);
    }

    public void Handle(in FuseRequest request, FuseReplier reply)
    {
        var token = request.Token;
        switch (request.Opcode)
        {
            case FuseOpcode.Lookup:
                var names = request.Body;
                if (request.NodeId == Root && FuseRequest.TakeName(ref names).SequenceEqual(s_fileName))
                    reply.Reply(token, new FuseEntryOut { NodeId = File, EntryValidSeconds = 1, Attr = Attributes(File) });
                else
                    reply.Error(token, Errno.EACCES);
                break;
            case FuseOpcode.GetAttr when request.NodeId is Root or File:
                // Valid for no time: the text and its length may change.
                reply.Reply(token, new FuseAttrOut { Attr = Attributes(request.NodeId) });
                break;
            case FuseOpcode.Open when request.NodeId == File:
                if (((int)request.As<FuseOpenIn>().Flags & OpenFlags.AccessMask) != OpenFlags.ReadOnly)
                    reply.Error(token, Errno.EROFS);
                else
                    reply.Reply(token, new FuseOpenOut { OpenFlags = FuseOpenFlags.DirectIo });
                break;
            case FuseOpcode.OpenDirectory when request.NodeId == Root:
                reply.Reply(token, default(FuseOpenOut));
                break;
            case FuseOpcode.Read when request.NodeId == File:
                reply.Data(token, Slice(_page.Bytes, request.As<FuseReadIn>()));
                break;
            case FuseOpcode.ReadDirectory or FuseOpcode.ReadDirectoryPlus when request.NodeId == Root:
                List(request, reply);
                break;
            case FuseOpcode.StatFs:
                reply.Reply(token, new FuseStatFsOut { BlockSize = 4096, FragmentSize = 4096, NameLengthMax = 255, Files = 1 });
                break;
            case FuseOpcode.Release or FuseOpcode.ReleaseDirectory or FuseOpcode.Flush or FuseOpcode.Fsync or FuseOpcode.FsyncDirectory
                or FuseOpcode.SyncFs:
                reply.Ok(token);
                break;
            case FuseOpcode.GetXattr or FuseOpcode.ListXattr:
                reply.Error(token, Errno.ENOSYS);
                break;
            case FuseOpcode.SetAttr or FuseOpcode.Symlink or FuseOpcode.MakeNode or FuseOpcode.MakeDirectory or FuseOpcode.Unlink
                or FuseOpcode.RemoveDirectory or FuseOpcode.Rename or FuseOpcode.Rename2 or FuseOpcode.Link or FuseOpcode.Create
                or FuseOpcode.Write or FuseOpcode.SetXattr or FuseOpcode.RemoveXattr or FuseOpcode.Fallocate or FuseOpcode.TemporaryFile:
                reply.Error(token, Errno.EROFS);
                break;
            case FuseOpcode.Statx or FuseOpcode.Seek or FuseOpcode.CopyFileRange or FuseOpcode.CopyFileRange64 or FuseOpcode.Ioctl
                or FuseOpcode.Poll or FuseOpcode.BlockMap or FuseOpcode.Access:
                reply.Error(token, Errno.ENOSYS);
                break;
            default:
                reply.Error(token, Errno.EACCES);
                break;
        }
    }

    private static ReadOnlySpan<byte> Slice(byte[] bytes, in FuseReadIn read)
    {
        if (read.Offset >= (ulong)bytes.Length)
            return default;
        var start = (int)read.Offset;
        return bytes.AsSpan(start, (int)Math.Min(read.Size, (uint)(bytes.Length - start)));
    }

    private void List(in FuseRequest request, FuseReplier reply)
    {
        var writer = FuseDirectoryWriter.For(request);
        var plus = request.Opcode == FuseOpcode.ReadDirectoryPlus;
        var more = true;
        for (var next = (long)request.As<FuseReadIn>().Offset + 1; next <= 3 && more; next++)
        {
            var name = next switch { 1 => "."u8, 2 => ".."u8, _ => s_fileName };
            // Attributes without a node id: the kernel looks the name up when it needs it.
            var entry = new FuseEntryOut { Attr = Attributes(next == 3 ? File : Root) };
            more = plus ? writer.TryAddPlus(name, entry, next) : writer.TryAdd(name, entry.Attr.Inode, entry.Attr.Mode, next);
        }

        reply.Payload(request, writer.Length);
    }

    private FuseAttr Attributes(ulong node)
    {
        var page = _page;
        // st_mode: S_IFDIR | 0555, S_IFREG | 0444.
        return new FuseAttr
        {
            Inode = node,
            Mode = node == Root ? 0x4000u | 0x16D : 0x8000u | 0x124,
            Links = node == Root ? 2u : 1u,
            Size = node == Root ? 0u : (ulong)page.Bytes.Length,
            Blocks = node == Root ? 0u : 8u,
            BlockSize = 4096,
            AccessTime = page.ChangedSeconds,
            ModifyTime = page.ChangedSeconds,
            ChangeTime = page.ChangedSeconds,
        };
    }

    private sealed class Page
    {
        public Page(string text)
        {
            Text = text;
            Bytes = Encoding.UTF8.GetBytes(text.EndsWith('\n') ? text : text + "\n");
            if (Bytes.Length > TextBytesMax)
                throw new ArgumentException($"The explanation is longer than {TextBytesMax} bytes.", nameof(text));
            ChangedSeconds = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        }

        public string Text { get; }
        public byte[] Bytes { get; }
        public long ChangedSeconds { get; }
    }
}
