namespace Pollux.DataPlane.Core.Replication;

/// <summary>What flushes have confirmed on both hosts and nothing has shown yet that they told the truth.</summary>
/// <remarks>
/// <para>A file system that fails under a flush may call that flush done: ext4 whose journal is aborted while it makes newly written blocks
/// valid does. No later flush of it succeeds. So what a flush confirms counts as proven when another one, of the same object or of
/// everything, that began after that is confirmed too; until then a loss of the peer makes it dirty. This needs no word of the host that
/// has failed, which may never get to say it.</para>
/// <para>Bounded: a flush that finds no room here clears no marks. Nothing is allocated once the tables have grown.</para>
/// </remarks>
internal sealed class UnprovenFlushes
{
    /// <summary>Pages of 32 MiB, by object; some 300 bytes each. A flush of a resync (128 MiB) in scattered blocks has 2048 at most.</summary>
    public const int PagesMax = 4096;

    private const long PageBytes = (long)MarkPage.Blocks * DirtyMap.BlockBytes;

    /// <summary>The kind under which pages hold their blocks.</summary>
    private const MarkKind Kind = MarkKind.Flushing;

    private readonly Dictionary<ulong, Dictionary<long, Page>> objects = [];
    private readonly Stack<Dictionary<long, Page>> freeObjects = [];
    private readonly Stack<MarkPage> freePages = [];

    public int Pages { get; private set; }

    public IEnumerable<ObjectRange> Ranges => objects.SelectMany(static entry => entry.Value.SelectMany(page => Runs(entry.Key, page.Key, page.Value.Blocks)));

    /// <param name="flushed">Its flushing blocks.</param>
    /// <param name="flushLast">The newest flush that has begun: only a later one is a proof.</param>
    /// <returns>False: there is no room.</returns>
    public bool TryAdd(ulong obj, MarkPage flushed, long flushLast)
    {
        var known = objects.TryGetValue(obj, out var pages);
        Page page = default;
        if (!(known && pages!.TryGetValue(flushed.Index, out page)))
        {
            if (Pages == PagesMax)
                return false;
            Pages++;
            page = new(freePages.TryPop(out var reused) ? reused : new(), 0);
            if (!known)
                objects.Add(obj, pages = freeObjects.TryPop(out var table) ? table : []);
        }
        flushed.AddTo(page.Blocks, Kind);
        pages![flushed.Index] = page with { FlushLast = flushLast };
        return true;
    }

    /// <summary>A flush is confirmed by both hosts: what others had confirmed before it began is proven.</summary>
    /// <param name="obj">0: a flush of everything.</param>
    public void Proven(ulong obj, long flush)
    {
        if (obj != 0)
        {
            if (objects.TryGetValue(obj, out var pages))
                Proven(obj, pages, flush);
            return;
        }
        // Removal while enumerating is allowed by Dictionary; nothing else is.
        foreach (var (each, pages) in objects)
            Proven(each, pages, flush);
    }

    /// <summary>Whether any block of the range is confirmed and not proven.</summary>
    public bool Holds(in ObjectRange range)
    {
        if (!objects.TryGetValue(range.Object, out var pages))
            return false;
        if (range.IsWhole)
            return true;
        for (var index = range.OffsetBytes / PageBytes; index * PageBytes < range.EndBytes; index++)
        {
            if (!pages.TryGetValue(index, out var page))
                continue;
            var first = (int)(Math.Max(range.OffsetBytes - index * PageBytes, 0) / DirtyMap.BlockBytes);
            var found = page.Blocks.Next(MarkKinds.Flushing, marked: true, first);
            if (found < MarkPage.Blocks && index * PageBytes + found * (long)DirtyMap.BlockBytes < range.EndBytes)
                return true;
        }
        return false;
    }

    /// <summary>Whether every block of the range that is confirmed and not proven is in <paramref name="other"/>.</summary>
    public bool IsCoveredBy(RangeSet other, in ObjectRange range)
    {
        if (!objects.TryGetValue(range.Object, out var pages))
            return true;
        if (range.IsWhole)
        {
            foreach (var (index, page) in pages)
            {
                if (!IsCoveredBy(other, range.Object, index, page.Blocks, 0, MarkPage.Blocks))
                    return false;
            }
            return true;
        }
        for (var index = range.OffsetBytes / PageBytes; index * PageBytes < range.EndBytes; index++)
        {
            var first = (int)(Math.Max(range.OffsetBytes - index * PageBytes, 0) / DirtyMap.BlockBytes);
            var end = (int)Math.Min((range.EndBytes - index * PageBytes + DirtyMap.BlockBytes - 1) / DirtyMap.BlockBytes, MarkPage.Blocks);
            if (pages.TryGetValue(index, out var page) && !IsCoveredBy(other, range.Object, index, page.Blocks, first, end))
                return false;
        }
        return true;
    }

    public void Forget(ulong obj)
    {
        if (objects.TryGetValue(obj, out var pages))
            Proven(obj, pages, long.MaxValue);
    }

    public void Clear() => Proven(0, long.MaxValue);

    private void Proven(ulong obj, Dictionary<long, Page> pages, long flush)
    {
        foreach (var (index, page) in pages)
        {
            if (page.FlushLast >= flush)
                continue;
            pages.Remove(index);
            Pages--;
            Recycle(page.Blocks);
        }
        if (pages.Count > 0)
            return;
        objects.Remove(obj);
        const int FreeMax = 64;
        if (freeObjects.Count < FreeMax)
            freeObjects.Push(pages);
    }

    private static bool IsCoveredBy(RangeSet other, ulong obj, long index, MarkPage page, int first, int end)
    {
        while (page.Next(MarkKinds.Flushing, marked: true, first) is var from && from < end)
        {
            first = Math.Min(page.Next(MarkKinds.Flushing, marked: false, from), end);
            if (!other.Covers(new(obj, index * PageBytes + from * (long)DirtyMap.BlockBytes, (first - from) * (long)DirtyMap.BlockBytes)))
                return false;
        }
        return true;
    }

    private static IEnumerable<ObjectRange> Runs(ulong obj, long index, MarkPage page)
    {
        for (var end = 0; end < MarkPage.Blocks && page.Next(MarkKinds.Flushing, marked: true, end) is < MarkPage.Blocks and var first;)
        {
            end = page.Next(MarkKinds.Flushing, marked: false, first);
            yield return new(obj, index * PageBytes + first * (long)DirtyMap.BlockBytes, (end - first) * (long)DirtyMap.BlockBytes);
        }
    }

    private void Recycle(MarkPage page)
    {
        const int FreeMax = 256;
        page.Clear(Kind);
        if (freePages.Count < FreeMax)
            freePages.Push(page);
    }

    private readonly record struct Page(MarkPage Blocks, long FlushLast);
}
