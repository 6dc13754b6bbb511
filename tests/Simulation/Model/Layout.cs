namespace Pollux.Tests.Simulation.Model;

/// <summary>What a module holds in a run: files with cells at the edges of blocks, extents and sectors, and a few names. Everything else
/// stays zeros, so that copies are short.</summary>
internal sealed class Layout
{
    /// <summary>Object id of the module's own directory.</summary>
    public const ulong Root = 1;

    private const int CellsPerSpot = 8;
    private const long BlockBytes = 64 << 10;
    private const long ExtentBytes = 1 << 20;
    private const int NamesCount = 3;

    /// <summary>More than the log of a simulated module has slots.</summary>
    private const int WideExtents = 140;

    private readonly List<Spot> spots = [];

    /// <summary>Some cells in a row, around an edge.</summary>
    public sealed record Spot(ulong Object, long OffsetBytes, IReadOnlyList<Cell> Cells);

    /// <param name="wide">One file is so long that its extents do not all fit into the activity log.</param>
    public Layout(bool wide)
    {
        AddFile(2, 3 * BlockBytes, [0, BlockBytes, 2 * BlockBytes]);
        AddFile(3, ExtentBytes + BlockBytes, [ExtentBytes]);
        if (wide)
            AddFile(4, 2 * WideExtents * ExtentBytes, [.. Enumerable.Range(0, WideExtents).Select(extent => (2 * extent + 1) * ExtentBytes - BlockBytes)]);
        Names = [.. Enumerable.Range(0, NamesCount).Select(i => $"name{i}")];
        NameCells = [.. Names.Select(name => Cell.OfName(Root, name))];
        Cells = [.. spots.SelectMany(spot => spot.Cells), .. TimeCells.Values, .. NameCells];
    }

    /// <summary>Size at the start, by object.</summary>
    public SortedDictionary<ulong, long> Files { get; } = [];

    public IReadOnlyList<Spot> Spots => spots;

    public SortedDictionary<ulong, Cell> TimeCells { get; } = [];

    public IReadOnlyList<string> Names { get; }

    public IReadOnlyList<Cell> NameCells { get; }

    public IReadOnlyList<Cell> Cells { get; }

    /// <summary>The cells of a file's content from an offset on.</summary>
    public IEnumerable<Cell> ContentFrom(ulong obj, long startBytes, long endBytes)
    {
        foreach (var spot in spots)
        {
            for (var i = 0; spot.Object == obj && i < spot.Cells.Count; i++)
            {
                var offset = spot.OffsetBytes + i * Cell.Bytes;
                if (offset >= startBytes && offset < endBytes)
                    yield return spot.Cells[i];
            }
        }
    }

    private void AddFile(ulong obj, long sizeBytes, IReadOnlyList<long> edges)
    {
        Files.Add(obj, sizeBytes);
        TimeCells.Add(obj, Cell.OfTime(obj));
        foreach (var edge in edges)
        {
            var start = Math.Max(edge - CellsPerSpot / 2 * Cell.Bytes, 0);
            spots.Add(new Spot(obj, start, [.. Enumerable.Range(0, CellsPerSpot).Select(i => Cell.OfContent(obj, start + i * Cell.Bytes))]));
        }
    }
}
