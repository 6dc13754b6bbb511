using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>The file of an activity log as bytes: what is in it, and what to write.</summary>
/// <remarks>
/// <code>
///   4 KiB  header:  "PLXALOG\0", u32 version, u32 slots, u32 bytes per extent, …, u32 CRC-32C
///   then for each group of 128 slots two copies of a 4 KiB sector (<see cref="ActivityLogSector"/>)
/// </code>
/// <para>All numbers are little endian; the header's checksum covers all bytes before it. A new state of a group goes to the older copy,
/// so a torn write leaves the state before it, whose entries are a superset of what was promised then. The header is written once,
/// with the whole file, which is moved into place. Version 1 (<see cref="ActivityLogSectorVersion1"/>) is read, and replaced as a whole.</para>
/// </remarks>
public sealed class ActivityLogImage
{
    public const int SlotsPerGroup = ActivityLogSector.Slots;
    public const int Version = 2;

    /// <summary>4 KiB is the unit that disks of today write whole, and what O_DIRECT accepts everywhere.</summary>
    public const int SectorBytes = ActivityLogSector.Bytes;

    private const int ChecksumOffset = SectorBytes - 4;

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

    /// <summary>An older version wrote what was read: <see cref="Whole"/> is to replace it before anything is stored.</summary>
    public bool WasOlderVersion { get; private set; }

    /// <summary>A log without entries.</summary>
    public static byte[] Empty(int slots)
    {
        if (slots <= 0 || slots % SlotsPerGroup != 0)
            throw new ArgumentOutOfRangeException(nameof(slots), slots, $"Not a multiple of {SlotsPerGroup}.");
        return new ActivityLogImage(slots).Whole();
    }

    /// <summary>A new file with these entries.</summary>
    public byte[] Whole()
    {
        var image = new byte[SectorBytes * (1 + 2 * Groups)];
        var header = image.AsSpan(0, SectorBytes);
        HeaderMagic.CopyTo(header);
        BinaryPrimitives.WriteInt32LittleEndian(header[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(header[12..], Entries.Length);
        BinaryPrimitives.WriteInt32LittleEndian(header[16..], LogEntry.ExtentBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(header[ChecksumOffset..], Crc32C.Compute(header[..ChecksumOffset]));
        for (var copy = 0; copy < 2 * Groups; copy++)
            Fill(image.AsSpan(SectorBytes * (1 + copy), SectorBytes), copy / 2, copy % 2, (ulong)(copy % 2), Entries.AsSpan(copy / 2 * SlotsPerGroup, SlotsPerGroup));
        return image;
    }

    /// <summary>Reads a log of as many slots as its header says. Never throws, whatever the bytes are.</summary>
    /// <param name="damage">What is wrong with it: everything may differ then.</param>
    /// <param name="newerVersion">Not 0: a newer version of Pollux wrote it; it must be left as it is.</param>
    public static ActivityLogImage? Read(ReadOnlySpan<byte> image, out string? damage, out int newerVersion)
    {
        newerVersion = 0;
        damage = "the header of the activity log is damaged";
        if (image.Length < SectorBytes || !image.StartsWith(HeaderMagic)
            || BinaryPrimitives.ReadUInt32LittleEndian(image[ChecksumOffset..]) != Crc32C.Compute(image[..ChecksumOffset]))
            return null;
        var version = BinaryPrimitives.ReadInt32LittleEndian(image[8..]);
        if (version > Version)
        {
            newerVersion = version;
            return null;
        }
        damage = $"the activity log has version {version}, which there never was";
        if (version < 1)
            return null;
        damage = "the activity log has another size than its header says";
        var slots = BinaryPrimitives.ReadInt32LittleEndian(image[12..]);
        if (slots <= 0 || slots % SlotsPerGroup != 0 || BinaryPrimitives.ReadInt32LittleEndian(image[16..]) != LogEntry.ExtentBytes
            || image.Length != SectorBytes * (1 + 2L * (slots / SlotsPerGroup)))
            return null;
        var log = new ActivityLogImage(slots) { WasOlderVersion = version < Version };
        for (var group = 0; group < log.Groups; group++)
        {
            damage = log.Load(image, group, version);
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
        var copy = newestIsSecond[group] ? 0 : 1;
        Fill(sector, group, copy, sequences[group] + 1, Entries.AsSpan(group * SlotsPerGroup, SlotsPerGroup));
        return (long)SectorBytes * (1 + 2 * group + copy);
    }

    /// <summary>The sector that <see cref="NextSector"/> gave is stable.</summary>
    public void Stored(int group)
    {
        sequences[group]++;
        newestIsSecond[group] = !newestIsSecond[group];
    }

    private string? Load(ReadOnlySpan<byte> image, int group, int version)
    {
        ReadOnlySpan<byte> first = image.Slice(SectorBytes * (1 + 2 * group), SectorBytes), second = image.Slice(SectorBytes * (2 + 2 * group), SectorBytes);
        var damage = version == 1
            ? ActivityLogSectorVersion1.Choose(first, second, group, out newestIsSecond[group])
            : ActivityLogSector.Choose(first, second, group, out newestIsSecond[group], out sequences[group]);
        if (damage is not null)
            return damage;
        // The image that replaces version 1 has sequences 0 and 1, the second copy being the newer.
        if (version == 1)
            sequences[group] = 1;
        var newest = newestIsSecond[group] ? second : first;
        newestIsSecond[group] |= version == 1;
        for (var slot = 0; slot < SlotsPerGroup; slot++)
        {
            var (obj, extent) = version == 1 ? ActivityLogSectorVersion1.Get(newest, slot) : ActivityLogSector.Get(newest, slot);
            if (extent < LogEntry.WholeExtent || extent > long.MaxValue / LogEntry.ExtentBytes - 1)
                return $"group {group} of the activity log holds an impossible extent";
            Entries[group * SlotsPerGroup + slot] = new LogEntry(obj, extent);
        }
        return null;
    }

    private static void Fill(Span<byte> sector, int group, int copy, ulong sequence, ReadOnlySpan<LogEntry> slots)
    {
        sector.Clear();
        for (var slot = 0; slot < slots.Length; slot++)
            ActivityLogSector.Put(sector, slot, slots[slot].Object, slots[slot].Extent);
        ActivityLogSector.Seal(sector, group, copy, sequence);
    }
}
