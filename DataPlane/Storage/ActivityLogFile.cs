using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>The file of an activity log.</summary>
/// <remarks>
/// <code>
///   4 KiB  header:  "PLXALOG\0", u32 version, u32 slots, u32 bytes per extent, …, u32 CRC-32C
///   then for each group of 128 slots two copies of a 4 KiB sector:
///                   u32 "PAL1", u32 group, u64 sequence, 16 bytes zero, 128 × {u64 object (0: free), i64 extent (-1: all)}, …, u32 CRC-32C
/// </code>
/// <para>All numbers are little endian; a checksum covers all bytes before it in its 4 KiB. A new state of a group goes to the copy with
/// the lower sequence, so a torn write leaves the state before it, whose entries are a superset of what was promised then. The header
/// is written once, with the whole file, and moved into place.</para>
/// </remarks>
internal sealed unsafe class ActivityLogFile : IDisposable
{
    public const int SlotsPerGroup = 128;
    public const int Version = 1;

    /// <summary>4 KiB is the unit that disks of today write whole, and what O_DIRECT accepts everywhere.</summary>
    public const int SectorBytes = 4096;

    private const int ChecksumOffset = SectorBytes - 4;
    private const int EntriesOffset = 32;
    private const int EntryBytes = 16;
    private const uint GroupMagic = 0x314C4150;

    private readonly int fd;
    private readonly byte* buffer;
    private readonly ulong[] sequences;
    private readonly bool[] newestIsSecond;

    private ActivityLogFile(int fd, int groups)
    {
        this.fd = fd;
        buffer = (byte*)NativeMemory.AlignedAlloc(SectorBytes, SectorBytes);
        sequences = new ulong[groups];
        newestIsSecond = new bool[groups];
    }

    private static ReadOnlySpan<byte> HeaderMagic => "PLXALOG\0"u8;

