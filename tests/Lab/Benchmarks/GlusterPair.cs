using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>GlusterFS, volume of two replicas on the two hosts of a lab, mounted by FUSE on the first with direct I/O.</summary>
public static class GlusterPair
{
    private const string Brick = "/var/lib/libvirt/bench/brick";
    private static readonly TimeSpan StepMax = TimeSpan.FromSeconds(60);

    /// <exception cref="LabException">A step failed; the message has GlusterFS' own words.</exception>
    public static async Task MountAsync(LabHost first, LabHost second, string mountPoint)
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
        await first.CheckAsync("mkdir", "-p", mountPoint);
        (await first.ExecAsync(["mount", "-t", "glusterfs", "-o", "direct-io-mode=enable", $"{first.Name}:/bench", mountPoint], StepMax)).OrThrow();
    }

    private static Task<ShellResult> GlusterAsync(LabHost host, params string[] arguments) =>
        host.ExecAsync(["gluster", "--mode=script", .. arguments], StepMax);
}
