using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>What one copy of a group's sector is.</summary>
public enum SectorState
{
    /// <summary>One write, complete.</summary>
    Whole,

    /// <summary>Pieces of several writes, each sound: a write that a loss of power cut off.</summary>
    Torn,

    /// <summary>A piece is not what was written there.</summary>
    Damaged,
}

/// <summary>A sector of the activity log: the slots of one group, written as one, judged in pieces of 512 bytes.</summary>
/// <remarks>
/// <code>
///   4 KiB = 8 pieces of 512 bytes, each:
///     u32 "PAL2", u32 group, u32 copy (0 or 1), u32 piece, u64 sequence, 8 bytes zero, 16 × {u64 object (0: free), i64 extent (-1: all)}, …, u32 CRC-32C
/// </code>
/// <para>Little endian; the checksum covers all bytes of its piece before it. 512 bytes is the least that a disk writes whole, so a write that
/// was cut off leaves sound pieces of different sequences; anything else that is wrong was not done by a crash. The difference matters:
/// after a torn write the other copy holds all that was promised, after damage nothing of the two can be trusted.</para>
/// <para>Every write takes a sequence greater than any in either copy, torn ones included: two attempts never look like one.</para>
/// </remarks>
public static class ActivityLogSector
{
    public const int Bytes = 4096;
    public const int Slots = 128;

    private const int PieceBytes = 512;
    private const int Pieces = Bytes / PieceBytes;
    private const int SlotsPerPiece = Slots / Pieces;
    private const int EntriesOffset = 32;
    private const int EntryBytes = 16;
    private const int ChecksumOffset = PieceBytes - 4;
    private const uint Magic = 0x324C4150;

    /// <summary>Puts a slot's entry; <see cref="Seal"/> follows when all are put. Free slots are zero.</summary>
    public static void Put(Span<byte> sector, int slot, ulong obj, long extent)
    {
        var entry = sector.Slice(OffsetOf(slot), EntryBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(entry, obj);
        BinaryPrimitives.WriteInt64LittleEndian(entry[8..], extent);
    }

    public static (ulong Object, long Extent) Get(ReadOnlySpan<byte> sector, int slot)
    {
        var entry = sector.Slice(OffsetOf(slot), EntryBytes);
        return (BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadInt64LittleEndian(entry[8..]));
    }

    public static void Seal(Span<byte> sector, int group, int copy, ulong sequence)
    {
        for (var piece = 0; piece < Pieces; piece++)
        {
            var bytes = sector.Slice(piece * PieceBytes, PieceBytes);
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, Magic);
            BinaryPrimitives.WriteInt32LittleEndian(bytes[4..], group);
            BinaryPrimitives.WriteInt32LittleEndian(bytes[8..], copy);
            BinaryPrimitives.WriteInt32LittleEndian(bytes[12..], piece);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[16..], sequence);
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[ChecksumOffset..], Crc32C.Compute(bytes[..ChecksumOffset]));
        }
    }

    /// <summary>Chooses between the two copies of a group.</summary>
    /// <param name="newestIsSecond">Which copy holds all that was promised.</param>
    /// <param name="sequenceMax">The greatest sequence in either copy: the next write takes a greater one.</param>
    /// <returns>Null, or why neither can be trusted.</returns>
    public static string? Choose(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, int group, out bool newestIsSecond, out ulong sequenceMax)
    {
        var one = Judge(first, group, 0, out var firstMin, out var firstMax);
        var two = Judge(second, group, 1, out var secondMin, out var secondMax);
        newestIsSecond = one == SectorState.Torn || (two == SectorState.Whole && secondMax > firstMax);
        sequenceMax = Math.Max(firstMax, secondMax);
        if (one == SectorState.Damaged || two == SectorState.Damaged)
            return $"a copy of group {group} of the activity log is damaged";
        // The copy that is being overwritten is the older one, and what overwrites it is newer than both: its pieces lie around the other's sequence.
        var sound = (one, two) switch
        {
            (SectorState.Whole, SectorState.Whole) => firstMax != secondMax,
            (SectorState.Torn, SectorState.Whole) => firstMax > secondMax && !Holds(first, secondMax),
            (SectorState.Whole, SectorState.Torn) => secondMax > firstMax && !Holds(second, firstMax),
            _ => false,
        };
        return sound ? null : $"the copies of group {group} of the activity log do not belong together (sequences {firstMin} to {firstMax} and {secondMin} to {secondMax})";
    }

    /// <summary>What a copy is, by its pieces.</summary>
    public static SectorState Judge(ReadOnlySpan<byte> sector, int group, int copy, out ulong sequenceMin, out ulong sequenceMax)
    {
        (sequenceMin, sequenceMax) = (ulong.MaxValue, 0);
        for (var piece = 0; piece < Pieces; piece++)
        {
            var bytes = sector.Slice(piece * PieceBytes, PieceBytes);
            if (BinaryPrimitives.ReadUInt32LittleEndian(bytes[ChecksumOffset..]) != Crc32C.Compute(bytes[..ChecksumOffset])
                || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != Magic || BinaryPrimitives.ReadInt32LittleEndian(bytes[4..]) != group
                || BinaryPrimitives.ReadInt32LittleEndian(bytes[8..]) != copy || BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]) != piece)
                return SectorState.Damaged;
            var sequence = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
            (sequenceMin, sequenceMax) = (Math.Min(sequenceMin, sequence), Math.Max(sequenceMax, sequence));
        }
        return sequenceMin == sequenceMax ? SectorState.Whole : SectorState.Torn;
    }

    private static bool Holds(ReadOnlySpan<byte> sector, ulong sequence)
    {
        for (var piece = 0; piece < Pieces; piece++)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(sector[(piece * PieceBytes + 16)..]) == sequence)
                return true;
        }
        return false;
    }

    private static int OffsetOf(int slot) => slot / SlotsPerPiece * PieceBytes + EntriesOffset + slot % SlotsPerPiece * EntryBytes;
}

