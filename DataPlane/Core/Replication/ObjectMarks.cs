using System.Diagnostics.CodeAnalysis;

namespace Pollux.DataPlane.Core.Replication;

internal enum MarkKind
{
    Dirty,
    Written,
    Flushing,
}

/// <summary>The pages of one object by number, and in order for those who walk through them.</summary>
internal sealed class ObjectMarks
{
    private readonly Dictionary<long, MarkPage> pages = [];
    private readonly List<long> order = [];
    private MarkPage? latest;

    public ulong Object { get; set; }

    /// <summary>Everything is dirty, however long the object is; the dirty bits of the pages then say nothing more.</summary>
    public bool Whole { get; set; }

    /// <summary>Number of the flush that the flushing marks belong to; 0: none runs.</summary>
    public long Flush { get; set; }

    public long DirtyBlocks { get; set; }
    public long WrittenBlocks { get; set; }
    public long FlushingBlocks { get; set; }

    /// <summary>The run of blocks that are dirty and have no pages yet, whatever the pages say; empty if the two are equal.</summary>
    public long TailFrom { get; set; }
    public long TailEnd { get; set; }
    public long TailBlocks => TailEnd - TailFrom;

    public int PageCount => order.Count;
    public bool IsEmpty => !Whole && order.Count == 0 && TailBlocks == 0;

    public MarkPage this[int position] => pages[order[position]];

    public bool TryGet(long index, [NotNullWhen(true)] out MarkPage? page)
    {
        page = latest;
        if (page is not null && page.Index == index)
            return true;
        if (!pages.TryGetValue(index, out page))
            return false;
        latest = page;
        return true;
    }

    public void Add(MarkPage page)
    {
        pages.Add(page.Index, page);
        // Files mostly grow, so a new page mostly is the last one.
        if (order.Count == 0 || order[^1] < page.Index)
            order.Add(page.Index);
        else
            order.Insert(FirstAt(page.Index), page.Index);
        latest = page;
    }

    public void RemoveAt(int position)
    {
        pages.Remove(order[position]);
        order.RemoveAt(position);
        latest = null;
    }

    /// <summary>Position of the first page whose number is <paramref name="index"/> or greater.</summary>
    public int FirstAt(long index)
    {
        var position = order.BinarySearch(index);
        return position < 0 ? ~position : position;
    }
}
