using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Storage;

/// <summary>The file of an activity log.</summary>
/// <remarks>
/// <code>
///   4 KiB  header:  "PLXALOG\0", u32 version, u32 slots, u32 bytes per extent, …, u32 CRC-32C
///   then for each group of 128 slots two copies of a 4 KiB sector (<see cref="ActivityLogSector"/>)
/// </code>
/// <para>All numbers are little endian; the header's checksum covers all bytes before it. A new state of a group goes to the older copy,
/// so a torn write leaves the state before it, whose entries are a superset of what was promised then. The header is written once,
/// with the whole file, and moved into place. Version 1 (<see cref="ActivityLogSectorVersion1"/>) is migrated when it is opened.</para>
/// </remarks>
internal sealed unsafe class ActivityLogFile : IDisposable
{
    public const int SlotsPerGroup = ActivityLogSector.Slots;
    public const int Version = 2;

    /// <summary>4 KiB is the unit that disks of today write whole, and what O_DIRECT accepts everywhere.</summary>
    public const int SectorBytes = ActivityLogSector.Bytes;

    private const int ChecksumOffset = SectorBytes - 4;

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

    /// <summary>Writes a new log and moves it into place.</summary>
    /// <param name="entries">By group; an empty list for an empty log.</param>
    public static void Create(string path, int slots, IReadOnlyList<(ulong Object, long Extent)[]>? entries = null)
    {
        var groups = slots / SlotsPerGroup;
        var image = new byte[SectorBytes * (1 + 2 * groups)];
        var header = image.AsSpan(0, SectorBytes);
        HeaderMagic.CopyTo(header);
        BinaryPrimitives.WriteInt32LittleEndian(header[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(header[12..], slots);
        BinaryPrimitives.WriteInt32LittleEndian(header[16..], ActivityLog.ExtentBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(header[ChecksumOffset..], Crc32C.Compute(header[..ChecksumOffset]));
        for (var copy = 0; copy < 2 * groups; copy++)
            Fill(image.AsSpan(SectorBytes * (1 + copy), SectorBytes), copy / 2, copy % 2, (ulong)(copy % 2), entries is null ? [] : entries[copy / 2]);
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
        damage = CheckHeader(image, slots, out var version);
        if (damage is not null)
            return null;
        if (version == 1)
        {
            damage = ReadVersion1(image, slots, entries);
            if (damage is not null)
                return null;
            Create(path, slots, entries);
            return Open(path, slots, out entries, out damage);
        }
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
        Fill(new(buffer, SectorBytes), group, second ? 1 : 0, sequences[group] + 1, slots);
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

    private static string? CheckHeader(byte[] image, int slots, out int version)
    {
        version = 0;
        if (image.Length < SectorBytes || !image.AsSpan().StartsWith(HeaderMagic)
            || BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(ChecksumOffset)) != Crc32C.Compute(image.AsSpan(0, ChecksumOffset)))
            return "the header of the activity log is damaged";
        version = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(8));
        if (version > Version)
            throw new StorageException(StorageFault.NewerVersion, $"The activity log has version {version}; this pollux-host knows versions up to {Version}. Install the newer one again, or let the module be resynced in full.");
        return version < 1 ? $"the activity log has version {version}, which there never was"
            : BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(12)) != slots || BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(16)) != ActivityLog.ExtentBytes
                || image.Length != SectorBytes * (1 + 2 * (slots / SlotsPerGroup))
            ? "the activity log has another size than its header says"
            : null;
    }

    private string? Load(byte[] image, int group, List<(ulong Object, long Extent)[]> entries)
    {
        ReadOnlySpan<byte> first = Copy(image, group, 0), second = Copy(image, group, 1);
        if (ActivityLogSector.Choose(first, second, group, out newestIsSecond[group], out sequences[group]) is { } damage)
            return damage;
        var slots = new (ulong, long)[SlotsPerGroup];
        for (var slot = 0; slot < SlotsPerGroup; slot++)
            slots[slot] = ActivityLogSector.Get(newestIsSecond[group] ? second : first, slot);
        entries.Add(slots);
        return null;
    }

    private static string? ReadVersion1(byte[] image, int slots, List<(ulong Object, long Extent)[]> entries)
    {
        for (var group = 0; group < slots / SlotsPerGroup; group++)
        {
            ReadOnlySpan<byte> first = Copy(image, group, 0), second = Copy(image, group, 1);
            if (ActivityLogSectorVersion1.Choose(first, second, group, out var newestIsSecond) is { } damage)
                return damage;
            var read = new (ulong, long)[SlotsPerGroup];
            for (var slot = 0; slot < SlotsPerGroup; slot++)
                read[slot] = ActivityLogSectorVersion1.Get(newestIsSecond ? second : first, slot);
            entries.Add(read);
        }
        return null;
    }

    private static ReadOnlySpan<byte> Copy(byte[] image, int group, int copy) => image.AsSpan(SectorBytes * (1 + 2 * group + copy), SectorBytes);

    private static void Fill(Span<byte> sector, int group, int copy, ulong sequence, ReadOnlySpan<(ulong Object, long Extent)> slots)
    {
        sector.Clear();
        for (var slot = 0; slot < slots.Length; slot++)
            ActivityLogSector.Put(sector, slot, slots[slot].Object, slots[slot].Extent);
        ActivityLogSector.Seal(sector, group, copy, sequence);
    }
}
