namespace Pollux.DataPlane.Core.Replication;

// An object that is dirty as a whole may be longer than there are pages for (2 TiB). When its length is known its start gets pages and the rest
// is one run, the tail, that gets some whenever a walk has come to it and others have become free.
public sealed partial class DirtyMap
{
    private long tailBlocks;

    /// <summary>Pages that a tail gets at once; so many are left for the marks of writes.</summary>
    private int TailPages => Math.Max(pagesMax / 4, 1);

    /// <summary>Some dirty range has no pages yet, and there are none: it gets some when a flush has cleared others.</summary>
    public bool WaitsForPages => tailBlocks > 0 && pages + TailPages > pagesMax - TailPages;

    private void SetTail(ObjectMarks marks, long from, long end)
    {
        tailBlocks += Math.Max(end - from, 0) - marks.TailBlocks;
        (marks.TailFrom, marks.TailEnd) = end > from ? (from, end) : (0, 0);
        if (marks.TailBlocks > 0)
            dirtyObjects.Add(marks.Object);
        else if (marks.DirtyBlocks == 0)
            dirtyObjects.Remove(marks.Object);
    }

    /// <returns>False: it has none, or no pages are free.</returns>
    private bool TryGivePages(ObjectMarks marks)
    {
        if (marks.TailBlocks == 0 || WaitsForPages)
            return false;
        var (from, end) = (marks.TailFrom, marks.TailEnd);
        var middle = Math.Min((from / MarkPage.Blocks + TailPages) * MarkPage.Blocks, end);
        Mark(marks.Object, from * BlockBytes, (middle - from) * BlockBytes, MarkKind.Dirty);
        if (!marks.Whole)
            SetTail(marks, middle, end);
        return true;
    }

    private static bool TouchesTail(ObjectMarks marks, long first, long end) => first < marks.TailEnd && marks.TailFrom < end;
}
