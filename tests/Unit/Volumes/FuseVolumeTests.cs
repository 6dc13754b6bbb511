using System.IO.MemoryMappedFiles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Volumes;
using Pollux.Tests.Unit.Fuse;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>Every operation of the kernel against the volume's contract, through a real mount.</summary>
public sealed class FuseVolumeTests
{
    [FuseFact]
    public void A_tree_copied_onto_the_mount_is_equal_to_its_source()
    {
        using var mount = new VolumeMount(answerElsewhere: true);

        mount.Shell("mkdir -p src/a/b && for i in $(seq 300); do echo $i > src/a/file-with-a-long-name-$i; done"
            + " && ln src/a/file-with-a-long-name-1 src/hard && ln -s a/b src/soft && dd if=/dev/urandom of=src/a/b/big bs=64k count=40 status=none"
            + " && chmod 640 src/hard && touch -d 2001-02-03T04:05:06.789Z src/a/b/big && mkfifo src/pipe");
        mount.Shell("cp -a src dst && diff -r --no-dereference src/a dst/a");

        Assert.Equal("300", mount.Shell("ls dst/a | grep -c long"));
        Assert.Equal("2", mount.Shell("stat -c %h dst/hard"));
        Assert.Equal("640", mount.Shell("stat -c %a dst/a/file-with-a-long-name-1"));
        Assert.Equal("a/b", mount.Shell("readlink dst/soft"));
        Assert.Equal("fifo", mount.Shell("stat -c %F dst/pipe"));
        Assert.Equal("2001-02-03 04:05:06.789000000 +0000", mount.Shell("TZ=UTC stat -c %y dst/a/b/big"));
        mount.Shell("rm -r src dst");
        Assert.Equal([mount[FuseSandbox.SecretName]], Directory.GetFileSystemEntries(mount.Root));
    }

    [FuseFact]
    public void Names_are_created_replaced_and_refused_as_on_any_file_system()
    {
        using var mount = new VolumeMount();
        File.WriteAllText(mount["one"], "1");
        File.WriteAllText(mount["two"], "2");
        Directory.CreateDirectory(mount["full/inner"]);

        Assert.Equal(Errno.EEXIST, mount.Rename("one", "two", Libc.RenameNoReplace));
        Assert.Equal(0, mount.Rename("one", "two", Libc.RenameExchange));
        Assert.Equal("1", File.ReadAllText(mount["two"]));
        File.Move(mount["two"], mount["one"], overwrite: true);
        Assert.Equal("1", File.ReadAllText(mount["one"]));
        Assert.False(File.Exists(mount["two"]));
        Assert.ThrowsAny<IOException>(() => Directory.Delete(mount["full"]));
        Assert.Throws<IOException>(() => new FileStream(mount["one"], FileMode.CreateNew));
        Assert.ThrowsAny<IOException>(() => File.WriteAllText(mount[new string('n', 256)], ""));
        File.WriteAllText(mount[new string('n', 255)], "");
        Assert.Throws<FileNotFoundException>(() => File.ReadAllText(mount["absent"]));
        Assert.Equal(mount.Shell($"stat -f -c '%S %b %c %l' {mount.RootBelow}"), mount.Shell("stat -f -c '%S %b %c %l' ."));
    }

    [FuseFact]
    public void An_unlinked_file_lives_until_it_is_closed_and_is_released_then()
    {
        using var mount = new VolumeMount();
        var released = new TaskCompletionSource<ulong>();
        mount.Volume.Released = obj => released.TrySetResult(obj);
        ulong id;
        using (var file = new FileStream(mount["gone"], FileMode.CreateNew))
        {
            id = mount.IdOf("gone");
            File.Delete(mount["gone"]);
            file.Write("still here"u8);
            file.Flush();
            file.Position = 0;
            Assert.Equal((byte)'s', file.ReadByte());
        }

        Assert.True(released.Task.Wait(FuseSandbox.Timeout), "the kernel sent no FORGET");
        Assert.Equal(id, released.Task.Result);
    }

