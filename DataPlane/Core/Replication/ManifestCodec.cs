using System.Buffers;
using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>Turns a manifest into chunks of at most <see cref="ChunkBytesMax"/>.</summary>
/// <remarks>
/// <code>
///   for each object:  u32 length of what follows, u64 object, u32 mode, u32 directory, u32 uid, u32 gid, u32 device, i64 size, i64 access time,
///                     i64 modify time, u32 links × {u64 parent, u16 length, name}, u32 length, symlink target,
///                     u32 attributes × {u16 length, name, u32 length, value}
///   at the end:       u32 0, u64 number of objects
/// </code>
/// Little endian. An object may lie across chunks: hundreds of links and attributes make it long.
/// </remarks>
public static class ManifestWriter
{
    /// <summary>256 KiB: a frame that a link carries in about 2 ms at 1 Gb/s.</summary>
    public const int ChunkBytesMax = 256 * 1024;

    public static IEnumerable<ReadOnlyMemory<byte>> Write(IEnumerable<ManifestEntry> entries)
    {
        var pending = new ArrayBufferWriter<byte>(2 * ChunkBytesMax);
        var objects = 0L;
        foreach (var entry in entries)
        {
            Append(pending, entry);
            objects++;
            if (pending.WrittenCount < ChunkBytesMax)
                continue;
            var full = pending.WrittenCount / ChunkBytesMax * ChunkBytesMax;
            var bytes = pending.WrittenSpan.ToArray();
            for (var start = 0; start < full; start += ChunkBytesMax)
                yield return bytes.AsMemory(start, ChunkBytesMax);
            pending.ResetWrittenCount();
            pending.Write(bytes.AsSpan(full));
        }
        UInt32(pending, 0);
        UInt64(pending, (ulong)objects);
        var last = pending.WrittenSpan.ToArray();
        for (var start = 0; start < last.Length; start += ChunkBytesMax)
            yield return last.AsMemory(start, Math.Min(ChunkBytesMax, last.Length - start));
    }

    private static void Append(ArrayBufferWriter<byte> target, ManifestEntry entry)
    {
        var length = 8 + 5 * 4 + 3 * 8 + 4 + 4 + entry.SymlinkTarget.Length + 4;
        foreach (var link in entry.Links)
            length += 8 + 2 + link.Name.Length;
        foreach (var xattr in entry.Xattrs)
            length += 2 + xattr.Name.Length + 4 + xattr.Value.Length;
        UInt32(target, (uint)length);
        UInt64(target, entry.Object);
        UInt32(target, entry.Mode);
        UInt32(target, (uint)entry.Directory);
        UInt32(target, entry.Uid);
        UInt32(target, entry.Gid);
        UInt32(target, entry.DeviceNumber);
        UInt64(target, (ulong)entry.SizeBytes);
        UInt64(target, (ulong)entry.AccessTimeNs);
        UInt64(target, (ulong)entry.ModifyTimeNs);
        UInt32(target, (uint)entry.Links.Count);
        foreach (var link in entry.Links)
        {
            UInt64(target, link.Parent);
            Name(target, link.Name);
        }
        Bytes(target, entry.SymlinkTarget);
        UInt32(target, (uint)entry.Xattrs.Count);
        foreach (var xattr in entry.Xattrs)
        {
            Name(target, xattr.Name);
            Bytes(target, xattr.Value);
        }
    }

    private static void UInt32(ArrayBufferWriter<byte> target, uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(target.GetSpan(sizeof(uint)), value);
        target.Advance(sizeof(uint));
    }

    private static void UInt64(ArrayBufferWriter<byte> target, ulong value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(target.GetSpan(sizeof(ulong)), value);
        target.Advance(sizeof(ulong));
    }

    private static void Name(ArrayBufferWriter<byte> target, byte[] name)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(target.GetSpan(sizeof(ushort)), checked((ushort)name.Length));
        target.Advance(sizeof(ushort));
        target.Write(name);
    }

    private static void Bytes(ArrayBufferWriter<byte> target, byte[] bytes)
    {
        UInt32(target, (uint)bytes.Length);
        target.Write(bytes);
    }
}

/// <summary>Collects the chunks of a manifest. Trusts nothing: lengths and counts are checked against what has come.</summary>
public sealed class ManifestReader(int objectsMax = 1_000_000)
{
    /// <summary>One object's length. 16 MiB hold 65 000 links, ext4's limit, with names of usual length.</summary>
    public const int EntryBytesMax = 16 * 1024 * 1024;

