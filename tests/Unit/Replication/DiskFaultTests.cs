using Pollux.DataPlane.Core.Roles;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Real file systems that turn read-only or fail under a running pair. What a full one does is in <see cref="FullDiskTests"/>.</summary>
public class DiskFaultTests
{
    [Ext4Fact]
    public Task A_replica_whose_file_system_turns_read_only_is_lost_with_the_reason_and_the_primary_goes_on() =>
        ReplicaFails("ext4", disk => disk.TurnReadOnly(), "Read-only file system");

    [XfsFact]
    public Task A_replica_whose_disk_fails_is_lost_with_the_reason_and_the_primary_goes_on() =>
        ReplicaFails("xfs", disk => disk.ShutDown(), "Input/output error");

    [Ext4Fact]
    public Task A_primary_whose_file_system_turns_read_only_acknowledges_nothing_more_and_asks_to_be_replaced() =>
        PrimaryFails("ext4", disk => disk.TurnReadOnly());

    [XfsFact]
    public Task A_primary_whose_disk_fails_acknowledges_nothing_more_and_asks_to_be_replaced() =>
        PrimaryFails("xfs", disk => disk.ShutDown());

    private static async Task ReplicaFails(string type, Action<LoopFileSystem> fail, string reason)
    {
        using var disk = new LoopFileSystem(type, sizeMb: type == "xfs" ? 320 : 64);
        await using var pair = new ReplicationPair(bDirectory: disk.Path);
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        Assert.Equal(0, await pair.A.Write(file, 0, MirroringTests.Pattern(1, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline));
        fail(disk);
        var write = pair.A.Write(file, 1 << 20, MirroringTests.Pattern(2, 1 << 20));
        Assert.Contains(reason, pair.A.Expect("lost"));
        Assert.Contains(reason, pair.B.Expect("fault"));
        Assert.False(write.IsCompleted, "nothing is acknowledged before the replica is out of the record (S4)");
        pair.Exclude();
        Assert.Equal(0, await write.WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline));
        Assert.False(pair.A.Saw("fault"));
        Assert.True(pair.A.Engine.Status.DirtyBytes >= 1 << 20, "what the replica lacks is marked");
    }

    /// <summary>B, on the failing disk, is the primary; A has everything that was acknowledged.</summary>
    private static async Task PrimaryFails(string type, Action<LoopFileSystem> fail)
    {
        using var disk = new LoopFileSystem(type, sizeMb: type == "xfs" ? 320 : 64);
        await using var pair = new ReplicationPair(bDirectory: disk.Path);
        pair.B.Record(1, "b", "b");
        pair.B.State = pair.B.State with { DataState = DataState.UpToDate };
        await pair.B.Serve(1);
        pair.A.Record(1, "b", "b");
        await pair.A.Engine.FollowAsync(1, CancellationToken.None);
        pair.B.Engine.AttachPeer(1, inSync: false);
        pair.B.Expect("caught-up");
        var file = await pair.B.Create("disk");
        Assert.Equal(0, await pair.B.Write(file, 0, MirroringTests.Pattern(1, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        fail(disk);
        // A flush alone must notice it too: the guest may write nothing more.
        Assert.NotEqual(0, await pair.B.Flush(file).WaitAsync(ReplicationHost.Deadline));
        pair.B.Expect("fault");
        Assert.NotEqual(0, await pair.B.Write(file, 0, MirroringTests.Pattern(2, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        Assert.NotEqual(0, await pair.B.Flush(file).WaitAsync(ReplicationHost.Deadline));
        await pair.B.Engine.StopServingAsync();
        await pair.A.Engine.StopFollowingAsync();
        Assert.Equal(1 << 20, new FileInfo(Path.Combine(pair.A.ModuleDirectory, "disk")).Length);
        Assert.False(pair.A.Saw("fault"));
    }
}