    [FuseFact]
    public void An_fsync_flushes_the_object_and_that_of_a_directory_everything()
    {
        using var mount = new VolumeMount(answerElsewhere: true);
        File.WriteAllText(mount["disk"], "x");
        var id = mount.IdOf("disk");
        mount.Volume.Journal.Clear();

        mount.Shell("sync -d disk");
        mount.Shell("sync disk");
        mount.Shell("sync .");

        Assert.Equal([$"flush {id} data", $"flush {id}", "flush 0"], mount.Volume.Journal);
    }

    [FuseFact]
    public void A_write_to_a_file_opened_for_stable_writes_is_answered_after_its_flush()
    {
        using var mount = new VolumeMount(answerElsewhere: true);

        mount.Shell("dd if=/dev/zero of=disk bs=4k count=2 oflag=dsync status=none");

        var id = mount.IdOf("disk");
        Assert.Equal([$"write {id} 4096", $"flush {id} data", $"write {id} 4096", $"flush {id} data"], mount.Volume.Journal);
    }

    [FuseFact]
    public void A_flush_that_fails_fails_every_time()
    {
        using var mount = new VolumeMount();
        File.WriteAllText(mount["disk"], "x");
        mount.Volume.FlushFault = Errno.ENOSYS;

        for (var i = 0; i < 3; i++)
        {
            Assert.Contains("Input/output error", mount.Shell("sync disk 2>&1 || true"), StringComparison.Ordinal);
        }
    }

    [FuseFact("/usr/bin/fio")]
    public void Direct_writes_at_depth_32_leave_what_was_written()
    {
        using var mount = new VolumeMount(answerElsewhere: true);

        mount.Shell("fio --name=v --filename=disk --size=16m --rw=randwrite --bsrange=4k-64k --direct=1 --ioengine=libaio --iodepth=32"
            + " --randseed=7 --verify=crc32c --do_verify=1 --verify_fatal=1 --output-format=terse");
    }

    [FuseFact]
    public void A_shared_mapping_of_a_file_open_for_writing_reaches_the_volume()
    {
        using var mount = new VolumeMount(answerElsewhere: true);
        File.WriteAllBytes(mount["map"], new byte[8192]);

        using (var map = MemoryMappedFile.CreateFromFile(mount["map"], FileMode.Open))
        using (var view = map.CreateViewAccessor())
        {
            view.Write(5000, 0x0102030405060708);
            view.Flush();
        }

        Assert.Equal(0x0102030405060708, BitConverter.ToInt64(File.ReadAllBytes(mount.Below("map")), 5000));
        Assert.Equal(File.ReadAllBytes(mount.Below("map")), File.ReadAllBytes(mount["map"]));
    }

