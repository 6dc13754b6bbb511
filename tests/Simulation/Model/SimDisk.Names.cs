using System.Collections.Immutable;

namespace Pollux.Tests.Simulation.Model;

/// <summary>A name of an object on a <see cref="SimDisk"/>: names are short texts there.</summary>
internal readonly record struct SimLinkName(ulong Parent, string Name);

/// <summary>Everything of an object but its content. Never changed in place.</summary>
internal sealed record SimNode(ulong Object, uint Mode)
{
    public const uint Directory = 0x41ED;

    public const uint Regular = 0x81A4;

    public static readonly ImmutableSortedSet<SimLinkName> NoLinks = ImmutableSortedSet.Create<SimLinkName>(LinkOrder.Instance);

    public uint Uid { get; init; }

    public uint Gid { get; init; }

    public long AccessTimeNs { get; init; }

    public long ModifyTimeNs { get; init; }

    public ImmutableSortedSet<SimLinkName> Links { get; init; } = NoLinks;

    /// <summary>An object that a target of a resync has made: its whole content must come.</summary>
    public bool AwaitsContent { get; init; }

    private sealed class LinkOrder : IComparer<SimLinkName>
    {
        public static readonly LinkOrder Instance = new();

        public int Compare(SimLinkName x, SimLinkName y) =>
            x.Parent != y.Parent ? x.Parent.CompareTo(y.Parent) : string.CompareOrdinal(x.Name, y.Name);
    }
}

// The namespace: one immutable value for each change since the last flush, so that a loss of power can keep any prefix.
internal sealed partial class SimDisk
{
    private readonly List<(long Version, ImmutableSortedDictionary<ulong, SimNode> Names)> namesUnflushed = [];
    private ImmutableSortedDictionary<ulong, SimNode> namesStable = ImmutableSortedDictionary<ulong, SimNode>.Empty;

    public ImmutableSortedDictionary<ulong, SimNode> Names { get; private set; } = ImmutableSortedDictionary<ulong, SimNode>.Empty;

    /// <summary>Changes the namespace as a whole; objects that are no longer in it lose their content.</summary>
    public void SetNames(ImmutableSortedDictionary<ulong, SimNode> names)
    {
        if (ReferenceEquals(names, Names))
            return;
        foreach (var obj in names.Keys)
        {
            if (!Names.ContainsKey(obj))
                files[obj] = new SimFile(obj, Touched);
        }
        ShapeVersion++;
        Names = names;
        namesUnflushed.Add((++version, names));
    }

    /// <summary>What a loss of power leaves at worst.</summary>
    public ImmutableSortedDictionary<ulong, SimNode> NamesStable => namesStable;

    /// <summary>One of these is what a loss of power leaves.</summary>
    public IEnumerable<ImmutableSortedDictionary<ulong, SimNode>> NamesAfterLoss => namesUnflushed.Select(static entry => entry.Names).Prepend(namesStable);

    public static SimNode? Lookup(ImmutableSortedDictionary<ulong, SimNode> names, ulong parent, string name) =>
        names.Values.FirstOrDefault(node => node.Links.Contains(new SimLinkName(parent, name)));

    private void FlushNames(long begun)
    {
        var last = namesUnflushed.FindLastIndex(entry => entry.Version <= begun);
        if (last < 0)
            return;
        namesStable = namesUnflushed[last].Names;
        namesUnflushed.RemoveRange(0, last + 1);
        // What is stably gone can not come back.
        foreach (var obj in files.Keys.Where(obj => !namesStable.ContainsKey(obj) && !Names.ContainsKey(obj) && namesUnflushed.TrueForAll(entry => !entry.Names.ContainsKey(obj))).ToList())
            files.Remove(obj);
    }

    private void LoseNames(Choose choose)
    {
        var chosen = choose(1 + namesUnflushed.Count);
        Names = namesStable = chosen == 0 ? namesStable : namesUnflushed[chosen - 1].Names;
        namesUnflushed.Clear();
        foreach (var obj in files.Keys.Where(obj => !Names.ContainsKey(obj)).ToList())
            files.Remove(obj);
    }
}
