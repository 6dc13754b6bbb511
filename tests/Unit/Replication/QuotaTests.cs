using Pollux.DataPlane.Native;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Replication;

/// <summary>A real file system whose quota is used up (EDQUOT), under a running pair: as a full one, <see cref="FullDiskTests"/>.</summary>
public class QuotaTests
{
    private const long QuotaBytes = 16 << 20;
    private const int Writes = 24;

    [BtrfsFact]
    public async Task A_replica_over_its_quota_ends_the_session_with_the_reason_and_loses_nothing()
    {
        using var disk = new LoopFileSystem("btrfs");
        await using var pair = new ReplicationPair(bDirectory: disk.Path);
        await pair.ServeMirrored();
        disk.LimitTo(QuotaBytes);
        var file = await pair.A.Create("disk");
        var writes = Enumerable.Range(0, Writes).Select(i => Task.Run(() => pair.A.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)))).ToArray();
        Assert.Contains("Disk quota exceeded", pair.A.Expect("lost"));
        Assert.Contains(writes, write => !write.IsCompleted);
        pair.Exclude();
        Assert.All(await Task.WhenAll(writes).WaitAsync(ReplicationHost.Deadline), error => Assert.Equal(0, error));
        Assert.Equal(Writes << 20, new FileInfo(Path.Combine(pair.A.ModuleDirectory, "disk")).Length);
        Assert.False(pair.A.Saw("fault"));
    }

    [BtrfsFact]
    public async Task A_primary_over_its_quota_fails_the_write_and_keeps_both_copies_equal()
    {
        using var disk = new LoopFileSystem("btrfs");
        await using var pair = new ReplicationPair(bDirectory: disk.Path);
        pair.B.Record(1, "b", "b");
        await pair.B.Serve(1);
        pair.A.Record(1, "b", "b");
        await pair.A.Engine.FollowAsync(1, CancellationToken.None);
        pair.B.Engine.AttachPeer(1, inSync: false);
        pair.B.Expect("caught-up");
        disk.LimitTo(QuotaBytes);
        var file = await pair.B.Create("disk");
        var errors = new List<int>();
        for (var i = 0; i < Writes; i++)
            errors.Add(await pair.B.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, errors[0]);
        Assert.Equal(Errno.EDQUOT, errors[^1]);
        // What was refused asks for no flush; what was accepted has its room.
        Assert.Equal(0, await pair.B.Flush(file).WaitAsync(ReplicationHost.Deadline));
        Assert.True(pair.B.Engine.Status.SessionUp);
        Assert.False(pair.B.Saw("fault"));
        pair.AssertEqual();
    }
}
