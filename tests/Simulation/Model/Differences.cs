using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

/// <summary>A piece in which two disks differ. A length of 0: not content but name, owner, time or size of the object.</summary>
internal readonly record struct Difference(ulong Object, long OffsetBytes, long LengthBytes, string First, string Second)
{
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
                    yield return new Difference(obj, sector * SimDisk.SectorBytes, SimDisk.SectorBytes, Describe(content), Describe(y.Content(sector)));
            }

            foreach (var (sector, content) in y.Written)
            {
                if (x.Content(sector) is null && !Equal(null, content))
                    yield return new Difference(obj, sector * SimDisk.SectorBytes, SimDisk.SectorBytes, Describe(x.Content(sector)), Describe(y.Content(sector)));
            }
        }
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

    private static string Describe(byte[]? content) => content is null
        ? "a hole"
        : string.Join(" ", Enumerable.Range(0, SimDisk.SectorBytes / Cell.Bytes).Select(i => BitConverter.ToInt64(content, i * Cell.Bytes)));
}
