using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>Something that a workload can be run on.</summary>
public interface IBenchmarkSystem
{
    /// <summary>As in the rows of the report.</summary>
    string Name { get; }

    /// <summary>How its replication link is protected: "plaintext", "tls1.3"; null without a link.</summary>
    string? Link { get; }

    Task<BenchmarkFigures> RunAsync(Workload workload, double seconds);

    /// <summary>After the rounds: is what was measured still what it says?</summary>
    /// <exception cref="LabException">It is not (a replica was lost, a mirror ended), so the figures do not count.</exception>
    Task CheckAsync();
}

/// <summary>A system that fio writes to, with files on the machine's disk behind it.</summary>
/// <param name="Host">Where fio runs.</param>
/// <param name="Target">fio's options for engine and file.</param>
/// <param name="BackingFiles">The replicas, as the machine sees them. After a run what it left unwritten is written, so that the next
/// system does not pay for it; before reads they leave the page cache, so that nobody reads from memory.</param>
/// <param name="Processes">The system's processes on both hosts, outside their namespaces.</param>
public sealed record FioSystem(
    string Name, string? Link, LabHost Host, IReadOnlyList<string> Target, long SizeBytes, IReadOnlyList<string> BackingFiles,
    IReadOnlyList<int> Processes, Func<Task> Check, string FlushOption = "fdatasync") : IBenchmarkSystem
{
    private static readonly TimeSpan WritebackMax = TimeSpan.FromSeconds(60);

    public async Task<BenchmarkFigures> RunAsync(Workload workload, double seconds)
    {
        if (workload.Reads)
            foreach (var file in BackingFiles)
                (await Shell.RunAsync(["dd", $"of={file}", "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"], WritebackMax)).OrThrow();
        var figures = await Fio.RunAsync(Host, workload, Target, SizeBytes, seconds, FlushOption, Processes);
        if (!workload.Reads)
            (await Shell.RunAsync(["sync", "-d", .. BackingFiles], WritebackMax)).OrThrow();
        return figures;
    }

    public Task CheckAsync() => Check();
}
