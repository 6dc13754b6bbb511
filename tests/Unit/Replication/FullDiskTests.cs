using System.Diagnostics;
using Pollux.DataPlane.Native;

namespace Pollux.Tests.Unit.Replication;

public class FullDiskTests
{
    [FullDiskFact]
    public async Task A_full_disk_of_the_replica_ends_the_session_with_the_reason_and_loses_nothing()
    {
        using var small = new SmallFileSystem();
        await using var pair = new ReplicationPair(bDirectory: small.Path);
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        var writes = Enumerable.Range(0, 24).Select(i => Task.Run(() => pair.A.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)))).ToArray();
        Assert.Contains("No space left", pair.A.Expect("lost"));
        Assert.Contains("No space left", pair.A.Engine.Status.WaitingFor);
        Assert.Contains(writes, write => !write.IsCompleted);
        pair.Exclude();
        Assert.All(await Task.WhenAll(writes).WaitAsync(ReplicationHost.Deadline), error => Assert.Equal(0, error));
        Assert.Equal(24 << 20, new FileInfo(Path.Combine(pair.A.ModuleDirectory, "disk")).Length);
        Assert.False(pair.A.Saw("fault"));
    }

    [FullDiskFact]
    public async Task A_full_disk_of_the_primary_fails_the_write_and_keeps_both_copies_equal()
    {
        using var small = new SmallFileSystem();
        await using var pair = new ReplicationPair(bDirectory: small.Path);
        // The small file system is B's, so B is the primary here.
        pair.B.Record(1, "b", "b");
        await pair.B.Serve(1);
        pair.A.Record(1, "b", "b");
        await pair.A.Engine.FollowAsync(1, CancellationToken.None);
        pair.B.Engine.AttachPeer(1, inSync: false);
        pair.B.Expect("caught-up");
        var file = await pair.B.Create("disk");
        var errors = new List<int>();
        for (var i = 0; i < 20; i++)
            errors.Add(await pair.B.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, errors[0]);
        Assert.Equal(Errno.ENOSPC, errors[^1]);
        Assert.True(pair.B.Engine.Status.SessionUp);
        Assert.False(pair.B.Saw("fault"));
        pair.AssertEqual();
    }

    [FullDiskFact]
    public async Task Writes_that_fail_together_on_a_full_disk_all_end_and_keep_both_copies_equal()
    {
        using var small = new SmallFileSystem();
        await using var pair = new ReplicationPair(bDirectory: small.Path);
        pair.B.Record(1, "b", "b");
        await pair.B.Serve(1);
        pair.A.Record(1, "b", "b");
        await pair.A.Engine.FollowAsync(1, CancellationToken.None);
        pair.B.Engine.AttachPeer(1, inSync: false);
        pair.B.Expect("caught-up");
        var file = await pair.B.Create("disk");
        for (var i = 0; i < 11; i++)
            await pair.B.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline);
        using var together = new Barrier(4);
        var writes = Enumerable.Range(11, 4).Select(i => Task.Factory.StartNew(
            () =>
            {
                together.SignalAndWait(ReplicationHost.Deadline);
                return pair.B.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20));
            },
            TaskCreationOptions.LongRunning).Unwrap()).ToArray();
        Assert.Contains(Errno.ENOSPC, await Task.WhenAll(writes).WaitAsync(ReplicationHost.Deadline));
        Assert.True(pair.B.Engine.Status.SessionUp);
        pair.AssertEqual();
    }

    /// <summary>Needs a mount, and a tmpfs with trusted extended attributes.</summary>
    private sealed class FullDiskFactAttribute : FactAttribute
    {
        public FullDiskFactAttribute()
        {
            if (Environment.UserName != "root")
                Skip = "needs root: a small file system is mounted";
            else if (!SmallFileSystem.Works(out var reason))
                Skip = reason;
        }
    }

    private sealed class SmallFileSystem : IDisposable
    {
        public SmallFileSystem()
        {
            Path = Directory.CreateTempSubdirectory("pollux-small-").FullName;
            Assert.Equal(0, Run("mount", "-t", "tmpfs", "-o", "size=12m", "pollux-small", Path));
        }

        public string Path { get; }

        public void Dispose()
        {
            Run("umount", "-l", Path);
            Directory.Delete(Path);
        }

        public static bool Works(out string reason)
        {
            var path = Directory.CreateTempSubdirectory("pollux-small-").FullName;
            var mounted = Run("mount", "-t", "tmpfs", "-o", "size=1m", "pollux-small", path) == 0;
            if (mounted)
                Run("umount", path);
            Directory.Delete(path);
            reason = "a tmpfs cannot be mounted here";
            return mounted;
        }

        private static int Run(string program, params string[] arguments)
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            process.WaitForExit();
            return process.ExitCode;
        }
    }
}
