using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>The file of an activity log as bytes: what is in it, and what to write.</summary>
/// <remarks>
/// <code>
///   4 KiB  header:  "PLXALOG\0", u32 version, u32 slots, u32 bytes per extent, …, u32 CRC-32C
///   then for each group of 128 slots two copies of a 4 KiB sector:
///                   u32 "PAL1", u32 group, u64 sequence, 16 bytes zero, 128 × {u64 object (0: free), i64 extent (-1: all)}, …, u32 CRC-32C
/// </code>
/// <para>All numbers are little endian; a checksum covers all bytes before it in its 4 KiB. A new state of a group goes to the copy with
/// the lower sequence, so a torn write leaves the state before it, whose entries are a superset of what was promised then. The header
/// is written once, with the whole file, which is moved into place.</para>
/// </remarks>
public sealed class ActivityLogImage
{
    public const int SlotsPerGroup = 128;
    public const int Version = 1;

    /// <summary>4 KiB is the unit that disks of today write whole, and what O_DIRECT accepts everywhere.</summary>
    public const int SectorBytes = 4096;

    private const int ChecksumOffset = SectorBytes - 4;
    private const int EntriesOffset = 32;
    private const int EntryBytes = 16;
    private const uint GroupMagic = 0x314C4150;

    private readonly ulong[] sequences;
    private readonly bool[] newestIsSecond;

    private ActivityLogImage(int slots)
    {
        Entries = new LogEntry[slots];
        sequences = new ulong[slots / SlotsPerGroup];
        newestIsSecond = new bool[slots / SlotsPerGroup];
    }

    private static ReadOnlySpan<byte> HeaderMagic => "PLXALOG\0"u8;

    /// <summary>By slot; what the newest sound sectors say.</summary>
    public LogEntry[] Entries { get; }

    public int Groups => sequences.Length;

    /// <summary>A log without entries.</summary>
    public static byte[] Empty(int slots)
    {
        if (slots <= 0 || slots % SlotsPerGroup != 0)
            throw new ArgumentOutOfRangeException(nameof(slots), slots, $"Not a multiple of {SlotsPerGroup}.");
        var groups = slots / SlotsPerGroup;
        var image = new byte[SectorBytes * (1 + 2 * groups)];
        var header = image.AsSpan(0, SectorBytes);
        HeaderMagic.CopyTo(header);
        BinaryPrimitives.WriteInt32LittleEndian(header[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(header[12..], slots);
        BinaryPrimitives.WriteInt32LittleEndian(header[16..], LogEntry.ExtentBytes);
        Seal(header);
        for (var copy = 0; copy < 2 * groups; copy++)
            Fill(image.AsSpan(SectorBytes * (1 + copy), SectorBytes), copy / 2, (ulong)(copy % 2), []);
        return image;
    }

    /// <summary>Reads a log. Never throws, whatever the bytes are.</summary>
    /// <param name="damage">What is wrong with it: everything may differ then.</param>
    /// <param name="newerVersion">Not 0: a newer version of Pollux wrote it; it must be left as it is.</param>
    public static ActivityLogImage? Read(ReadOnlySpan<byte> image, int slots, out string? damage, out int newerVersion)
    {
        newerVersion = 0;
        damage = "the header of the activity log is damaged";
        if (image.Length < SectorBytes || !IsSealed(image[..SectorBytes]) || !image.StartsWith(HeaderMagic))
            return null;
        var version = BinaryPrimitives.ReadInt32LittleEndian(image[8..]);
        if (version > Version)
        {
            newerVersion = version;
            return null;
        }
        damage = "the activity log has another size than its header says";
        if (BinaryPrimitives.ReadInt32LittleEndian(image[12..]) != slots || BinaryPrimitives.ReadInt32LittleEndian(image[16..]) != LogEntry.ExtentBytes
            || image.Length != SectorBytes * (1 + 2 * (slots / SlotsPerGroup)))
            return null;
        var log = new ActivityLogImage(slots);
        for (var group = 0; group < log.Groups; group++)
        {
            damage = log.Load(image, group);
            if (damage is not null)
                return null;
        }
        return log;
    }

    /// <summary>The next state of a group, to be stored over the older of its two copies. One store per group at a time.</summary>
    /// <param name="sector">Filled; <see cref="SectorBytes"/> long.</param>
    /// <returns>Where in the file it goes, bytes.</returns>
    public long NextSector(int group, Span<byte> sector)
    {
        Fill(sector, group, sequences[group] + 1, Entries.AsSpan(group * SlotsPerGroup, SlotsPerGroup));
        return (long)SectorBytes * (1 + 2 * group + (newestIsSecond[group] ? 0 : 1));
    }

    /// <summary>The sector that <see cref="NextSector"/> gave is stable.</summary>
    public void Stored(int group)
    {
        sequences[group]++;
        newestIsSecond[group] = !newestIsSecond[group];
    }

    private string? Load(ReadOnlySpan<byte> image, int group)
    {
        ReadOnlySpan<byte> first = image.Slice(SectorBytes * (1 + 2 * group), SectorBytes), second = image.Slice(SectorBytes * (2 + 2 * group), SectorBytes);
        bool firstGood = IsGroup(first, group), secondGood = IsGroup(second, group);
        if (!firstGood && !secondGood)
            return $"both copies of group {group} of the activity log are damaged";
        newestIsSecond[group] = secondGood && (!firstGood || SequenceOf(second) > SequenceOf(first));
        var newest = newestIsSecond[group] ? second : first;
        sequences[group] = SequenceOf(newest);
        for (var i = 0; i < SlotsPerGroup; i++)
        {
            var entry = newest[(EntriesOffset + i * EntryBytes)..];
            var read = new LogEntry(BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadInt64LittleEndian(entry[8..]));
            if (read.Extent < LogEntry.WholeExtent || read.Extent > long.MaxValue / LogEntry.ExtentBytes - 1)
                return $"group {group} of the activity log holds an impossible extent";
            Entries[group * SlotsPerGroup + i] = read;
        }
        return null;
    }

    private static void Fill(Span<byte> sector, int group, ulong sequence, ReadOnlySpan<LogEntry> slots)
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
