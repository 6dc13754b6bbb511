namespace Pollux.DataPlane.Core.Replication;

[Flags]
public enum MarkKinds
{
    /// <summary>Must be copied to the peer.</summary>
    Dirty = 1,

    /// <summary>Sent to the peer, not yet flushed on both hosts.</summary>
    Written = 2,

    /// <summary>Covered by a flush that runs.</summary>
    Flushing = 4,

    /// <summary>Whatever may differ between the two copies after a crash.</summary>
    All = Dirty | Written | Flushing,
}

/// <summary>Names one flush of an object, or of all (object 0).</summary>
public readonly record struct FlushToken(ulong Object, long Number);

/// <summary>Where a walk through the dirty runs stands; the default value is the start.</summary>
public readonly record struct DirtyCursor(ulong Object, long OffsetBytes);

/// <summary>What may differ between the copies of a module, by object and 64 KiB block (rule S6).</summary>
/// <remarks>
/// <code>
///   write, peer in session      ──► written ──flush begins──► flushing ──confirmed by both──► (equal)
///   write, ALONE without peer   ──► dirty  ──copied────────► written
///   peer lost:                      written, flushing, confirmed and not proven ──────► dirty
/// </code>
/// <para>What a flush has confirmed has no mark any more; until another flush proves it (<see cref="UnprovenFlushes"/>) it is among the
/// runs of a checkpoint, and dirty when the peer is lost.</para>
/// <para>A mark is set before the data is written. A write that is still on its way when a flush begins is not covered by it: its blocks
/// are given to <see cref="BeginFlush"/> and stay <c>written</c>. While a flush of an object runs, a second one of it covers nothing
/// here; the marks wait for the next.</para>
/// <para>Memory: a page of 512 blocks (32 MiB) costs about 350 bytes, so 1 GiB of scattered marks costs 11 KiB. Beyond
/// <c>pagesMax</c> the object concerned is marked dirty as a whole: less exact, never wrong. Pages are reused, so that marking allocates
/// nothing in steady state.</para>
/// <para>Not thread-safe: it belongs to the lock of the engine that owns it.</para>
/// </remarks>
public sealed partial class DirtyMap
{
    /// <summary>Block size. 64 KiB is the smallest unit of a resync at which a disk still moves close to its full rate.</summary>
    public const int BlockBytes = 64 * 1024;

    /// <summary>65 536 pages are 2 TiB of marked range, 23 MB of memory.</summary>
    public const int PagesMaxDefault = 65_536;

    private readonly Dictionary<ulong, ObjectMarks> objects = [];
    private readonly SortedSet<ulong> dirtyObjects = [];
    private readonly Stack<ObjectMarks> freeObjects = [];
    private readonly Stack<MarkPage> freePages = [];
    private readonly int pagesMax;
    private int pages;
    private int wholes;
    private long dirtyBlocks;
    private long unflushedBlocks;

