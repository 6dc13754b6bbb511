namespace Pollux.DataPlane.Core.Replication;

// What flushes on both hosts do to the marks, and what the loss of the peer does to both.
public sealed partial class DirtyMap
{
    private readonly UnprovenFlushes unproven = new();
    private long flushLast;

    /// <summary>Pages of what is confirmed and not proven, <see cref="UnprovenFlushes.PagesMax"/> at most.</summary>
    public int UnprovenPages => unproven.Pages;

    /// <summary>A flush of an object (0: of all) begins on both hosts.</summary>
    /// <param name="inFlight">Ranges of writes that have not completed on both hosts yet; others' objects are ignored.</param>
    public FlushToken BeginFlush(ulong obj, ReadOnlySpan<ObjectRange> inFlight)
    {
        var token = new FlushToken(obj, ++flushLast);
        if (obj != 0)
        {
            if (objects.TryGetValue(obj, out var marks))
                BeginFlush(marks, token.Number);
        }
        else
        {
            foreach (var marks in objects.Values)
                BeginFlush(marks, token.Number);
        }
        foreach (ref readonly var range in inFlight)
        {
            if (obj == 0 || obj == range.Object)
                Mark(range.Object, range.OffsetBytes, range.LengthBytes, MarkKind.Written);
        }
        return token;
    }

    /// <summary>Both hosts have confirmed the flush: what it covered is equal and, by their word, stable.</summary>
    public void FlushConfirmed(FlushToken token) => EndFlush(token, confirmed: true);

    /// <summary>The flush has failed or its outcome is unknown: what it would have covered waits for the next.</summary>
    public void FlushFailed(FlushToken token) => EndFlush(token, confirmed: false);

    /// <summary>The peer may lack whatever is not flushed on both. Flushes that run confirm nothing any more.</summary>
    public void PeerLost()
    {
        foreach (var marks in objects.Values)
        {
            marks.Flush = 0;
            Move(marks, MarkKind.Flushing, MarkKind.Dirty);
            Move(marks, MarkKind.Written, MarkKind.Dirty);
        }
        foreach (var range in unproven.Ranges)
            Mark(range.Object, range.OffsetBytes, range.LengthBytes, MarkKind.Dirty);
        unproven.Clear();
    }

    /// <summary>Whether any block that the range touches has a mark, or is confirmed by a flush that none has proven.</summary>
    public bool MayDiffer(in ObjectRange range) => HasMarks(range.Object, range.OffsetBytes, range.LengthBytes) || unproven.Holds(range);

    /// <summary>All marks, and what is confirmed and not proven: what <see cref="PeerLost"/> would make dirty is in the checkpoint. Must not overlap
    /// with a change.</summary>
    public IEnumerable<ObjectRange> RunsIfPeerIsLost() => Runs().Concat(unproven.Ranges);

    private void BeginFlush(ObjectMarks marks, long number)
    {
        if (marks.Flush != 0 || marks.WrittenBlocks == 0)
            return;
        marks.Flush = number;
        Move(marks, MarkKind.Written, MarkKind.Flushing);
    }

    private void EndFlush(FlushToken token, bool confirmed)
    {
        if (confirmed)
            unproven.Proven(token.Object, token.Number);
        if (token.Object != 0)
        {
            if (objects.TryGetValue(token.Object, out var marks))
                EndFlush(marks, token.Number, confirmed);
            return;
        }
        // Removal while enumerating is allowed by Dictionary; nothing else is.
        foreach (var marks in objects.Values)
            EndFlush(marks, token.Number, confirmed);
    }

    private void EndFlush(ObjectMarks marks, long number, bool confirmed)
    {
        if (marks.Flush != number)
            return;
        marks.Flush = 0;
        if (!confirmed)
        {
            Move(marks, MarkKind.Flushing, MarkKind.Written);
            return;
        }
        for (var i = marks.PageCount - 1; i >= 0 && marks.FlushingBlocks > 0; i--)
        {
            if (!marks[i].Has(MarkKind.Flushing))
                continue;
            if (!unproven.TryAdd(marks.Object, marks[i], flushLast))
            {
                Count(marks, MarkKind.Flushing, MarkKind.Written, marks[i].Move(MarkKind.Flushing, MarkKind.Written));
                continue;
            }
            Add(marks, MarkKind.Flushing, -marks[i].Clear(MarkKind.Flushing, 0, MarkPage.Blocks));
            DropIfEmpty(marks, i);
        }
        ForgetIfEmpty(marks);
    }
}
