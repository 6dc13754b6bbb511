using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>A file on the host's own disk: what any replication is measured against.</summary>
public static class RawFile
{
    public static async Task<FioSystem> DirectAsync(LabHost host, string path, long sizeBytes)
    {
        await BenchmarkFiles.WriteAsync(host, path, sizeBytes);
        return new FioSystem("raw-direct", null, host, ["--ioengine=libaio", "--direct=1", $"--filename={path}"], sizeBytes,
            [host.OnMachine(path)], [], () => Task.CompletedTask);
    }

    /// <summary>Through the page cache, by pwrite and pread one at a time: buffered I/O has no depth.</summary>
    public static async Task<FioSystem> BufferedAsync(LabHost host, string path, long sizeBytes)
    {
        await BenchmarkFiles.WriteAsync(host, path, sizeBytes);
        return new FioSystem("raw-buffered", null, host, ["--ioengine=psync", $"--filename={path}"], sizeBytes,
            [host.OnMachine(path)], [], () => Task.CompletedTask);
    }
}
