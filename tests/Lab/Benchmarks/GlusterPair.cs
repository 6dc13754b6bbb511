using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>GlusterFS, volume of two replicas on the two hosts of a lab, mounted by FUSE on the first with direct I/O.</summary>
public static class GlusterPair
{
    private const string Brick = BenchmarkFiles.Folder + "/brick";
    private const string MountPoint = BenchmarkFiles.Folder + "/gluster";
    private const string FileName = "bench.dat";
    private static readonly TimeSpan StepMax = TimeSpan.FromSeconds(60);

    /// <exception cref="LabException">A step failed; the message has GlusterFS' own words.</exception>
    public static async Task<FioSystem> StartAsync(LabHost first, LabHost second, long sizeBytes)
    {
        foreach (var host in new[] { first, second })
        {
            await host.CheckAsync("mkdir", "-p", "/run/gluster", Brick);
            await host.CheckAsync("glusterd", "-p", "/run/glusterd.pid");
            await Eventually.TrueAsync($"glusterd on {host.Name} answers", StepMax,
                async () => (await GlusterAsync(host, "volume", "list")).Succeeded);
        }
        (await GlusterAsync(first, "peer", "probe", second.Name)).OrThrow();
        await Eventually.TrueAsync("GlusterFS' peers are connected", StepMax,
            async () => (await GlusterAsync(first, "peer", "status")).Output.Contains("Peer in Cluster (Connected)", StringComparison.Ordinal));
        (await GlusterAsync(first, "volume", "create", "bench", "replica", "2",
            $"{first.Name}:{Brick}", $"{second.Name}:{Brick}", "force")).OrThrow();
        (await GlusterAsync(first, "volume", "start", "bench")).OrThrow();
        await first.CheckAsync("mkdir", "-p", MountPoint);
        (await first.ExecAsync(["mount", "-t", "glusterfs", "-o", "direct-io-mode=enable", $"{first.Name}:/bench", MountPoint], StepMax)).OrThrow();
        await BenchmarkFiles.WriteAsync(first, $"{MountPoint}/{FileName}", sizeBytes);
        return new FioSystem("glusterfs", "plaintext", first, ["--ioengine=libaio", "--direct=1", $"--filename={MountPoint}/{FileName}"], sizeBytes,
            [first.OnMachine($"{Brick}/{FileName}"), second.OnMachine($"{Brick}/{FileName}")],
            [.. await first.ProcessesAsync("gluster"), .. await second.ProcessesAsync("gluster")],
            async () =>
            {
                var healing = (await GlusterAsync(first, "volume", "heal", "bench", "info")).OrThrow().Output;
                if (healing.Split('\n').Count(line => line.Trim() == "Number of entries: 0") != 2)
                    throw new LabException($"GlusterFS has replicas to heal: {healing}");
            });
    }

    private static Task<ShellResult> GlusterAsync(LabHost host, params string[] arguments) =>
        host.ExecAsync(["gluster", "--mode=script", .. arguments], StepMax);
}
