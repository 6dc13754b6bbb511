using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

internal static class BenchmarkFiles
{
    /// <summary>On both hosts, on their own disks.</summary>
    public const string Folder = "/var/lib/libvirt/bench";

    private static readonly TimeSpan WriteMax = TimeSpan.FromSeconds(120);

    /// <summary>Writes a file of zeros and flushes it, so that no workload allocates.</summary>
    public static async Task WriteAsync(LabHost host, string path, long sizeBytes)
    {
        await host.CheckAsync("mkdir", "-p", Path.GetDirectoryName(path)!);
        (await host.ExecAsync(["dd", "if=/dev/zero", $"of={path}", "bs=1M", $"count={sizeBytes >> 20}", "oflag=direct", "conv=fsync", "status=none"],
            WriteMax)).OrThrow();
    }
}
