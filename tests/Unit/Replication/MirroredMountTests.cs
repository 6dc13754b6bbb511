using System.Diagnostics;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.Tests.Unit.Replication;

/// <summary>The whole way from system calls through the kernel's FUSE and the event loops to both copies.</summary>
public class MirroredMountTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    [ReplicationFact]
    public async Task What_many_writers_write_and_flush_through_the_mount_is_on_both_copies()
    {
        await using var mounted = await MirroredMount.StartAsync();
        const int Writers = 8;
        const int FileBytes = 2 << 20;
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(writer => Task.Run(() =>
        {
            var random = new SeededRandom((ulong)writer + 1);
            var content = MirroringTests.Pattern(writer, FileBytes);
            using var file = File.OpenHandle(mounted.At($"f{writer}"), FileMode.CreateNew, FileAccess.ReadWrite);
            for (var offset = 0; offset < FileBytes;)
            {
                var bytes = Math.Min(FileBytes - offset, 1 + random.Below(200_000));
                RandomAccess.Write(file, content.AsSpan(offset, bytes), offset);
                offset += bytes;
                if (random.Below(4) == 0)
                    RandomAccess.FlushToDisk(file);
            }
            var read = new byte[FileBytes];
            Assert.Equal(FileBytes, RandomAccess.Read(file, read, 0));
            Assert.Equal(content, read);
        }))).WaitAsync(Deadline);
        for (var writer = 0; writer < Writers; writer++)
            Assert.Equal(MirroringTests.Pattern(writer, FileBytes), File.ReadAllBytes(Path.Combine(mounted.Pair.B.ModuleDirectory, $"f{writer}")));
        // One for each buffer: none is lost on its way.
        Assert.True(mounted.Session.Requests > 0);
    }

    [ReplicationFact]
    public async Task What_is_read_is_what_was_written_last_whoever_writes_beside_it()
    {
        await using var mounted = await MirroredMount.StartAsync();
        const int Writers = 4;
        const int StripeBytes = 96 << 10;
        const int Stripes = 64;
        const int FileBytes = Stripes * StripeBytes;
        await File.WriteAllBytesAsync(mounted.At("disk"), new byte[FileBytes]);
        var expected = new byte[FileBytes];
        // Writers own every fourth stripe, so that large writes have others' small ones on both sides, in the same folios of the page cache.
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(writer => Task.Run(() =>
        {
            var random = new SeededRandom((ulong)writer + 11);
            using var file = File.OpenHandle(mounted.At("disk"), FileMode.Open, FileAccess.ReadWrite);
            var read = new byte[StripeBytes];
            for (var i = 0; i < 200; i++)
            {
                var start = ((random.Below(Stripes / Writers) * Writers) + writer) * StripeBytes;
                var (offset, bytes) = random.Below(4) switch
                {
                    0 => (random.Below(StripeBytes - 700), 1 + random.Below(700)),
                    1 => (random.Below(StripeBytes >> 12) << 12, 4096),
                    _ => (random.Below(8) << 12, 64 << 10),
                };
                var content = expected.AsSpan(start + offset, bytes);
                random.Fill(content);
                RandomAccess.Write(file, content, start + offset);
                if (random.Below(8) == 0)
                    RandomAccess.FlushToDisk(file);
                Assert.Equal(StripeBytes, RandomAccess.Read(file, read, start));
                Assert.True(read.AsSpan().SequenceEqual(expected.AsSpan(start, StripeBytes)), $"writer {writer}, write {i}: read back what was not written");
            }
        }))).WaitAsync(Deadline);
        Assert.Equal(expected, File.ReadAllBytes(Path.Combine(mounted.Pair.B.ModuleDirectory, "disk")));
        Assert.False(mounted.Pair.A.Saw("fault") || mounted.Pair.B.Saw("fault"), "no flush found a write that was lost");
    }

    [ReplicationFact]
    public async Task While_frozen_nothing_is_read_or_answered_and_afterwards_everything_is()
    {
        await using var mounted = await MirroredMount.StartAsync();
        await File.WriteAllBytesAsync(mounted.At("disk"), MirroringTests.Pattern(1, 1 << 20));
        mounted.Pair.A.Engine.Freeze();
        var read = Task.Run(() => File.ReadAllBytes(mounted.At("disk")));
        var write = Task.Run(() =>
        {
            using var file = File.OpenHandle(mounted.At("disk"), FileMode.Open, FileAccess.Write);
            RandomAccess.Write(file, MirroringTests.Pattern(2, 4096), 0);
        });
        Assert.NotSame(read, await Task.WhenAny(read, Task.Delay(300)));
        Assert.False(write.IsCompleted);
        mounted.Pair.A.Engine.Unfreeze();
        await write.WaitAsync(Deadline);
        Assert.Equal(1 << 20, (await read.WaitAsync(Deadline)).Length);
    }

    [ReplicationFact]
    public async Task A_volume_that_was_shut_answers_with_errors_until_its_mount_is_gone()
    {
        await using var mounted = await MirroredMount.StartAsync();
        await File.WriteAllBytesAsync(mounted.At("disk"), new byte[4096]);
        using var file = File.OpenHandle(mounted.At("disk"), FileMode.Open, FileAccess.Write);
        await mounted.Pair.A.Engine.StopServingAsync();
        Assert.Throws<IOException>(() => RandomAccess.Write(file, new byte[4096], 0));
        Assert.Throws<IOException>(() => Directory.GetFiles(mounted.Directory));
    }

    [ReplicationFact]
    public async Task Synchronous_writes_and_whole_tree_flushes_are_answered()
    {
        await using var mounted = await MirroredMount.StartAsync();
        mounted.Shell("dd if=/dev/urandom of=sync bs=4k count=64 oflag=direct,dsync conv=notrunc && sync -f sync && mkdir d && mv sync d/ && rm -r d && echo done > left");
        Assert.Equal("done\n", File.ReadAllText(Path.Combine(mounted.Pair.B.ModuleDirectory, "left")));
        Assert.False(Directory.Exists(Path.Combine(mounted.Pair.B.ModuleDirectory, "d")));
    }

    private sealed class MirroredMount : IAsyncDisposable
    {
        private readonly CoveredDirectory _covered;

        private MirroredMount(ReplicationPair pair, CoveredDirectory covered, FuseSession session) => (Pair, _covered, Session) = (pair, covered, session);

        public ReplicationPair Pair { get; }

        public FuseSession Session { get; }

        public string Directory => Pair.A.ModuleDirectory;

        public static async Task<MirroredMount> StartAsync()
        {
            var pair = new ReplicationPair();
            pair.A.Record(1, "a", "a");
            pair.A.State = pair.A.State with { DataState = Pollux.DataPlane.Core.Roles.DataState.UpToDate };
            var covered = CoveredDirectory.Open(pair.A.ModuleDirectory, Deadline);
            pair.A.OpenStore = () => ObjectStore.Open(covered.Handle);
            var completions = new FuseCompletions();
            await pair.A.Engine.ServeAsync(1, false, completions, CancellationToken.None);
            var volume = pair.A.Engine.Volume;
            var session = FuseSession.Start(covered, new FuseVolume(volume, completions), FuseVolume.SessionOptions("vm1"), ((ILoopVolume)volume).Loop);
            await pair.Join();
            return new MirroredMount(pair, covered, session);
        }

        public string At(string name) => Path.Combine(Directory, name);

        public void Shell(string command)
        {
            using var process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", command]) { WorkingDirectory = Directory, RedirectStandardError = true })!;
            Assert.True(process.WaitForExit(Deadline), $"'{command}' did not end");
            Assert.True(process.ExitCode == 0, process.StandardError.ReadToEnd());
        }

        public async ValueTask DisposeAsync()
        {
            Session.Stop(Deadline);
            Assert.Null(Session.FaultCause);
            _covered.Uncover();
            _covered.Dispose();
            await Pair.DisposeAsync();
        }
    }
}
