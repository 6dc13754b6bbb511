using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;
using Pollux.Tests.Unit.Fuse;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>The file operations of applications through the kernel, on a mirrored pair: each does here what it does on any file system, and
/// both copies end equal, times included.</summary>
public sealed partial class MirroredOperationsTests
{
    private const long GiB = 1L << 30;

    [FuseFact]
    public async Task A_tree_that_was_worked_on_ends_equal_on_both_hosts_with_its_times()
    {
        await using var mount = await MirroredMount.CreateAsync(directory => File.WriteAllText(Path.Combine(directory, "older"), "from before"));

        mount.Shell("mkdir -p src/a/b && for i in $(seq 60); do echo $i > src/a/f$i; done && ln src/a/f1 src/hard && ln -s a/b src/soft"
            + " && mkfifo src/pipe && mknod src/null c 1 3 && chmod 640 src/hard && chown 12:34 src/soft -h && chown 56:78 src/a");
        Assert.Equal(0, MakeSocket(mount["s"]));
        mount.Shell("cp -a src dst && mv dst/a/f2 dst/f2 && mv dst/a/f3 src/a/f4 && rm dst/a/f5 && rm -r src/a/b && truncate -s 3 dst/a/f10 && : > dst/a/f11"
            + " && echo more >> older && touch -d 1955-11-05T01:02:03.5Z dst/a/f12 && touch -d 2201-01-01 dst/a/f13 && touch dst/a/f14 && touch -h -d 2001-02-03 dst/soft");

        Assert.Equal("socket character special file fifo", mount.Shell("stat -c %F s src/null dst/pipe | tr '\\n' ' '").TrimEnd());
        Assert.Equal("1955-11-05 01:02:03.500000000 +0000", mount.Shell("TZ=UTC stat -c %y dst/a/f12"));
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Names_are_exchanged_and_kept_from_replacement_across_directories()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("mkdir one two one/inner && echo 1 > one/file && echo 2 > two/other");

        Assert.Equal(0, Rename(mount["one/inner"], mount["two/other"], Libc.RenameExchange));
        Assert.Equal(Errno.EEXIST, Rename(mount["one/file"], mount["one/inner"], Libc.RenameNoReplace));
        Assert.Equal(0, Rename(mount["one/file"], mount["two/other/file"], Libc.RenameNoReplace));
        Assert.Equal(Errno.ENOENT, Rename(mount["absent"], mount["one/inner"], Libc.RenameExchange));
        const uint whiteout = 4;
        Assert.Equal(Errno.EINVAL, Rename(mount["one/inner"], mount["x"], whiteout));

        Assert.Equal("2", File.ReadAllText(mount["one/inner"]).Trim());
        Assert.Equal("1", File.ReadAllText(mount["two/other/file"]).Trim());
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Names_of_any_bytes_are_kept()
    {
        await using var mount = await MirroredMount.CreateAsync();
        const string names = @"$'new\nline' $'tab\tand space ' $'\xff\xfe\x80' $'\x01' '-rf' '*' $'\xc3\x28' ' ' '.hidden' '...'";

        mount.Shell($"for n in {names} $(printf 'x%.0s' $(seq 255)); do printf %s \"$n\" > ./\"$n\"; ln -s -- \"$n\" ./\"$n.l\" 2>/dev/null || true; done");

        mount.Shell($"for n in {names}; do [ \"$(cat ./\"$n\"; echo .)\" = \"$n.\" ]; [ \"$(readlink ./\"$n.l\"; echo .)\" = \"$n\"$'\\n.' ]; done");
        Assert.Equal("File name too long", mount.Shell("LC_ALL=C touch $(printf 'x%.0s' $(seq 256)) 2>&1 | sed 's/.*: //' || true"));
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Processes_that_append_to_one_file_lose_no_line()
    {
        await using var mount = await MirroredMount.CreateAsync();

        mount.Shell("for p in 1 2 3 4; do (for i in $(seq 250); do echo \"$p $i $(printf '%*s' $((i % 97)) x)\" >> log; done) & done; wait");

        Assert.Equal("1000 1000", mount.Shell("echo $(wc -l < log) $(awk 'NF == 3 && $3 == \"x\"' log | cut -d' ' -f1,2 | sort -u | wc -l)"));
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Ranges_are_allocated_punched_and_zeroed_and_what_would_move_content_is_refused()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("head -c 262144 /dev/zero | tr '\\0' x > disk; head -c 65536 /dev/zero | tr '\\0' y > other");

        mount.Shell("fallocate -p -o 4096 -l 8192 disk; fallocate -z -o 32768 -l 5000 disk; fallocate -z -n -o 260000 -l 9000 disk; fallocate -l 131072 other;"
            + " fallocate -n -o 1048576 -l 65536 other; fallocate -z -o 200000 -l 100000 other");

        Assert.Equal("262144 300000", mount.Shell("stat -c %s disk other | tr '\\n' ' '").Trim());
        Assert.Equal(262144 - 8192 - 5000 - 2144, File.ReadAllBytes(mount["disk"]).Count(value => value == 'x'));
        foreach (var refused in (string[])["-c -o 0 -l 4096", "-i -o 0 -l 4096"])
            Assert.Contains("not supported", mount.Shell($"LC_ALL=C fallocate {refused} disk 2>&1 || true"), StringComparison.Ordinal);
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Ranges_are_copied_between_files_by_the_kernel()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("head -c 3000000 /dev/urandom > from");
        using (var from = mount.Open("from", OpenFlags.ReadOnly))
        using (var to = mount.Open("to", OpenFlags.ReadWrite | OpenFlags.Create))
        {
            long sourceOffset = 1000, targetOffset = 500;
            while (sourceOffset < 3_000_000)
            {
                var copied = CopyFileRange(from, ref sourceOffset, to, ref targetOffset, (nuint)(3_000_000 - sourceOffset), 0);
                Assert.True(copied > 0, Errno.Describe(Marshal.GetLastPInvokeError()));
            }
        }

        mount.Shell("cmp -i 1000:500 from to && cp --sparse=never from again && cmp from again");
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task A_file_over_four_gibibytes_stays_sparse_on_both_hosts_written_before_and_after_they_were_mirrored()
    {
        await using var mount = await MirroredMount.CreateAsync(mirrored: false);
        void Write(string name)
        {
            using var file = mount.Open(name, OpenFlags.ReadWrite | OpenFlags.Create);
            RandomAccess.Write(file, "start"u8, 0);
            RandomAccess.Write(file, "far"u8, 5 * GiB + 12345);
            RandomAccess.SetLength(file, 6 * GiB);
            Assert.InRange(Seek(file, GiB, Libc.SeekData), 5 * GiB, 5 * GiB + 12345);
            Assert.InRange(Seek(file, 0, Libc.SeekHole), 1, 1 << 20);
            Assert.InRange(Seek(file, 5 * GiB + 12345, Libc.SeekHole), 5 * GiB + 12345, 5 * GiB + (1 << 20));
        }

        Write("before");
        await mount.Pair.Join();
        Write("after");

        foreach (var host in (string[])[mount.Root, mount.Pair.B.ModuleDirectory])
        {
            foreach (var name in (string[])["before", "after"])
                Assert.True(long.Parse(mount.Shell($"stat -c %b {Path.Combine(host, name)}"), null) < (1 << 20) / 512, $"{name} is not sparse in {host}");
        }
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Synchronous_direct_and_mapped_writes_are_on_both_hosts()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("for f in dsync sync direct,dsync direct; do dd if=/dev/urandom of=w-$f bs=16k count=20 oflag=$f status=none; done; sync -d w-dsync; sync w-sync; sync -f .; sync .");
        File.WriteAllBytes(mount["map"], new byte[300_000]);
        using (var map = MemoryMappedFile.CreateFromFile(mount["map"], FileMode.Open))
        using (var view = map.CreateViewAccessor())
        {
            for (var at = 0; at < 300_000 - 8; at += 4096)
                view.Write(at, (long)at);
        }

        mount.Shell("[ $(stat -c %s w-direct) = 327680 ] && dd if=w-direct iflag=direct bs=64k status=none | cmp - w-direct");
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task An_unlinked_file_opened_twice_is_usable_until_its_last_close_and_gone_after_it()
    {
        await using var mount = await MirroredMount.CreateAsync();
        using (var first = mount.Open("gone", OpenFlags.ReadWrite | OpenFlags.Create))
        {
            using (var second = mount.Open("gone", OpenFlags.ReadWrite))
            {
                File.Delete(mount["gone"]);
                RandomAccess.Write(second, new byte[100_000], 0);
            }
            RandomAccess.Write(first, "still"u8, 0);
            var buffer = new byte[5];
            Assert.Equal(5, RandomAccess.Read(first, buffer, 0));
            Assert.Equal("still"u8, buffer);
            Assert.Single(mount.Unlinked());
        }

        Assert.True(SpinWait.SpinUntil(() => mount.Unlinked().Count == 0, FuseSandbox.Timeout), "the storage of a closed file was not let go");
        mount.Shell("touch kept");
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Locks_of_all_kinds_exclude_each_other()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("touch disk");

        Assert.Equal("refused granted", mount.Shell("echo $(flock -n disk bash -c 'flock -n disk true || echo refused') $(flock -n disk echo granted)"));
        using (var first = mount.Open("disk", OpenFlags.ReadWrite))
        using (var second = mount.Open("disk", OpenFlags.ReadWrite))
        {
            // What QEMU does with an image: bytes locked by open file descriptions (OFD), shared and exclusive.
            Assert.Equal(0, LockBytes(first, LockKind.Write, 100, 1));
            Assert.Equal(Errno.EAGAIN, LockBytes(second, LockKind.Read, 100, 1));
            Assert.Equal(0, LockBytes(second, LockKind.Write, 101, 1));
            Assert.Equal(0, LockBytes(first, LockKind.None, 100, 1));
            Assert.Equal(0, LockBytes(second, LockKind.Read, 100, 1));
        }
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task A_directory_of_100_000_entries_is_listed_whole_and_changed_while_it_is_listed()
    {
        const int count = 100_000;
        await using var mount = await MirroredMount.CreateAsync(directory =>
        {
            var many = Directory.CreateDirectory(Path.Combine(directory, "many"));
            for (var i = 0; i < count; i++)
                using (File.Create(Path.Combine(many.FullName, $"entry-{i:d6}"))) { }
        }, mirrored: false);

        Assert.Equal($"{count} {count}", mount.Shell("echo $(ls -f many | grep -c entry) $(find many -type f -printf '%f\\n' | sort -u | wc -l)"));
        var seen = new HashSet<string>();
        foreach (var path in Directory.EnumerateFiles(mount["many"]))
        {
            Assert.True(seen.Add(path), $"{path} was listed twice");
            if (seen.Count % 1000 == 0)
                File.Delete(path);
            if (seen.Count % 1000 == 500)
                File.Move(path, mount[$"moved-{seen.Count}"]);
        }
        Assert.Equal(count, seen.Count);
        Assert.Equal($"{count - 200} 100", mount.Shell("echo $(ls -U many | wc -l) $(ls -U | grep -c moved)"));
        Assert.ThrowsAny<IOException>(() => Directory.Delete(mount["many"]));
    }

    [FuseFact]
    public async Task Files_written_while_the_peer_was_away_have_equal_times_after_the_resync()
    {
        await using var mount = await MirroredMount.CreateAsync(mirrored: false);
        mount.Shell("mkdir d; for i in $(seq 20); do head -c 200000 /dev/urandom > d/f$i; done; touch -d 1999-01-01 d/f1 d");
        using (var open = mount.Open("open", OpenFlags.ReadWrite | OpenFlags.Create))
        {
            RandomAccess.Write(open, new byte[500_000], 0);
            await mount.Pair.Join();
            RandomAccess.Write(open, new byte[10], 100);
        }

        Assert.Equal("1999-01-01", mount.Shell("stat -c %y d/f1 | cut -c1-10"));
        await mount.AssertEqualAtTheEndAsync();
    }

    [FuseFact]
    public async Task Extended_attributes_of_any_size_are_equal_on_both_hosts()
    {
        await using var mount = await MirroredMount.CreateAsync();
        mount.Shell("touch f; mkdir d; ln -s f l");
        Assert.Equal(0, SetXattr(mount["f"], "user.empty", []));
        Assert.Equal(0, SetXattr(mount["f"], "user.long", [.. Enumerable.Range(0, 3000).Select(i => (byte)i)]));
        Assert.Equal(0, SetXattr(mount["d"], "user.x", [1]));
        Assert.Equal(0, SetXattr(mount["d"], "user.x", [2], Libc.XattrReplace));
        Assert.Equal(Errno.ENODATA, SetXattr(mount["d"], "user.y", [2], Libc.XattrReplace));
        Assert.Equal(0, SetXattr(mount["l"], "trusted.on-a-link", [3]));
        Assert.Equal(Errno.EPERM, SetXattr(mount["d"], "trusted.pollux.id", [3, 0, 0, 0, 0, 0, 0, 0]));
        await mount.AssertEqualAtTheEndAsync();
    }

    internal static unsafe int SetXattr(string path, string name, byte[] value, int flags = 0)
    {
        fixed (byte* file = Zero(path), key = Zero(name), data = value)
            return Libc.LSetXattr(file, key, data, (nuint)value.Length, flags) == 0 ? 0 : Libc.LastErrno;
    }

    private static unsafe int Rename(string from, string to, uint flags)
    {
        fixed (byte* old = Zero(from), renamed = Zero(to))
            return Libc.RenameAt2(Libc.AtCurrentDirectory, old, Libc.AtCurrentDirectory, renamed, flags) == 0 ? 0 : Libc.LastErrno;
    }

    private static unsafe int MakeSocket(string path)
    {
        fixed (byte* name = Zero(path))
            return Libc.MkNodAt(Libc.AtCurrentDirectory, name, StMode.Socket | 0x1A4, 0) == 0 ? 0 : Libc.LastErrno;
    }

    private static long Seek(SafeHandle file, long offset, int whence)
    {
        var result = Libc.LSeek((int)file.DangerousGetHandle(), offset, whence);
        Assert.True(result >= 0, Errno.Describe(Libc.LastErrno));
        return result;
    }

    private static byte[] Zero(string text) => System.Text.Encoding.UTF8.GetBytes(text + "\0");

    private static unsafe int LockBytes(SafeHandle file, LockKind kind, long offset, long length)
    {
        const int setOfd = 37; // F_OFD_SETLK
        var request = new FileLock { Type = kind, Start = offset, Length = length };
        return Fcntl(file, setOfd, &request) == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    private enum LockKind : short
    {
        Read = 0,
        Write = 1,
        None = 2,
    }

    /// <summary>struct flock on 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct FileLock
    {
        public LockKind Type;
        public short Whence;
        public long Start;
        public long Length;
        public int ProcessId;
    }

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static unsafe partial int Fcntl(SafeHandle file, int command, FileLock* request);

    [LibraryImport("libc", EntryPoint = "copy_file_range", SetLastError = true)]
    private static partial nint CopyFileRange(SafeHandle from, ref long fromOffset, SafeHandle to, ref long toOffset, nuint length, uint flags);
}