    [FuseFact]
    public void A_reader_with_an_old_cache_sees_what_a_direct_writer_wrote()
    {
        using var mount = new VolumeMount();
        File.WriteAllText(mount["file"], "before");
        using var reader = new FileStream(mount["file"], FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
        Assert.Equal((byte)'b', reader.ReadByte());

        mount.Shell("printf after! | dd of=file conv=notrunc status=none");

        reader.Position = 0;
        Assert.Equal((byte)'a', reader.ReadByte());
    }

    [FuseFact]
    public void Ranges_are_allocated_punched_and_zeroed()
    {
        using var mount = new VolumeMount();
        mount.Shell("tr '\\0' x < /dev/zero | head -c 65536 > disk");

        mount.Shell("fallocate --punch-hole --offset 4096 --length 8192 disk");
        mount.Shell("fallocate --zero-range --offset 32768 --length 4096 disk");
        mount.Shell("fallocate --length 131072 disk");
        mount.Shell("fallocate --keep-size --length 262144 disk");

        var content = File.ReadAllBytes(mount.Below("disk"));
        Assert.Equal(131072, content.Length);
        Assert.Equal(131072, new FileInfo(mount["disk"]).Length);
        Assert.Equal(65536 - 8192 - 4096, content.Count(value => value == 'x'));
        Assert.Equal(Errno.EOPNOTSUPP, ExitOf(mount, "fallocate --collapse-range --offset 0 --length 4096 disk"));
        Assert.Equal(content, File.ReadAllBytes(mount["disk"]));
        mount.Shell("truncate -s 100 disk && cp disk copy && cmp disk copy");
        Assert.Equal(100, new FileInfo(mount.Below("copy")).Length);
    }

    [FuseFact]
    public void Extended_attributes_are_kept_and_those_of_the_program_are_hidden()
    {
        using var mount = new VolumeMount();
        File.WriteAllText(mount["file"], "");
        var id = mount.IdOf("file");

        Assert.Equal(0, mount.SetXattr("file", "user.note", "text"));
        Assert.Equal(Errno.EEXIST, mount.SetXattr("file", "user.note", "other", Libc.XattrCreate));
        Assert.Equal((0, "text"), mount.GetXattr("file", "user.note"));
        Assert.Equal((Errno.ERANGE, ""), mount.GetXattr("file", "user.note", capacityBytes: 2));
        Assert.Equal((Errno.ENODATA, ""), mount.GetXattr("file", "user.absent"));
        Assert.Equal(["user.note"], mount.ListXattr("file"));
        Assert.Equal((Errno.ENODATA, ""), mount.GetXattr("file", "trusted.pollux.id"));
        Assert.Equal(Errno.EPERM, mount.SetXattr("file", "trusted.pollux.id", "9"));
        Assert.Equal(Errno.EOPNOTSUPP, mount.SetXattr("file", "system.posix_acl_access", "1234"));
        Assert.Equal(id, mount.IdOf("file"));
    }

    [FuseFact("/usr/bin/setpriv")]
    public void Set_user_id_is_cleared_by_a_write_of_an_ordinary_user_and_by_a_change_of_owner()
    {
        using var mount = new VolumeMount(answerElsewhere: true);
        mount.Shell("echo a > tool && chmod 6777 tool && chmod 777 .");
        Assert.Equal("6777", mount.Shell("stat -c %a tool"));

        mount.Shell("echo b >> tool");
        Assert.Equal("6777", mount.Shell("stat -c %a tool"));
        mount.Shell("setpriv --reuid=12345 --regid=12345 --clear-groups sh -c 'echo c >> tool'");
        Assert.Equal("777", mount.Shell("stat -c %a tool"));
        Assert.Equal("a\nb\nc\n", File.ReadAllText(mount["tool"]));

        mount.Shell("chmod 4755 tool && chown 12345:12345 tool");
        Assert.Equal("755 12345", mount.Shell("stat -c '%a %u' tool"));
        mount.Shell("chown 0:0 tool && chmod 4757 tool && setpriv --reuid=12345 --regid=12345 --clear-groups truncate -s 1 tool");
        Assert.Equal("757 1", mount.Shell("stat -c '%a %s' tool"));
    }

    [FuseFact]
    public void Entries_of_a_set_group_id_directory_inherit_its_group()
    {
        using var mount = new VolumeMount();
        mount.Shell("mkdir d && chown 0:4321 d && chmod 2777 d && umask 022 && mkdir d/sub && touch d/file && ln -s x d/link");

        Assert.Equal("2755 4321", mount.Shell("stat -c '%a %g' d/sub"));
        Assert.Equal("644 4321", mount.Shell("stat -c '%a %g' d/file"));
        Assert.Equal("4321", mount.Shell("stat -c %g d/link"));
    }

    [FuseFact]
    public void Locks_exclude_each_other_within_the_host()
    {
        using var mount = new VolumeMount();
        File.WriteAllText(mount["disk"], "");

        Assert.Equal("refused", mount.Shell("flock -n disk sh -c 'flock -n disk true || echo refused'"));
        Assert.Equal("granted", mount.Shell("flock -n disk echo granted"));
    }

    [FuseFact]
    public void A_connection_that_is_aborted_closes_what_was_open()
    {
        using var mount = new VolumeMount();
        using var file = new FileStream(mount["disk"], FileMode.CreateNew);
        Assert.Equal(1, mount.Volume.OpenHandles);

        Assert.Equal(UnmountOutcome.Aborted, mount.Session.Stop(FuseSandbox.Timeout));

        Assert.Equal(0, mount.Volume.OpenHandles);
    }

    [Fact]
    public void A_completion_without_a_front_end_is_a_fault_of_the_engine()
    {
        Assert.Throws<InvalidOperationException>(() => new FuseCompletions().Completed(new OperationTag(1, 0), 0, 0));
    }

    private static int ExitOf(VolumeMount mount, string command) =>
        mount.Shell($"{command} 2>&1 || true").Contains("not supported", StringComparison.Ordinal) ? Errno.EOPNOTSUPP : 0;
}
