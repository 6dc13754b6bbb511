using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

/// <summary>A piece in which two disks differ. A length of 0: not content but name, owner, time or size of the object.</summary>
/// <param name="OnFirst">A sector's bytes, or a text.</param>
/// <param name="OnSecond">The same of the other.</param>
internal readonly record struct Difference(ulong Object, long OffsetBytes, long LengthBytes, object? OnFirst, object? OnSecond)
{
    public string First => Differences.Describe(OnFirst);

    public string Second => Differences.Describe(OnSecond);

    public bool IsIn(ObjectRange marked) => marked.Object == Object && marked.OffsetBytes <= OffsetBytes && OffsetBytes + LengthBytes <= marked.EndBytes;

    public override string ToString() => LengthBytes > 0 ? $"{Object}+{OffsetBytes}" : $"object {Object}";
}

internal static class Differences
{
    public static IEnumerable<Difference> Of(SimDisk first, SimDisk second)
    {
        foreach (var obj in first.Names.Keys.Union(second.Names.Keys))
        {
            // What has lost its names is private to the host on which somebody still uses it.
            if (IsNameless(first, obj) && IsNameless(second, obj))
                continue;
            var (a, b) = (first.Names.GetValueOrDefault(obj), second.Names.GetValueOrDefault(obj));
            if (!Equal(a, b))
            {
                yield return new Difference(obj, 0, 0, Describe(a), Describe(b));
                continue;
            }

            var (x, y) = (first.Find(obj)!, second.Find(obj)!);
            if (x.SizeBytes != y.SizeBytes)
                yield return new Difference(obj, 0, 0, $"{x.SizeBytes} bytes", $"{y.SizeBytes} bytes");
            foreach (var (sector, content) in x.Written)
            {
                if (!Equal(content, y.Content(sector)))
                    yield return new Difference(obj, sector * SimDisk.SectorBytes, SimDisk.SectorBytes, content, y.Content(sector));
            }

            foreach (var (sector, content) in y.Written)
            {
                if (x.Content(sector) is null && !Equal(null, content))
                    yield return new Difference(obj, sector * SimDisk.SectorBytes, SimDisk.SectorBytes, x.Content(sector), y.Content(sector));
            }
        }
    }

    /// <summary>The difference in one sector of an object that both have under the same names; null if there is none.</summary>
    public static Difference? At(SimDisk first, SimDisk second, ulong obj, long sector)
    {
        if ((IsNameless(first, obj) && IsNameless(second, obj)) || !Equal(first.Names.GetValueOrDefault(obj), second.Names.GetValueOrDefault(obj)))
            return null;
        var (a, b) = (first.Find(obj)!.Content(sector), second.Find(obj)!.Content(sector));
        return Equal(a, b) ? null : new Difference(obj, sector * SimDisk.SectorBytes, SimDisk.SectorBytes, a, b);
    }

    private static bool IsNameless(SimDisk disk, ulong obj) =>
        obj != Layout.Root && disk.Names.GetValueOrDefault(obj)?.Links is not { Count: > 0 };

    private static bool Equal(SimNode? a, SimNode? b) =>
        a is not null && b is not null && (a.Mode, a.Uid, a.Gid, a.ModifyTimeNs) == (b.Mode, b.Uid, b.Gid, b.ModifyTimeNs) && a.Links.SetEquals(b.Links);

    private static bool Equal(byte[]? a, byte[]? b) =>
        ReferenceEquals(a, b) || (a ?? Zeros).AsSpan().SequenceEqual(b ?? Zeros);

    private static readonly byte[] Zeros = new byte[SimDisk.SectorBytes];

    private static string Describe(SimNode? node) => node is null
        ? "none"
        : $"{node.Mode} {node.Uid} {node.Gid} {node.ModifyTimeNs} {string.Join(" ", node.Links.Select(link => $"{link.Parent}/{link.Name}"))}";

    public static string Describe(object? content) => content switch
    {
        null => "a hole",
        byte[] bytes => string.Join(" ", Enumerable.Range(0, SimDisk.SectorBytes / Cell.Bytes).Select(i => BitConverter.ToInt64(bytes, i * Cell.Bytes))),
        _ => $"{content}",
    };
}