/// <summary>Sectors of version 1 of the activity log, which have one checksum: a torn one cannot be told from a damaged one, so neither is
/// trusted.</summary>
/// <remarks>
/// <code>
///   u32 "PAL1", u32 group, u64 sequence, 16 bytes zero, 128 × {u64 object (0: free), i64 extent (-1: all)}, …, u32 CRC-32C
/// </code>
/// </remarks>
public static class ActivityLogSectorVersion1
{
    private const int EntriesOffset = 32;
    private const int EntryBytes = 16;
    private const int ChecksumOffset = ActivityLogSector.Bytes - 4;
    private const uint Magic = 0x314C4150;

    /// <returns>Null, or why neither copy can be trusted.</returns>
    public static string? Choose(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, int group, out bool newestIsSecond)
    {
        newestIsSecond = SequenceOf(second) > SequenceOf(first);
        return IsSound(first, group) && IsSound(second, group) ? null : $"a copy of group {group} of the activity log is damaged";
    }

    public static (ulong Object, long Extent) Get(ReadOnlySpan<byte> sector, int slot)
    {
        var entry = sector[(EntriesOffset + slot * EntryBytes)..];
        return (BinaryPrimitives.ReadUInt64LittleEndian(entry), BinaryPrimitives.ReadInt64LittleEndian(entry[8..]));
    }

    private static bool IsSound(ReadOnlySpan<byte> sector, int group) =>
        BinaryPrimitives.ReadUInt32LittleEndian(sector[ChecksumOffset..]) == Crc32C.Compute(sector[..ChecksumOffset])
        && BinaryPrimitives.ReadUInt32LittleEndian(sector) == Magic && BinaryPrimitives.ReadInt32LittleEndian(sector[4..]) == group;

    private static ulong SequenceOf(ReadOnlySpan<byte> sector) => BinaryPrimitives.ReadUInt64LittleEndian(sector[8..]);
}