    public DirtyMap(int pagesMax = PagesMaxDefault)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pagesMax);
        this.pagesMax = pagesMax;
    }

    /// <summary>Bytes to copy, in whole blocks; objects that are dirty as a whole count in <see cref="WholeObjects"/> instead.</summary>
    public long DirtyBytes => (dirtyBlocks + tailBlocks) * BlockBytes;

    /// <summary>Bytes that are on both hosts and not yet flushed on both.</summary>
    public long UnflushedBytes => unflushedBlocks * BlockBytes;

    public int WholeObjects => wholes;

    /// <summary>No mark at all: both copies are equal and flushed.</summary>
    public bool IsEmpty => objects.Count == 0;

    /// <summary>Marks what a write that the peer gets too is about to change; for a truncation, the range from the new to the old size.</summary>
    public void MarkWritten(ulong obj, long offsetBytes, long lengthBytes) => Mark(obj, offsetBytes, lengthBytes, MarkKind.Written);

    /// <summary>Marks what the peer has not got.</summary>
    public void MarkDirty(ulong obj, long offsetBytes, long lengthBytes) => Mark(obj, offsetBytes, lengthBytes, MarkKind.Dirty);

    public void Mark(in ObjectRange range, MarkKinds kind) =>
        Mark(range.Object, range.OffsetBytes, range.LengthBytes, kind == MarkKinds.Dirty ? MarkKind.Dirty : MarkKind.Written);

    /// <summary>Adds the other host's marks, or those of a checkpoint: as dirty.</summary>
    public void Unite(ReadOnlySpan<ObjectRange> marks)
    {
        foreach (ref readonly var range in marks)
            Mark(range.Object, range.OffsetBytes, range.LengthBytes, MarkKind.Dirty);
    }

    /// <summary>Finds the next dirty run of at most <paramref name="bytesMax"/> (rounded down to blocks, one at least) after the cursor
    /// and moves the cursor behind it. Objects that are dirty as a whole give nothing until <see cref="Clip"/> tells their size.</summary>
    /// <returns>False at the end of a walk; blocks that became dirty behind the cursor wait for another walk.</returns>
    public bool NextDirtyRun(ref DirtyCursor cursor, long bytesMax, out ObjectRange run)
    {
        var blocksMax = Math.Max(bytesMax / BlockBytes, 1);
        var start = cursor.OffsetBytes / BlockBytes;
        if (objects.TryGetValue(cursor.Object, out var marks) && Find(marks, start, out run))
        {
            cursor = new(run.Object, run.EndBytes);
            return true;
        }
        while (cursor.Object < ulong.MaxValue && dirtyObjects.GetViewBetween(cursor.Object + 1, ulong.MaxValue) is { Count: > 0 } rest)
        {
            marks = objects[rest.Min];
            cursor = new(marks.Object, 0);
            if (!Find(marks, 0, out run))
                continue;
            cursor = new(run.Object, run.EndBytes);
            return true;
        }
        run = default;
        return false;

        bool Find(ObjectMarks marks, long firstBlock, out ObjectRange found)
        {
            found = default;
            long from = 0, end = 0;
            if (!(marks.DirtyBlocks > 0 && NextRun(marks, MarkKinds.Dirty, firstBlock, out from, out end))
                && !(TryGivePages(marks) && NextRun(marks, MarkKinds.Dirty, firstBlock, out from, out end)))
                return false;
            found = new(marks.Object, from * BlockBytes, Math.Min(end - from, blocksMax) * BlockBytes);
            return true;
        }
    }

    /// <summary>The blocks that the range touches were read and sent to the peer, each up to its end or the end of the file, while no
    /// write could change them.</summary>
    public void Copied(ulong obj, long offsetBytes, long lengthBytes)
    {
        if (!objects.TryGetValue(obj, out var marks) || lengthBytes <= 0)
            return;
        var (first, end) = BlocksOf(offsetBytes, lengthBytes);
        for (var i = marks.FirstAt(first / MarkPage.Blocks); i < marks.PageCount && marks[i].Index * MarkPage.Blocks < end; i++)
        {
            var (from, to) = Within(marks[i], first, end);
            Count(marks, MarkKind.Dirty, MarkKind.Written, marks[i].Move(MarkKind.Dirty, MarkKind.Written, from, to));
        }
    }

    /// <summary>The object's size is the same on both hosts, namely this: marks behind it are dropped, and an object that was dirty as a
    /// whole is now dirty from the start to its end.</summary>
    public void Clip(ulong obj, long sizeBytes)
    {
        if (!objects.TryGetValue(obj, out var marks))
            return;
        var end = (sizeBytes + BlockBytes - 1) / BlockBytes;
        var whole = marks.Whole;
        if (whole)
        {
            marks.Whole = false;
            wholes--;
        }
        for (var i = marks.PageCount - 1; i >= 0 && (marks[i].Index + 1) * MarkPage.Blocks > end; i--)
        {
            var from = (int)Math.Max(end - marks[i].Index * MarkPage.Blocks, 0);
            foreach (var kind in (ReadOnlySpan<MarkKind>)[MarkKind.Dirty, MarkKind.Written, MarkKind.Flushing])
                Add(marks, kind, -marks[i].Clear(kind, from, MarkPage.Blocks));
            DropIfEmpty(marks, i);
        }
        SetTail(marks, whole ? 0 : marks.TailFrom, whole ? end : Math.Min(marks.TailEnd, end));
        if (whole)
            TryGivePages(marks);
        ForgetIfEmpty(marks);
    }

    /// <summary>The object is gone on both hosts.</summary>
    public void Forget(ulong obj)
    {
        unproven.Forget(obj);
        if (!objects.TryGetValue(obj, out var marks))
            return;
        DropPages(marks);
        SetTail(marks, 0, 0);
        if (marks.Whole)
            wholes--;
        marks.Whole = false;
        ForgetIfEmpty(marks);
    }

    /// <summary>Both copies are proven equal and flushed.</summary>
    public void Clear()
    {
        unproven.Clear();
        foreach (var obj in objects.Keys.ToArray())
            Forget(obj);
    }

    public bool IsWhole(ulong obj) => objects.TryGetValue(obj, out var marks) && marks.Whole;

    /// <summary>Whether any block that the range touches has a mark of the kinds.</summary>
    public bool HasMarks(ulong obj, long offsetBytes, long lengthBytes, MarkKinds kinds = MarkKinds.All)
    {
        if (!objects.TryGetValue(obj, out var marks) || lengthBytes <= 0)
            return false;
        if (marks.Whole && (kinds & MarkKinds.Dirty) != 0)
            return true;
        var (first, end) = BlocksOf(offsetBytes, lengthBytes);
        return (kinds & MarkKinds.Dirty) != 0 && TouchesTail(marks, first, end) || NextRun(marks, kinds, first, out var from, out _) && from < end;
    }

    /// <summary>Whether every block of the range that is marked here, in whatever way, or confirmed and not proven, is in
    /// <paramref name="other"/>.</summary>
    public bool IsCoveredBy(RangeSet other, in ObjectRange range)
    {
        if (!unproven.IsCoveredBy(other, range))
            return false;
        if (!objects.TryGetValue(range.Object, out var marks))
            return true;
        if (marks.Whole)
            return other.Covers(ObjectRange.Whole(range.Object));
        var (first, end) = BlocksOf(range.OffsetBytes, range.LengthBytes);
        if (TouchesTail(marks, first, end) && !Covers(Math.Max(first, marks.TailFrom), Math.Min(end, marks.TailEnd)))
            return false;
        for (var block = first; NextRun(marks, MarkKinds.All, block, out var from, out var to) && from < end; block = to)
        {
            if (!Covers(from, Math.Min(to, end)))
                return false;
        }
        return true;

        bool Covers(long from, long to) => other.Covers(new(marks.Object, from * BlockBytes, (to - from) * BlockBytes));
    }

    /// <summary>All marks of the kinds as runs, an object that is dirty as a whole as one <see cref="ObjectRange.Whole"/>. For a checkpoint
    /// (all kinds) and for the wire. Must not overlap with a change.</summary>
    public IEnumerable<ObjectRange> Runs(MarkKinds kinds = MarkKinds.All)
    {
        foreach (var marks in objects.Values)
        {
            if (marks.Whole && (kinds & MarkKinds.Dirty) != 0)
            {
                yield return ObjectRange.Whole(marks.Object);
                continue;
            }
            if (marks.TailBlocks > 0 && (kinds & MarkKinds.Dirty) != 0)
                yield return new(marks.Object, marks.TailFrom * BlockBytes, marks.TailBlocks * BlockBytes);
            for (long block = 0; NextRun(marks, kinds, block, out var from, out var end); block = end)
                yield return new(marks.Object, from * BlockBytes, (end - from) * BlockBytes);
        }
    }

    private void Mark(ulong obj, long offsetBytes, long lengthBytes, MarkKind kind)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        if (lengthBytes == 0)
            return;
        var marks = MarksOf(obj);
        if (marks.Whole)
            return;
        var (first, end) = BlocksOf(offsetBytes, lengthBytes);
        var pagesNeeded = (end - 1) / MarkPage.Blocks - first / MarkPage.Blocks + 1;
        if (lengthBytes == ObjectRange.WholeLength || pagesNeeded > pagesMax)
        {
            MakeWhole(marks);
            return;
        }
        for (var index = first / MarkPage.Blocks; index * MarkPage.Blocks < end; index++)
        {
            if (!marks.TryGet(index, out var page))
            {
                if (pages == pagesMax)
                {
                    MakeWhole(marks);
                    return;
                }
                page = TakePage(index);
                marks.Add(page);
            }
            var (from, to) = Within(page, first, end);
            Add(marks, kind, page.Set(kind, from, to));
        }
    }

    private void MakeWhole(ObjectMarks marks)
    {
        DropPages(marks);
        SetTail(marks, 0, 0);
        marks.Flush = 0;
        if (marks.Whole)
            return;
        marks.Whole = true;
        wholes++;
    }

    private void Move(ObjectMarks marks, MarkKind from, MarkKind to)
    {
        for (var i = 0; i < marks.PageCount; i++)
            Count(marks, from, to, marks[i].Move(from, to));
    }

    private void Count(ObjectMarks marks, MarkKind from, MarkKind to, (int Gained, int Lost) moved)
    {
        Add(marks, to, moved.Gained);
        Add(marks, from, -moved.Lost);
    }

    private void Add(ObjectMarks marks, MarkKind kind, long count)
    {
        switch (kind)
        {
            case MarkKind.Dirty:
                if (marks.DirtyBlocks == 0 && count > 0)
                    dirtyObjects.Add(marks.Object);
                marks.DirtyBlocks += count;
                dirtyBlocks += count;
                if (marks.DirtyBlocks == 0 && count < 0 && marks.TailBlocks == 0)
                    dirtyObjects.Remove(marks.Object);
                break;
            case MarkKind.Written:
                marks.WrittenBlocks += count;
                unflushedBlocks += count;
                break;
            default:
                marks.FlushingBlocks += count;
                unflushedBlocks += count;
                break;
        }
    }

    /// <summary>The first run of marked blocks [from, end) at or after a block, joined over pages.</summary>
    private static bool NextRun(ObjectMarks marks, MarkKinds kinds, long firstBlock, out long from, out long end)
    {
        from = end = -1;
        for (var i = marks.FirstAt(firstBlock / MarkPage.Blocks); i < marks.PageCount; i++)
        {
            var page = marks[i];
            var pageStart = page.Index * MarkPage.Blocks;
            if (from < 0)
            {
                var bit = page.Next(kinds, marked: true, (int)Math.Max(firstBlock - pageStart, 0));
                if (bit == MarkPage.Blocks)
                    continue;
                from = pageStart + bit;
            }
            else if (pageStart != end)
            {
                return true;
            }
            end = pageStart + page.Next(kinds, marked: false, (int)Math.Max(from - pageStart, 0));
            if (end < pageStart + MarkPage.Blocks)
                return true;
        }
        return from >= 0;
    }

    private static (long First, long End) BlocksOf(long offsetBytes, long lengthBytes)
    {
        // Offsets stay below 2^63, so a sum that overflows means "to the end of all offsets".
        var lastByte = lengthBytes - 1 > long.MaxValue - offsetBytes ? long.MaxValue : offsetBytes + lengthBytes - 1;
        return (offsetBytes / BlockBytes, lastByte / BlockBytes + 1);
    }

    private static (int From, int To) Within(MarkPage page, long first, long end)
    {
        var start = page.Index * MarkPage.Blocks;
        return ((int)Math.Max(first - start, 0), (int)Math.Min(end - start, MarkPage.Blocks));
    }

    private ObjectMarks MarksOf(ulong obj)
    {
        if (objects.TryGetValue(obj, out var marks))
            return marks;
        marks = freeObjects.TryPop(out var reused) ? reused : new();
        marks.Object = obj;
        objects.Add(obj, marks);
        return marks;
    }

    private MarkPage TakePage(long index)
    {
        var page = freePages.TryPop(out var reused) ? reused : new();
        page.Index = index;
        pages++;
        return page;
    }

    private void DropPages(ObjectMarks marks)
    {
        for (var i = marks.PageCount - 1; i >= 0; i--)
        {
            foreach (var kind in (ReadOnlySpan<MarkKind>)[MarkKind.Dirty, MarkKind.Written, MarkKind.Flushing])
                Add(marks, kind, -marks[i].Clear(kind, 0, MarkPage.Blocks));
            DropIfEmpty(marks, i);
        }
    }

    private void DropIfEmpty(ObjectMarks marks, int position)
    {
        // A pool of this size (350 KB) serves a guest that writes and flushes all over its disk.
        const int FreePagesMax = 1024;
        var page = marks[position];
        if (!page.IsEmpty)
            return;
        marks.RemoveAt(position);
        pages--;
        if (freePages.Count < FreePagesMax)
            freePages.Push(page);
    }

    private void ForgetIfEmpty(ObjectMarks marks)
    {
        const int FreeObjectsMax = 256;
        if (!marks.IsEmpty)
            return;
        marks.Flush = 0;
        objects.Remove(marks.Object);
        if (freeObjects.Count < FreeObjectsMax)
            freeObjects.Push(marks);
    }
}
