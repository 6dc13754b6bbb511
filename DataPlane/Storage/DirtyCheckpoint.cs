using System.Buffers.Binary;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Core.Replication;

namespace Pollux.DataPlane.Storage;

/// <summary>The durable part of a module's dirty marks that is not left to the activity log.</summary>
/// <remarks>
/// <code>
///   "PLXDIRT\0", u32 version, u32 flags (1: everything may differ), u64 count, count × {u64 object, i64 offset, i64 length}, u32 CRC-32C
/// </code>
/// Little endian; the checksum covers all bytes before it. The length of an object that differs as a whole is 2^63-1.
/// The file is replaced as a whole, so a crash leaves the old or the new state.
/// </remarks>
public sealed record DirtyCheckpoint(IReadOnlyList<ObjectRange> Ranges, bool EverythingMayDiffer, string? Damage)
{
    /// <summary>A million ranges are 24 MB, written in 0.1 s. Beyond it each object's ranges are stored as one that covers them.</summary>
    public const int RangesMax = 1_000_000;

    internal const int Version = 1;
    private const int HeaderBytes = 24;
    private const int ChecksumBytes = 4;
    private const uint EverythingFlag = 1;

    private static ReadOnlySpan<byte> Magic => "PLXDIRT\0"u8;

    public static void Save(string path, IReadOnlyCollection<ObjectRange> ranges, bool everythingMayDiffer, int rangesMax = RangesMax)
    {
        if (ranges.Count > rangesMax)
            ranges = [.. ranges.GroupBy(r => r.Object).Select(Cover)];
        var image = new byte[HeaderBytes + (long)ranges.Count * ObjectRange.EncodedBytes + ChecksumBytes];
        Magic.CopyTo(image);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(8), Version);
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(12), everythingMayDiffer ? EverythingFlag : 0);
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(16), ranges.Count);
        var position = HeaderBytes;
        foreach (var range in ranges)
        {
            range.Write(image.AsSpan(position));
            position += ObjectRange.EncodedBytes;
        }
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(position), Crc32C.Compute(image.AsSpan(0, position)));
        DurableFile.Replace(path, image);
    }

    /// <summary>Reads the checkpoint; one that is missing or damaged means that everything may differ.</summary>
    /// <exception cref="StorageException">A newer version wrote it.</exception>
    public static DirtyCheckpoint Load(string path)
    {
        byte[] image;
        try
        {
            image = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return Damaged("there is no checkpoint of the dirty marks");
        }
        if (image.Length < HeaderBytes + ChecksumBytes || !image.AsSpan().StartsWith(Magic)
            || Crc32C.Compute(image.AsSpan(0, image.Length - ChecksumBytes)) != BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(image.Length - ChecksumBytes)))
            return Damaged("the checkpoint of the dirty marks is damaged");
        var version = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(8));
        if (version > Version)
            throw new StorageException(StorageFault.NewerVersion, $"The checkpoint of the dirty marks has version {version}; this pollux-host knows versions up to {Version}. Install the newer one again, or let the module be resynced in full.");
        if (version < 1)
            return Damaged($"the checkpoint of the dirty marks has version {version}, which there never was");
        var count = BinaryPrimitives.ReadInt64LittleEndian(image.AsSpan(16));
        if (Math.DivRem(image.Length - HeaderBytes - ChecksumBytes, ObjectRange.EncodedBytes) is var (whole, rest) && (count != whole || rest != 0))
            return Damaged("the checkpoint of the dirty marks has another length than its header says");
        var ranges = new ObjectRange[count];
        for (var i = 0; i < ranges.Length; i++)
        {
            if (!ObjectRange.TryRead(image.AsSpan(HeaderBytes + i * ObjectRange.EncodedBytes), out ranges[i]))
                return Damaged("the checkpoint of the dirty marks holds an impossible range");
        }
        return new(ranges, (BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(12)) & EverythingFlag) != 0, null);

        static DirtyCheckpoint Damaged(string how) => new([], true, how);
    }

    private static ObjectRange Cover(IGrouping<ulong, ObjectRange> ranges)
    {
        if (ranges.Any(r => r.IsWhole))
            return ObjectRange.Whole(ranges.Key);
        var start = ranges.Min(r => r.OffsetBytes);
        return new(ranges.Key, start, ranges.Max(r => r.EndBytes) - start);
    }
}