    /// <summary>Writes a new, empty log and moves it into place.</summary>
    public static void Create(string path, int slots)
    {
        var groups = slots / SlotsPerGroup;
        var image = new byte[SectorBytes * (1 + 2 * groups)];
        var header = image.AsSpan(0, SectorBytes);
        HeaderMagic.CopyTo(header);
        BinaryPrimitives.WriteInt32LittleEndian(header[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(header[12..], slots);
        BinaryPrimitives.WriteInt32LittleEndian(header[16..], ActivityLog.ExtentBytes);
        Seal(header);
        for (var copy = 0; copy < 2 * groups; copy++)
            Fill(image.AsSpan(SectorBytes * (1 + copy), SectorBytes), copy / 2, (ulong)(copy % 2), []);
        DurableFile.Replace(path, image);
    }

    /// <summary>Opens the file and reads its entries. The damage, if there is any, says what is wrong; nothing is open then.</summary>
    /// <exception cref="StorageException">A newer version wrote it, or reading failed.</exception>
    public static ActivityLogFile? Open(string path, int slots, out List<(ulong Object, long Extent)[]> entries, out string? damage)
    {
        entries = [];
        byte[] image;
        try
        {
            image = File.ReadAllBytes(path);
        }
        catch (FileNotFoundException)
        {
            damage = "there is no activity log";
            return null;
        }
        damage = CheckHeader(image, slots);
        if (damage is not null)
            return null;
        var groups = slots / SlotsPerGroup;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            var flags = OpenFlags.ReadWrite | OpenFlags.CloseOnExec | OpenFlags.DataSync;
            var fd = Libc.OpenAt(Libc.AtCurrentDirectory, name, flags | OpenFlags.Direct);
            // Some file systems, tmpfs among them, have no O_DIRECT.
            if (fd < 0 && Libc.LastErrno == Errno.EINVAL)
                fd = Libc.OpenAt(Libc.AtCurrentDirectory, name, flags);
            if (fd < 0)
                throw StorageException.FromLastErrno($"open {path}");
            var file = new ActivityLogFile(fd, groups);
            for (var group = 0; group < groups && damage is null; group++)
                damage = file.Load(image, group, entries);
            if (damage is null)
                return file;
            file.Dispose();
            return null;
        }
    }

    /// <summary>Writes one group's state durably over the older of its copies.</summary>
    public void Write(int group, ReadOnlySpan<(ulong Object, long Extent)> slots)
    {
        var second = !newestIsSecond[group];
        // SAFETY: the buffer is one aligned sector, owned by this object; there is one writer at a time (the log's leader).
        Fill(new(buffer, SectorBytes), group, sequences[group] + 1, slots);
        var offset = (long)SectorBytes * (1 + 2 * group + (second ? 1 : 0));
        nint put;
        do
            put = Libc.PWrite(fd, buffer, SectorBytes, offset);
        while (put < 0 && Libc.LastErrno == Errno.EINTR);
        if (put != SectorBytes)
            throw put < 0 ? StorageException.FromLastErrno("writing the activity log") : new StorageException("writing the activity log", Errno.EIO);
        sequences[group]++;
        newestIsSecond[group] = second;
    }

    public void Dispose()
    {
        _ = Libc.Close(fd);
        NativeMemory.AlignedFree(buffer);
    }

    private static string? CheckHeader(byte[] image, int slots)
    {
        if (image.Length < SectorBytes || !IsSealed(image.AsSpan(0, SectorBytes)) || !image.AsSpan().StartsWith(HeaderMagic))
            return "the header of the activity log is damaged";
        var version = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(8));
        if (version > Version)
            throw new StorageException(StorageFault.NewerVersion, $"The activity log has version {version}; this pollux-host knows versions up to {Version}. Install the newer one again, or let the module be resynced in full.");
        return BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(12)) != slots || BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(16)) != ActivityLog.ExtentBytes
            || image.Length != SectorBytes * (1 + 2 * (slots / SlotsPerGroup))
            ? "the activity log has another size than its header says"
            : null;
    }

    private string? Load(byte[] image, int group, List<(ulong Object, long Extent)[]> entries)
    {
        ReadOnlySpan<byte> first = image.AsSpan(SectorBytes * (1 + 2 * group), SectorBytes), second = image.AsSpan(SectorBytes * (2 + 2 * group), SectorBytes);
        bool firstGood = IsGroup(first, group), secondGood = IsGroup(second, group);
        if (!firstGood && !secondGood)
            return $"both copies of group {group} of the activity log are damaged";
        newestIsSecond[group] = secondGood && (!firstGood || SequenceOf(second) > SequenceOf(first));
        var newest = newestIsSecond[group] ? second : first;
        sequences[group] = SequenceOf(newest);
        var slots = new (ulong, long)[SlotsPerGroup];
        for (var i = 0; i < SlotsPerGroup; i++)
        {
            var entry = newest[(EntriesOffset + i * EntryBytes)..];
            slots[i] = (BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadInt64LittleEndian(entry[8..]));
        }
        entries.Add(slots);
        return null;
    }

    private static void Fill(Span<byte> sector, int group, ulong sequence, ReadOnlySpan<(ulong Object, long Extent)> slots)
    {
        sector.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(sector, GroupMagic);
        BinaryPrimitives.WriteInt32LittleEndian(sector[4..], group);
        BinaryPrimitives.WriteUInt64LittleEndian(sector[8..], sequence);
        for (var i = 0; i < slots.Length; i++)
        {
            var entry = sector[(EntriesOffset + i * EntryBytes)..];
            BinaryPrimitives.WriteUInt64LittleEndian(entry, slots[i].Object);
            BinaryPrimitives.WriteInt64LittleEndian(entry[8..], slots[i].Extent);
        }
        Seal(sector);
    }

    private static void Seal(Span<byte> sector) =>
        BinaryPrimitives.WriteUInt32LittleEndian(sector[ChecksumOffset..], Crc32C.Compute(sector[..ChecksumOffset]));

    private static bool IsSealed(ReadOnlySpan<byte> sector) =>
        BinaryPrimitives.ReadUInt32LittleEndian(sector[ChecksumOffset..]) == Crc32C.Compute(sector[..ChecksumOffset]);

    private static bool IsGroup(ReadOnlySpan<byte> sector, int group) =>
        IsSealed(sector) && BinaryPrimitives.ReadUInt32LittleEndian(sector) == GroupMagic && BinaryPrimitives.ReadInt32LittleEndian(sector[4..]) == group;

    private static ulong SequenceOf(ReadOnlySpan<byte> sector) => BinaryPrimitives.ReadUInt64LittleEndian(sector[8..]);
}
