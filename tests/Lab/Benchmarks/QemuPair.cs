using System.Text.Json;
using Pollux.Lab.Machines;

namespace Pollux.Lab.Benchmarks;

/// <summary>
/// QEMU's storage daemon on the first host replicates a local file (O_DIRECT) to a file that nbdkit serves on the second, and exports
/// the result by NBD on a Unix socket, where fio writes. Two ways: a mirror job with copy-mode write-blocking, and quorum.
/// nbdkit is the target because QEMU 7.2's own NBD server stalls 40 ms under concurrency over TCP.
/// The mirror does not pass the guest's flush on to its target: its flushed writes are not durable on both.
/// </summary>
public static class QemuPair
{
    private const int MirrorPort = 10812;
    private const int QuorumPort = 10813;
    private static readonly TimeSpan StartMax = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan MirrorMax = TimeSpan.FromSeconds(120);

    public static async Task<FioSystem> MirrorAsync(LabHost first, LabHost second, long sizeBytes)
    {
        var control = $"{BenchmarkFiles.Folder}/mirror.qmp";
        var system = await StartAsync("mirror", MirrorPort, first, second, sizeBytes, (local, remote) =>
        [
            "--blockdev", local + ",node-name=disk",
            "--blockdev", remote + ",node-name=target",
            "--chardev", $"socket,path={control},server=on,wait=off,id=qmp", "--monitor", "chardev=qmp",
        ]);
        await using var monitor = await QemuMonitor.ConnectAsync(first.OnMachine(control));
        await monitor.RunAsync("blockdev-mirror",
            """{"job-id":"mirror","device":"disk","target":"target","sync":"full","copy-mode":"write-blocking"}""");
        await monitor.WaitForEventAsync("BLOCK_JOB_READY", MirrorMax);
        return system with
        {
            Check = async () =>
            {
                await using var look = await QemuMonitor.ConnectAsync(first.OnMachine(control));
                var jobs = await look.RunAsync("query-block-jobs");
                if (jobs.GetArrayLength() != 1 || !jobs[0].GetProperty("ready").GetBoolean())
                    throw new LabException($"QEMU's mirror job did not stay ready: {jobs}");
            },
        };
    }

    public static async Task<FioSystem> QuorumAsync(LabHost first, LabHost second, long sizeBytes)
    {
        var system = await StartAsync("quorum", QuorumPort, first, second, sizeBytes, (local, remote) =>
        [
            "--blockdev", local + ",node-name=near",
            "--blockdev", remote + ",node-name=far",
            "--blockdev", "driver=quorum,node-name=disk,vote-threshold=1,read-pattern=fifo,children.0=near,children.1=far",
        ]);
        return system with
        {
            // Quorum goes on with one child when the other fails; then the copies differ.
            Check = async () =>
            {
                var compared = await Shell.RunAsync(["cmp", .. system.BackingFiles], MirrorMax);
                if (!compared.Succeeded)
                    throw new LabException($"The copies of QEMU's quorum differ: {compared.Said}");
            },
        };
    }

    private static async Task<FioSystem> StartAsync(
        string kind, int port, LabHost first, LabHost second, long sizeBytes, Func<string, string, string[]> nodes)
    {
        var (disk, socket) = ($"{BenchmarkFiles.Folder}/{kind}.raw", $"{BenchmarkFiles.Folder}/{kind}.sock");
        var (farMark, nearMark) = ($"/run/nbdkit-{kind}.pid", $"/run/storage-{kind}.pid");
        await BenchmarkFiles.WriteAsync(first, disk, sizeBytes);
        await BenchmarkFiles.WriteAsync(second, disk, sizeBytes);
        var target = second.Spawn($"nbdkit-{kind}", ["nbdkit", "-f", "-P", farMark, "-e", kind, "-p", $"{port}", "file", disk]);
        await Eventually.TrueAsync($"nbdkit for {kind} listens", StartMax, () => File.Exists(second.OnMachine(farMark)), () => target.LastWords());
        var daemon = first.Spawn($"storage-{kind}",
        [
            "qemu-storage-daemon", "--pidfile", nearMark,
            .. nodes($"driver=file,cache.direct=on,aio=native,discard=unmap,filename={disk}",
                $"driver=nbd,server.type=inet,server.host={second.Address},server.port={port},export={kind}"),
            "--nbd-server", $"addr.type=unix,addr.path={socket},max-connections=32",
            "--export", "type=nbd,id=export,node-name=disk,name=disk,writable=on",
        ]);
        await Eventually.TrueAsync($"QEMU's storage daemon for {kind} is up", StartMax, () => File.Exists(first.OnMachine(nearMark)),
            () => daemon.LastWords());
        int[] processes = [ProcessOf(target), ProcessOf(daemon)];
        return new FioSystem("qemu-" + kind, "plaintext", first, ["--ioengine=nbd", $"--uri=nbd+unix:///disk?socket={socket}"], sizeBytes,
            [first.OnMachine(disk), second.OnMachine(disk)], processes, () => Task.CompletedTask, FlushOption: "fsync");
    }

    private static int ProcessOf(LabProcess process) =>
        process.ProcessId ?? throw new LabException($"{process.Name} has ended: {process.LastWords()}");
}