    /// <summary>A million objects with names of usual length are 150 MB; a peer that sends more than this is not believed.</summary>
    public const long BytesMax = 1L << 30;

    private readonly List<ManifestEntry> entries = [];
    private long bytes;
    private readonly ArrayBufferWriter<byte> pending = new();

    /// <summary>The manifest has come to its end.</summary>
    public bool Complete { get; private set; }

    /// <summary>All objects, once <see cref="Complete"/>.</summary>
    public IReadOnlyList<ManifestEntry> Entries => Complete ? entries : throw new InvalidOperationException("The manifest is not complete.");

    /// <exception cref="MalformedManifestException">The bytes are no manifest.</exception>
    public void Append(ReadOnlySpan<byte> chunk)
    {
        if (Complete)
            throw Invalid("it goes on after its end");
        bytes += chunk.Length;
        if (bytes > BytesMax)
            throw Invalid($"it is longer than {BytesMax} bytes");
        pending.Write(chunk);
        var data = pending.WrittenSpan;
        while (data.Length >= sizeof(uint))
        {
            var length = BinaryPrimitives.ReadUInt32LittleEndian(data);
            if (length == 0)
            {
                if (data.Length < sizeof(uint) + sizeof(ulong))
                    break;
                if (BinaryPrimitives.ReadUInt64LittleEndian(data[sizeof(uint)..]) != (ulong)entries.Count || data.Length > sizeof(uint) + sizeof(ulong))
                    throw Invalid("its end does not fit");
                Complete = true;
                return;
            }
            if (length > EntryBytesMax)
                throw Invalid("an object is too long");
            if (entries.Count == objectsMax)
                throw Invalid($"it has more than {objectsMax} objects");
            if (data.Length < sizeof(uint) + length)
                break;
            entries.Add(new EntryReader(data.Slice(sizeof(uint), (int)length)).Read());
            data = data[(sizeof(uint) + (int)length)..];
        }
        var rest = data.ToArray();
        pending.ResetWrittenCount();
        pending.Write(rest);
    }

    private static MalformedManifestException Invalid(string how) => new($"The manifest is invalid: {how}.");

    private ref struct EntryReader(ReadOnlySpan<byte> rest)
    {
        private ReadOnlySpan<byte> rest = rest;

        public ManifestEntry Read()
        {
            var entry = new ManifestEntry(UInt64(), UInt32())
            {
                Directory = (int)UInt32(), Uid = UInt32(), Gid = UInt32(), DeviceNumber = UInt32(), SizeBytes = (long)UInt64(),
                AccessTimeNs = (long)UInt64(), ModifyTimeNs = (long)UInt64(), Links = Links(), SymlinkTarget = Take(UInt32()), Xattrs = Xattrs(),
            };
            return rest.IsEmpty ? entry : throw Invalid("an object is longer than its parts");
        }

        private ManifestLink[] Links()
        {
            const int LinkBytesMin = 8 + 2;
            var links = new ManifestLink[Count(LinkBytesMin)];
            for (var i = 0; i < links.Length; i++)
                links[i] = new(UInt64(), Take(UInt16()));
            return links;
        }

        private ManifestXattr[] Xattrs()
        {
            const int XattrBytesMin = 2 + 4;
            var xattrs = new ManifestXattr[Count(XattrBytesMin)];
            for (var i = 0; i < xattrs.Length; i++)
                xattrs[i] = new(Take(UInt16()), Take(UInt32()));
            return xattrs;
        }

        private int Count(int bytesMinEach)
        {
            var count = UInt32();
            return count <= rest.Length / bytesMinEach ? (int)count : throw Invalid("a count is too great");
        }

        private ushort UInt16() => BinaryPrimitives.ReadUInt16LittleEndian(TakeSpan(sizeof(ushort)));

        private uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(TakeSpan(sizeof(uint)));

        private ulong UInt64() => BinaryPrimitives.ReadUInt64LittleEndian(TakeSpan(sizeof(ulong)));

        private byte[] Take(uint length) => TakeSpan(length).ToArray();

        private ReadOnlySpan<byte> TakeSpan(uint length)
        {
            if (length > rest.Length)
                throw Invalid("an object is shorter than its parts");
            var taken = rest[..(int)length];
            rest = rest[(int)length..];
            return taken;
        }
    }
}

/// <summary>Bytes that came as a manifest are none.</summary>
public sealed class MalformedManifestException(string message) : FormatException(message);
