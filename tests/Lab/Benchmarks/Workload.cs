namespace Pollux.Lab.Benchmarks;

/// <summary>One shape of load. Depth counts operations in flight of each job; a flushing one sends fdatasync after each write.</summary>
/// <param name="Name">Letter w or r, block size, q = depth; "sync" flushes each write, 8j = eight jobs of depth 1.</param>
/// <param name="Pattern">fio's word. 4 KiB is random, larger is sequential.</param>
public sealed record Workload(string Name, string Pattern, int BlockBytes, int Depth, int Jobs, bool Flushes)
{
    public static readonly IReadOnlyList<Workload> All =
    [
        new("w4k-q1", "randwrite", 4 << 10, 1, 1, Flushes: false),
        new("w4k-q32", "randwrite", 4 << 10, 32, 1, Flushes: false),
        new("w4k-sync-q1", "randwrite", 4 << 10, 1, 1, Flushes: true),
        new("w4k-sync-8j", "randwrite", 4 << 10, 1, 8, Flushes: true),
        new("w64k-q8", "write", 64 << 10, 8, 1, Flushes: false),
        new("w1m-q8", "write", 1 << 20, 8, 1, Flushes: false),
        new("r4k-q1", "randread", 4 << 10, 1, 1, Flushes: false),
        new("r4k-q32", "randread", 4 << 10, 32, 1, Flushes: false),
    ];

    public bool Reads => Pattern.EndsWith("read", StringComparison.Ordinal);

    /// <exception cref="LabException">No such workload.</exception>
    public static Workload Named(string name) => All.FirstOrDefault(one => one.Name == name)
        ?? throw new LabException($"No workload is called '{name}'; there are {string.Join(", ", All.Select(one => one.Name))}.");
}
