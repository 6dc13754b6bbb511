namespace Pollux.DataPlane.Core.Replication;

/// <summary>One extent of the activity log.</summary>
/// <param name="Object">0: a free slot.</param>
/// <param name="Extent">Number of the extent, or <see cref="WholeExtent"/>.</param>
public readonly record struct LogEntry(ulong Object, long Extent)
{
    public const int ExtentBytes = 1 << 20;

    /// <summary>Stands for all of the object.</summary>
    public const long WholeExtent = -1;

    /// <summary>A change of more extents than this (a long truncation) is entered as the whole object.</summary>
    public const int ExtentsPerChangeMax = 64;

    public ObjectRange Range => Extent == WholeExtent ? ObjectRange.Whole(Object) : new(Object, Extent * ExtentBytes, ExtentBytes);

    /// <summary>The extents that a range of bytes touches, both inclusive.</summary>
    public static (long First, long Last) Touched(long startBytes, long endBytes)
    {
        var (first, last) = (startBytes / ExtentBytes, (endBytes - 1) / ExtentBytes);
        return last < first || last - first >= ExtentsPerChangeMax ? (WholeExtent, WholeExtent) : (first, last);
    }
}
