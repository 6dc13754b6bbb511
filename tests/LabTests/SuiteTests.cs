using Pollux.Lab;

namespace Pollux.Tests.Lab;

/// <summary>Other people's suites on the mount of a mirrored module. After each the copies on both hosts are equal, byte for byte, with
/// names, owners, modes, times and attributes. POLLUX_SUITES_FACTOR=N runs them N times as long.</summary>
[Collection(SuiteCollection.Name)]
public sealed class SuiteTests(SuiteStage stage)
{
    [SuiteFact("fio")]
    public async Task Fio_reads_back_what_it_wrote_in_every_way()
    {
        var scene = await stage.ReadyAsync("fio");
        var size = 48 * SuiteStage.Factor;
        const string verify = "fio --output-format=terse --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=20 --directory=.";

        await scene.RunAsync($"{verify} --name=sequential --rw=write --bs=256k --size={size}m --end_fsync=1");
        await scene.RunAsync($"{verify} --name=direct --rw=randwrite --bsrange=4k-64k --size={size}m --direct=1 --ioengine=libaio --iodepth=16");
        await scene.RunAsync($"{verify} --name=flushed --rw=randwrite --bs=4k --size={size / 16}m --fdatasync=4 --numjobs=2");
        await scene.RunAsync($"{verify} --name=mapped --rw=randwrite --bs=4k --size={size / 4}m --ioengine=mmap");
        // Reads come from the page cache of a file that is open read-only, after all of it was dropped.
        await scene.RunAsync("for f in *.0; do dd if=$f of=/dev/null iflag=nocache count=0 status=none; cmp $f <(dd if=$f iflag=direct bs=1M status=none); done");
        await scene.EndAsync();
    }

    [SuiteFact("stress-ng")]
    public async Task Stressors_of_the_file_system_find_nothing_wrong()
    {
        // One worker of each, all at once, each verifying what it does.
        string[] stressors =
        [
            "chmod", "chown", "copy-file --copy-file-bytes 128m", "dentry --dentries 512", "dir --dir-dirs 512", "dirdeep --dirdeep-dirs 2 --dirdeep-inodes 300", "fallocate --fallocate-bytes 32m",
            "fcntl", "filename", "flock", "fpunch", "fstat", "getdent", "hdd --hdd-bytes 32m", "iomix --iomix-bytes 32m", "link", "lockf", "lockofd", "locka",
            "mknod", "open", "readahead --readahead-bytes 32m", "rename", "revio --revio-bytes 32m", "seek --seek-size 32m", "symlink", "sync-file --sync-file-bytes 32m",
            "touch", "utime", "xattr",
        ];
        var scene = await stage.ReadyAsync("stress-ng");
        var options = string.Join(' ', stressors.Select(one => one.IndexOf(' ', StringComparison.Ordinal) is var at and > 0 ? $"--{one[..at]} 1{one[at..]}" : $"--{one} 1"));

        var said = await scene.RunAsync($"stress-ng --temp-path . --verify --timeout {12 * SuiteStage.Factor}s --metrics-brief --log-brief {options} 2>&1", deadline: TimeSpan.FromSeconds(90));

        Assert.DoesNotContain("fail:", said, StringComparison.Ordinal);
        Assert.Contains("successful run completed", said, StringComparison.Ordinal);
        await scene.EndAsync();
    }

    [SuiteFact("dbench")]
    public async Task A_file_server_load_of_dbench_runs_through()
    {
        var scene = await stage.ReadyAsync("dbench");

        var said = await scene.RunAsync($"dbench -D . -c /usr/share/dbench/client.txt -x --stat-check -t {6 * SuiteStage.Factor} 4 2>&1");

        Assert.Contains("Throughput", said, StringComparison.Ordinal);
        // dbench says so where it cannot have a semaphore for the start of its clients, and goes on.
        Assert.DoesNotContain("failed", said.Replace("failed to create barrier semaphore", "", StringComparison.Ordinal), StringComparison.OrdinalIgnoreCase);
        await scene.EndAsync();
    }

    [SuiteFact("qemu-img", "qemu-io")]
    public async Task A_qcow2_image_with_internal_snapshots_is_whole_and_locked_as_qemu_expects()
    {
        var scene = await stage.ReadyAsync("qemu");
        // The same operations on a raw file beside the mount say what the image has to hold.
        const string first = "-c 'write -P 17 0 16M' -c 'write -P 34 20M 3M' -c 'write -z 1M 2M'";
        const string second = "-c 'write -P 51 8M 16M' -c 'discard 30M 1M' -c 'write -P 68 63M 1M' -c flush";
        await scene.RunAsync($"""
            qemu-img create -q -f qcow2 disk.qcow2 64M
            truncate -s 64M '{scene.Aside}/one' '{scene.Aside}/two'
            for d in disk.qcow2 '{scene.Aside}/one' '{scene.Aside}/two'; do qemu-io -f $([ $d = disk.qcow2 ] && echo qcow2 || echo raw) {first} $d; done
            qemu-img snapshot -c first disk.qcow2
            qemu-io -t none {second} disk.qcow2
            qemu-io -f raw {second} '{scene.Aside}/two'
            qemu-img snapshot -c second disk.qcow2
            qemu-img check -q disk.qcow2
            qemu-img compare -q disk.qcow2 '{scene.Aside}/two'
            qemu-img snapshot -a first disk.qcow2
            qemu-img check -q disk.qcow2
            qemu-img compare -q disk.qcow2 '{scene.Aside}/one'
            qemu-img snapshot -a second disk.qcow2
            qemu-img convert -O qcow2 -o preallocation=falloc disk.qcow2 converted.qcow2
            qemu-img compare -q converted.qcow2 '{scene.Aside}/two'
            """);

        // One opener for writing keeps every other one away, by OFD locks.
        var holder = scene.Spawn("qemu-io", "exec stdbuf -oL qemu-io -c 'read 0 512' -c 'sleep 60000' disk.qcow2");
        await holder.WaitForLineAsync("read 512/512", TimeSpan.FromSeconds(10));
        var refused = await scene.Primary.ExecAsync(["qemu-io", "-c", "write 0 4k", $"{scene.Folder}/disk.qcow2"]);
        Assert.False(refused.Succeeded);
        Assert.Contains("lock", refused.Said, StringComparison.Ordinal);
        await holder.KillAsync();
        await scene.RunAsync("qemu-io -c 'read -P 51 8M 16M' disk.qcow2 && qemu-img check -q disk.qcow2");

        var copies = scene.Pair.Machines.Hosts.Select(host => host.OnMachine($"{scene.Folder}/disk.qcow2")).ToArray();
        await Shell.CheckAsync("qemu-img", "compare", "-U", "-s", copies[0], copies[1]);
        await scene.EndAsync();
    }
}
