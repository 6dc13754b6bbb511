namespace Pollux.DataPlane.Core.Replication;

/// <summary>Ranges of objects in whole 64 KiB blocks, joined where they touch: what a stable checkpoint holds, as a recovery would read it.</summary>
/// <remarks>It covers nothing that was not given to it, which a <see cref="DirtyMap"/> does beyond its limit of pages. 16 bytes a run.</remarks>
public sealed class RangeSet
{
    private readonly Dictionary<ulong, Run[]> objects;

    public RangeSet(IEnumerable<ObjectRange> ranges)
    {
        var runs = new Dictionary<ulong, List<Run>>();
        foreach (var range in ranges)
        {
            if (!runs.TryGetValue(range.Object, out var list))
                runs.Add(range.Object, list = []);
            list.Add(BlocksOf(range));
        }
        objects = runs.ToDictionary(static entry => entry.Key, static entry => Join(entry.Value));
    }

    /// <summary>Whether all of the range is in it; a whole object only if that was given.</summary>
    public bool Covers(in ObjectRange range)
    {
        if (!objects.TryGetValue(range.Object, out var runs))
            return false;
        var wanted = BlocksOf(range);
        var (low, high) = (0, runs.Length);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (runs[middle].Start <= wanted.Start)
                low = middle + 1;
            else
                high = middle;
        }
        return low > 0 && runs[low - 1].End >= wanted.End;
    }

    private static Run BlocksOf(in ObjectRange range)
    {
        const long Block = DirtyMap.BlockBytes;
        var end = range.EndBytes > long.MaxValue - Block ? long.MaxValue : (range.EndBytes + Block - 1) / Block * Block;
        return new(range.OffsetBytes / Block * Block, end);
    }

    private static Run[] Join(List<Run> runs)
    {
        runs.Sort(static (one, other) => one.Start.CompareTo(other.Start));
        var joined = 0;
        for (var i = 1; i < runs.Count; i++)
        {
            if (runs[i].Start <= runs[joined].End)
                runs[joined] = new(runs[joined].Start, Math.Max(runs[joined].End, runs[i].End));
            else
                runs[++joined] = runs[i];
        }
        return [.. runs[..(joined + 1)]];
    }

    private readonly record struct Run(long Start, long End);
}
