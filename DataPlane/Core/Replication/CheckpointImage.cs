using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>Which part of an unfinished full resync a host has; see <see cref="ResyncClaim"/>.</summary>
public enum ResyncPart : byte
{
    None,

    /// <summary>The marks of this host hold everything in which the target may differ since the resync towards that base made the trees equal.</summary>
    Source,

    /// <summary>This copy changes only by the sessions of the resync towards that base since the source's marks were complete.</summary>
    Target,
}

/// <summary>A full resync that was cut off goes on by marks if both hosts claim the same base: the source that its marks are complete, the
/// target that nothing else has changed it since.</summary>
public readonly record struct ResyncClaim(ResyncPart Part, Guid Base)
{
    public static readonly ResyncClaim None;
}

/// <summary>The durable part of a module's dirty marks that is not left to the activity log, as bytes.</summary>
/// <remarks>
/// <code>
///   version 2:  "PLXDIRT\0", u32 version, u32 flags, u64 count, 16 bytes base of a resync, count × {u64 object, i64 offset, i64 length}, u32 CRC-32C
///   version 1:  the same without the base
///   flags:      1: everything may differ;  2: claim of a resync's source;  4: claim of a resync's target
/// </code>
/// Little endian; the checksum covers all bytes before it. The length of an object that differs as a whole is 2^63-1.
/// The file is replaced as a whole, so a crash leaves the old or the new state.
/// </remarks>
/// <param name="Damage">What is wrong with the bytes, or null.</param>
/// <param name="NewerVersion">Not 0: a newer version of Pollux wrote it; it must be left as it is.</param>
public sealed record CheckpointImage(ObjectRange[] Ranges, bool EverythingMayDiffer, ResyncClaim Claim, string? Damage, int NewerVersion)
{
    /// <summary>A million ranges are 24 MB, written in 0.1 s. Beyond it each object's ranges are stored as one that covers them.</summary>
    public const int RangesMax = 1_000_000;

    public const int Version = 2;

    private const int HeaderBytesVersion1 = 24;
    private const int HeaderBytes = 40;
    private const int ChecksumBytes = 4;
    private const uint EverythingFlag = 1;
    private const uint SourceFlag = 2;
    private const uint TargetFlag = 4;

    private static ReadOnlySpan<byte> Magic => "PLXDIRT\0"u8;

    public static byte[] Write(IReadOnlyCollection<ObjectRange> ranges, bool everythingMayDiffer, ResyncClaim claim, int rangesMax = RangesMax)
    {
        if (ranges.Count > rangesMax)
            ranges = [.. ranges.GroupBy(static range => range.Object).Select(Cover)];
        var image = new byte[HeaderBytes + (long)ranges.Count * ObjectRange.EncodedBytes + ChecksumBytes];
        Magic.CopyTo(image);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(8), Version);
        var flags = (everythingMayDiffer ? EverythingFlag : 0) | (claim.Part == ResyncPart.Source ? SourceFlag : 0) | (claim.Part == ResyncPart.Target ? TargetFlag : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(12), flags);
        BinaryPrimitives.WriteInt64LittleEndian(image.AsSpan(16), ranges.Count);
        new WireWriter(image.AsSpan(24)).Guid(claim.Base);
        var position = HeaderBytes;
        foreach (var range in ranges)
        {
            range.Write(image.AsSpan(position));
            position += ObjectRange.EncodedBytes;
        }
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(position), Crc32C.Compute(image.AsSpan(0, position)));
        return image;
    }

    /// <summary>Reads a checkpoint; one that is damaged means that everything may differ. Never throws, whatever the bytes are.</summary>
    public static CheckpointImage Read(ReadOnlySpan<byte> image)
    {
        if (image.Length < HeaderBytesVersion1 + ChecksumBytes || !image.StartsWith(Magic)
            || Crc32C.Compute(image[..^ChecksumBytes]) != BinaryPrimitives.ReadUInt32LittleEndian(image[^ChecksumBytes..]))
            return Damaged("the checkpoint of the dirty marks is damaged");
        var version = BinaryPrimitives.ReadInt32LittleEndian(image[8..]);
        if (version > Version)
            return new([], true, ResyncClaim.None, null, version);
        var headerBytes = version == 1 ? HeaderBytesVersion1 : HeaderBytes;
        var count = BinaryPrimitives.ReadInt64LittleEndian(image[16..]);
        var rangesBytes = image.Length - headerBytes - ChecksumBytes;
        if (rangesBytes < 0 || rangesBytes % ObjectRange.EncodedBytes != 0 || count != rangesBytes / ObjectRange.EncodedBytes)
            return Damaged("the checkpoint of the dirty marks has another length than its header says");
        var flags = BinaryPrimitives.ReadUInt32LittleEndian(image[12..]);
        var claim = version == 1 ? ResyncClaim.None : ClaimOf(flags, image[24..]);
        var ranges = new ObjectRange[count];
        for (var i = 0; i < ranges.Length; i++)
        {
            if (!ObjectRange.TryRead(image[(headerBytes + i * ObjectRange.EncodedBytes)..], out ranges[i]))
                return Damaged("the checkpoint of the dirty marks holds an impossible range");
        }
        return new(ranges, (flags & EverythingFlag) != 0, claim, null, 0);
    }

    /// <summary>As if there were none: everything may differ.</summary>
    public static CheckpointImage Damaged(string how) => new([], true, ResyncClaim.None, how, 0);

    private static ResyncClaim ClaimOf(uint flags, ReadOnlySpan<byte> name)
    {
        var part = (flags & SourceFlag) != 0 ? ResyncPart.Source : (flags & TargetFlag) != 0 ? ResyncPart.Target : ResyncPart.None;
        return part == ResyncPart.None ? ResyncClaim.None : new(part, new WireReader(name).Guid());
    }

    private static ObjectRange Cover(IGrouping<ulong, ObjectRange> ranges)
    {
        if (ranges.Any(static range => range.IsWhole))
            return ObjectRange.Whole(ranges.Key);
        var start = ranges.Min(static range => range.OffsetBytes);
        return new(ranges.Key, start, ranges.Max(static range => range.EndBytes) - start);
    }
}
