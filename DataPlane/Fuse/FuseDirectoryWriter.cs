using System.Runtime.CompilerServices;

namespace Pollux.DataPlane.Fuse;

/// <summary>Fills a buffer with the entries of a READDIR or READDIRPLUS reply.</summary>
/// <param name="buffer">Where entries go: usually <see cref="FuseRequest.Payload"/>; must outlive the writer.</param>
/// <param name="capacityBytes">The size that the request allows.</param>
public unsafe struct FuseDirectoryWriter(byte* buffer, int capacityBytes)
{
    /// <summary>Bytes filled so far.</summary>
    public int Length { get; private set; }

    public static FuseDirectoryWriter For(in FuseRequest request)
    {
        var size = Math.Min(request.As<FuseReadIn>().Size, (uint)request.PayloadCapacity);
        return new FuseDirectoryWriter(request.PayloadPointer, (int)size);
    }

    /// <returns>False, with nothing added, if the entry does not fit.</returns>
    public bool TryAdd(ReadOnlySpan<byte> name, ulong inode, uint mode, long nextOffset)
    {
        var size = Align(sizeof(FuseDirectoryEntry) + name.Length);
        if (Length + size > capacityBytes)
            return false;
        // SAFETY: the entry lies inside the buffer, by the check above.
        var at = buffer + Length;
        Fill(at, at + sizeof(FuseDirectoryEntry), name, inode, mode, nextOffset, at + size);
        Length += size;
        return true;
    }

    /// <summary>Adds an entry with its attributes. A node id of 0 in <paramref name="entry"/> gives the name only: no reference.</summary>
    /// <returns>False, with nothing added, if the entry does not fit.</returns>
    public bool TryAddPlus(ReadOnlySpan<byte> name, in FuseEntryOut entry, long nextOffset)
    {
        var size = Align(sizeof(FuseDirectoryEntryPlus) + name.Length);
        if (Length + size > capacityBytes)
            return false;
        // SAFETY: as above.
        var at = buffer + Length;
        ((FuseDirectoryEntryPlus*)at)->Entry = entry;
        Fill(at + sizeof(FuseEntryOut), at + sizeof(FuseDirectoryEntryPlus), name, entry.Attr.Inode, entry.Attr.Mode, nextOffset, at + size);
        Length += size;
        return true;
    }

    private static void Fill(byte* entry, byte* text, ReadOnlySpan<byte> name, ulong inode, uint mode, long nextOffset, byte* end)
    {
        *(FuseDirectoryEntry*)entry = new FuseDirectoryEntry
        {
            Inode = inode,
            NextOffset = (ulong)nextOffset,
            NameLength = (uint)name.Length,
            Type = (mode & 0xF000) >> 12,
        };
        name.CopyTo(new Span<byte>(text, name.Length));
        Unsafe.InitBlockUnaligned(text + name.Length, 0, (uint)(end - text - name.Length));
    }

    private static int Align(int size) => (size + 7) & ~7;
}
