using System.Buffers.Binary;
using System.Numerics;

namespace Pollux.Lab.Guest;

/// <summary>The host's side of the record writer (recwriter.c has the layout): reads a disk file and says which records
/// it holds. Record n lies at slot n mod slots and replaces record n - slots.</summary>
public static class RecordFile
{
    public const int RecordBytes = 4096;

    private const ulong Magic = 0x44524345524c5850;
    private const int ChecksumOffset = RecordBytes - 4;

    /// <summary>Reads all slots of a raw disk file.</summary>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static RecordScan Scan(string path, int slots)
    {
        var numbers = new ulong[slots];
        var boots = new ulong[slots];
        var bad = new List<int>();
        var record = new byte[RecordBytes];
        using var file = File.Open(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        for (var slot = 0; slot < slots; slot++)
        {
            file.Position = (long)slot * RecordBytes;
            if (file.ReadAtLeast(record, RecordBytes, throwOnEndOfStream: false) < RecordBytes)
            {
                bad.Add(slot);
                continue;
            }
            if (Field(record, 0) == 0)
                continue;
            if (IsGood(record, slot, slots))
                (numbers[slot], boots[slot]) = (Field(record, 1), Field(record, 3));
            else
                bad.Add(slot);
        }
        return new RecordScan(slots, numbers, boots, bad);
    }

    private static bool IsGood(byte[] record, int slot, int slots) =>
        Field(record, 0) == Magic
        && Field(record, 2) == (ulong)slot
        && Field(record, 1) % (ulong)slots == (ulong)slot
        && BinaryPrimitives.ReadUInt32LittleEndian(record.AsSpan(ChecksumOffset)) == Checksum(record.AsSpan(0, ChecksumOffset));

    private static ulong Field(byte[] record, int index) => BinaryPrimitives.ReadUInt64LittleEndian(record.AsSpan(index * 8));

    private static uint Checksum(ReadOnlySpan<byte> content)
    {
        var crc = ~0u;
        while (content.Length >= 8)
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(content));
            content = content[8..];
        }
        foreach (var one in content)
            crc = BitOperations.Crc32C(crc, one);
        return ~crc;
    }
}
