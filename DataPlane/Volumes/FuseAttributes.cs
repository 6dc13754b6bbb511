using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <summary>Attributes of objects in the kernel's form.</summary>
internal static class FuseAttributes
{
    /// <summary>How long the kernel may believe names and attributes, seconds. Every change of a serving module goes through its mount, so
    /// the kernel itself invalidates what it changes; the limit only bounds the effect of a defect.</summary>
    public const uint ValidSeconds = 60;

    private const long NsPerSecond = 1_000_000_000;

    public static FuseAttr Attr(in ObjectAttributes from)
    {
        var (access, accessNs) = Split(from.AccessTimeNs);
        var (modify, modifyNs) = Split(from.ModifyTimeNs);
        var (change, changeNs) = Split(from.ChangeTimeNs);
        return new FuseAttr
        {
            Inode = from.Object,
            Size = (ulong)from.SizeBytes,
            Blocks = (ulong)from.Blocks512,
            AccessTime = access,
            ModifyTime = modify,
            ChangeTime = change,
            AccessTimeNs = accessNs,
            ModifyTimeNs = modifyNs,
            ChangeTimeNs = changeNs,
            Mode = from.Mode,
            Links = from.Links,
            Uid = from.Uid,
            Gid = from.Gid,
            DeviceNumber = from.DeviceNumber,
            BlockSize = from.BlockSizeBytes,
        };
    }

    public static FuseEntryOut Entry(in ObjectAttributes from) => new()
    {
        NodeId = from.Object,
        EntryValidSeconds = ValidSeconds,
        AttrValidSeconds = ValidSeconds,
        Attr = Attr(from),
    };

    public static FuseAttrOut Out(in ObjectAttributes from) => new() { AttrValidSeconds = ValidSeconds, Attr = Attr(from) };

    /// <summary>Seconds and nanoseconds of the protocol as nanoseconds since 1970; the first or the last that can be told (years 1677 and
    /// 2262) for those beyond, as file systems do with their own limits.</summary>
    public static long TotalNs(long seconds, uint ns) =>
        (long)Int128.Clamp((Int128)seconds * NsPerSecond + ns, long.MinValue, long.MaxValue);

    /// <summary>Times before 1970 have negative seconds and positive nanoseconds.</summary>
    private static (long Seconds, uint Ns) Split(long totalNs)
    {
        var (seconds, ns) = Math.DivRem(totalNs, NsPerSecond);
        return ns < 0 ? (seconds - 1, (uint)(ns + NsPerSecond)) : (seconds, (uint)ns);
    }
}
