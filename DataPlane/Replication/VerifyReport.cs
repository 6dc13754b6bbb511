using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>A verify with the differences as people look for them.</summary>
/// <param name="Findings">The first ones, neighbouring ranges as one, <see cref="FindingsMax"/> at most.</param>
/// <param name="MoreFindings">How many there are beyond; what was only counted as bytes is not in it.</param>
public sealed record VerifyReport(VerifyStatus Status, IReadOnlyList<VerifyFinding> Findings, int MoreFindings)
{
    public const int FindingsMax = 20;

    internal static VerifyReport Of(in VerifyStatus status, ObjectStore store)
    {
        var ranges = Join(status.Different ?? []);
        var entries = status.DifferentEntries ?? [];
        var findings = entries.Take(FindingsMax).Select(entry => new VerifyFinding(NameOf(entry.Object), null, null, Describe(entry.Aspects)))
            .Concat(ranges.Take(FindingsMax - Math.Min(FindingsMax, entries.Count)).Select(range => new VerifyFinding(NameOf(range.Object), range.OffsetBytes, range.LengthBytes, "content")))
            .ToList();
        return new VerifyReport(status with { Different = [], DifferentEntries = [] }, findings, entries.Count + ranges.Count - findings.Count);

        string NameOf(ulong obj) => store.PathOf(obj) ?? $"object {obj:x}";
    }

    internal static List<ObjectRange> Join(IEnumerable<ObjectRange> found)
    {
        var joined = new List<ObjectRange>();
        foreach (var range in found.OrderBy(static range => range.Object).ThenBy(static range => range.OffsetBytes))
        {
            if (joined is [.., var last] && last.Object == range.Object && last.EndBytes >= range.OffsetBytes)
                joined[^1] = last with { LengthBytes = Math.Max(last.EndBytes, range.EndBytes) - last.OffsetBytes };
            else
                joined.Add(range);
        }
        return joined;
    }

    private static string Describe(EntryAspects aspects) => string.Join(", ", Enum.GetValues<EntryAspects>().Where(aspect => aspect != 0 && aspects.HasFlag(aspect)).Select(static aspect => aspect switch
    {
        EntryAspects.Missing => "missing on the secondary",
        EntryAspects.Names => "names",
        EntryAspects.Target => "link target",
        EntryAspects.Xattrs => "extended attributes",
        EntryAspects.Children => "directory entries",
        _ => aspect.ToString().ToLowerInvariant(),
    }));
}

/// <param name="Path">In the module's directory.</param>
/// <param name="What">In words: content, mode, owner, …</param>
public readonly record struct VerifyFinding(string Path, long? OffsetBytes, long? LengthBytes, string What);
