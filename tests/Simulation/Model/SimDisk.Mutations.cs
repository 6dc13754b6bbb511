using System.Collections.Immutable;
using System.Text;
using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

// Mutations and manifests, as far as a simulated guest and a resync use them.
internal sealed partial class SimDisk
{
    private const uint PunchHole = 2; // linux/falloc.h

    public static byte[] NameBytes(string name) => Encoding.UTF8.GetBytes(name);

    /// <param name="orphan">An object that lost its last name; 0 if none.</param>
    /// <returns>A Linux error number.</returns>
    public int Apply(Mutation mutation, out ObjectAttributes attributes, out ulong orphan)
    {
        (attributes, orphan) = (default, 0);
        if (WriteErrno != 0)
            return WriteErrno;
        var obj = mutation.Object;
        var errno = mutation.Kind switch
        {
            MutationKind.CreateFile => Create(mutation),
            MutationKind.Unlink => Unlink(mutation, out orphan),
            MutationKind.Rename => Rename(mutation, out obj, out orphan),
            MutationKind.SetAttributes => SetAttributes(mutation),
            MutationKind.Allocate when (mutation.Flags & PunchHole) != 0 => Punch(obj, mutation.OffsetBytes, mutation.LengthBytes),
            MutationKind.Release => Release(obj),
            _ => Linux.EINVAL,
        };
        if (errno == 0)
            _ = Stat(obj, out attributes);
        return errno;
    }

    public int Stat(ulong obj, out ObjectAttributes attributes)
    {
        attributes = default;
        if (!Names.TryGetValue(obj, out var node))
            return Linux.ESTALE;
        attributes = new ObjectAttributes(
            obj, node.Mode, (uint)node.Links.Count, node.Uid, node.Gid, 0, files[obj].SizeBytes, 0, node.AccessTimeNs, node.ModifyTimeNs, 0, PageBytes);
        return 0;
    }

    /// <summary>What was unlinked and still in use when the copy was last open goes when it is opened.</summary>
    public void DropNameless() => SetNames(Names.RemoveRange(Names.Values.Where(node => node.Object != Layout.Root && node.Links.Count == 0).Select(node => node.Object)));

    public IReadOnlyList<ManifestEntry> Manifest() =>
    [
        .. Names.Values.Select(node => new ManifestEntry(node.Object, node.Mode)
        {
            Uid = node.Uid, Gid = node.Gid, SizeBytes = files[node.Object].SizeBytes, AccessTimeNs = node.AccessTimeNs, ModifyTimeNs = node.ModifyTimeNs,
            Links = [.. node.Links.Select(link => new ManifestLink(link.Parent, NameBytes(link.Name)))],
        }),
    ];

    /// <summary>The first half of making the tree that of a manifest: what is new waits for its content.</summary>
    /// <returns>The files that it has made.</returns>
    public IReadOnlyList<ulong> ApplyManifestNames(IReadOnlyList<ManifestEntry> entries)
    {
        var before = Names;
        SetNames(entries.ToImmutableSortedDictionary(entry => entry.Object, entry => new SimNode(entry.Object, entry.Mode)
        {
            Uid = entry.Uid, Gid = entry.Gid, AccessTimeNs = entry.AccessTimeNs, ModifyTimeNs = entry.ModifyTimeNs,
            Links = SimNode.NoLinks.Union(entry.Links.Select(link => new SimLinkName(link.Parent, Encoding.UTF8.GetString(link.Name)))),
            AwaitsContent = entry.IsRegular && (!before.TryGetValue(entry.Object, out var known) || known.AwaitsContent),
        }));
        return [.. entries.Where(entry => entry.IsRegular && !before.ContainsKey(entry.Object)).Select(entry => entry.Object)];
    }

    /// <summary>The second half; what both did is stable.</summary>
    /// <returns>A Linux error number.</returns>
    public int ApplyManifestSizes(IReadOnlyList<ManifestEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.IsRegular && files[entry.Object].SizeBytes != entry.SizeBytes)
                SetSize(entry.Object, entry.SizeBytes);
        }

        return EndFlush(BeginFlush(), 0);
    }

    public IReadOnlyList<ulong> AwaitingContent() => [.. Names.Values.Where(node => node.AwaitsContent).Select(node => node.Object)];

    public void SettleContent()
    {
        SetNames(Names.SetItems(Names.Values.Where(node => node.AwaitsContent).Select(node => KeyValuePair.Create(node.Object, node with { AwaitsContent = false }))));
        FlushNames(version);
    }

    private int Create(Mutation mutation)
    {
        var link = new SimLinkName(mutation.Parent, Encoding.UTF8.GetString(mutation.Name));
        if (!Names.ContainsKey(mutation.Parent))
            return Linux.ENOENT;
        if (Names.ContainsKey(mutation.Object) || Lookup(Names, link.Parent, link.Name) is not null)
            return Linux.EEXIST;
        SetNames(Names.SetItem(mutation.Object, new SimNode(mutation.Object, mutation.Mode) { Uid = mutation.Uid, Gid = mutation.Gid, Links = SimNode.NoLinks.Add(link) }));
        return 0;
    }

    private int Unlink(Mutation mutation, out ulong orphan)
    {
        orphan = 0;
        var name = Encoding.UTF8.GetString(mutation.Name);
        if (Lookup(Names, mutation.Parent, name) is not { } node)
            return Linux.ENOENT;
        if (mutation.Object != 0 && mutation.Object != node.Object)
            return Linux.ESTALE;
        SetNames(Without(Names, node, new SimLinkName(mutation.Parent, name), ref orphan));
        return 0;
    }

    private int Rename(Mutation mutation, out ulong obj, out ulong orphan)
    {
        (obj, orphan) = (0, 0);
        var from = new SimLinkName(mutation.Parent, Encoding.UTF8.GetString(mutation.Name));
        var to = new SimLinkName(mutation.NewParent, Encoding.UTF8.GetString(mutation.NewName));
        if (Lookup(Names, from.Parent, from.Name) is not { } node)
            return Linux.ENOENT;
        if (mutation.Object != 0 && mutation.Object != node.Object)
            return Linux.ESTALE;
        obj = node.Object;
        var names = Names;
        if (Lookup(names, to.Parent, to.Name) is { } replaced)
            names = Without(names, replaced, to, ref orphan);
        SetNames(names.SetItem(obj, node with { Links = node.Links.Remove(from).Add(to) }));
        return 0;
    }

    private static ImmutableSortedDictionary<ulong, SimNode> Without(
        ImmutableSortedDictionary<ulong, SimNode> names, SimNode node, SimLinkName link, ref ulong orphan)
    {
        var links = node.Links.Remove(link);
        if (links.Count == 0)
            orphan = node.Object;
        return names.SetItem(node.Object, node with { Links = links });
    }

    private int SetAttributes(Mutation mutation)
    {
        if (!Names.TryGetValue(mutation.Object, out var node))
            return Linux.ESTALE;
        if (mutation.Mask.HasFlag(AttributeMask.Size))
            SetSize(mutation.Object, mutation.SizeBytes);
        if (mutation.Mask.HasFlag(AttributeMask.ModifyTime))
            SetNames(Names.SetItem(node.Object, node with { ModifyTimeNs = mutation.ModifyTimeNs }));
        return 0;
    }

    private int Release(ulong obj)
    {
        if (!Names.ContainsKey(obj))
            return Linux.ESTALE;
        SetNames(Names.Remove(obj));
        return 0;
    }
}
