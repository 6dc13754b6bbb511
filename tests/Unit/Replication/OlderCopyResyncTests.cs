using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Replication;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Replication;

/// <summary>The target of a resync on an XFS with reflink.</summary>
public class OlderCopyResyncTests
{
    private const int FileMiB = 24;

    [XfsFact]
    public async Task While_a_resync_is_unfinished_the_state_before_it_can_be_had_and_it_goes_when_the_resync_has_ended()
    {
        using var disk = new LoopFileSystem("xfs");
        await using var pair = new ReplicationPair(bDirectory: disk.Path);
        var file = await MirroredThenBehind(pair, disk);
        var budget = new WriteBudget();
        pair.A.WrapDialled = budget.Wrap;
        // Enough for greetings and tree, not for the content.
        budget.Bytes = 8 << 20;
        pair.A.Engine.AttachPeer(pair.A.State.Record.Epoch, inSync: false);
        pair.A.Expect("lost");
        Assert.Equal(DataState.Inconsistent, pair.B.State.DataState);
        Assert.True(pair.B.Engine.Status.OlderCopy is { Kept: true }, pair.B.Engine.Status.ToString());
        AssertOlder(disk);

        budget.Bytes = long.MaxValue;
        pair.A.Expect("caught-up");
        pair.A.Record(pair.A.State.Record.Epoch + 1, "a", "a", "b");
        pair.B.State = pair.B.State with { Record = pair.A.State.Record };
        pair.A.Engine.SetEpoch(pair.A.State.Record.Epoch);
        Assert.Equal(0, await pair.A.Write(file, 0, [1]).WaitAsync(ReplicationHost.Deadline));
        await Gone(disk);
        Assert.Null(pair.B.Engine.Status.OlderCopy);
        pair.AssertEqual();
    }

    [XfsFact]
    public async Task An_older_copy_makes_room_when_the_disk_is_full_and_the_resync_ends()
    {
        using var disk = new LoopFileSystem("xfs");
        await using var pair = new ReplicationPair(bDirectory: disk.Path);
        await MirroredThenBehind(pair, disk);
        // Room for half of what the resync changes.
        Directory.CreateDirectory(Path.Combine(disk.Path, ".pollux"));
        using (var ballast = File.OpenHandle(Path.Combine(disk.Path, ".pollux", "ballast"), FileMode.Create, FileAccess.Write, preallocationSize: disk.FreeBytes - (FileMiB << 19)))
        {
            pair.A.Engine.AttachPeer(pair.A.State.Record.Epoch, inSync: false);
            Assert.Contains("No space left", pair.A.Expect("lost"));
            pair.A.Expect("caught-up");
        }
        Assert.Contains(pair.B.Notes, note => note.Contains("given up: the disk has no room left", StringComparison.Ordinal));
        pair.AssertEqual();
    }

    [XfsFact]
    public async Task A_host_that_serves_keeps_no_older_copy()
    {
        using var disk = new LoopFileSystem("xfs");
        await using var pair = new ReplicationPair(bDirectory: disk.Path);
        await MirroredThenBehind(pair, disk);
        Directory.CreateDirectory(Path.Combine(disk.Path, ".pollux", "older", "1", "tree"));
        await pair.B.Engine.StopFollowingAsync();
        pair.B.State = pair.B.State with { DataState = DataState.UpToDate };
        pair.B.Record(9, "b", "b");
        await pair.B.Serve(9);
        await Gone(disk);
    }

    /// <summary>B follows, and has missed a change of every block of the only file.</summary>
    private static async Task<ulong> MirroredThenBehind(ReplicationPair pair, LoopFileSystem disk)
    {
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        for (var i = 0; i < FileMiB; i++)
            Assert.Equal(0, await pair.A.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline);
        await pair.B.Engine.StopFollowingAsync();
        pair.A.Expect("lost");
        pair.Exclude();
        for (var i = 0; i < FileMiB; i++)
            Assert.Equal(0, await pair.A.Write(file, (long)i << 20, MirroringTests.Pattern(100 + i, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        await pair.A.Create("later");
        pair.B.State = pair.B.State with { DataState = DataState.Outdated, Record = pair.A.State.Record };
        await pair.B.Engine.FollowAsync(pair.A.State.Record.Epoch, CancellationToken.None);
        Assert.False(Directory.Exists(Path.Combine(disk.Path, ".pollux", "older")) && Directory.EnumerateFileSystemEntries(Path.Combine(disk.Path, ".pollux", "older")).Any());
        return file;
    }

    private static void AssertOlder(LoopFileSystem disk)
    {
        var tree = Path.Combine(Assert.Single(Directory.EnumerateDirectories(Path.Combine(disk.Path, ".pollux", "older"))), "tree");
        Assert.Equal(["disk"], Directory.EnumerateFileSystemEntries(tree).Select(path => Path.GetFileName(path)));
        using var older = File.OpenHandle(Path.Combine(tree, "disk"));
        var block = new byte[1 << 20];
        for (var i = 0; i < FileMiB; i++)
        {
            Assert.Equal(1 << 20, RandomAccess.Read(older, block, (long)i << 20));
            Assert.True(block.AsSpan().SequenceEqual(MirroringTests.Pattern(i, 1 << 20)), $"MiB {i} is as it was");
        }
    }

    private static async Task Gone(LoopFileSystem disk)
    {
        using var deadline = new CancellationTokenSource(ReplicationHost.Deadline);
        while (Directory.EnumerateFileSystemEntries(Path.Combine(disk.Path, ".pollux", "older")).Any())
            await Task.Delay(20, deadline.Token);
    }

    /// <summary>Streams that break when so many bytes have been written in all.</summary>
    private sealed class WriteBudget
    {
        private long _bytes = long.MaxValue;

        public long Bytes
        {
            set => Interlocked.Exchange(ref _bytes, value);
        }

        public ILinkLayer Wrap(ILinkLayer layer) => new Breaking(layer, this);

        private sealed unsafe class Breaking(ILinkLayer inner, WriteBudget budget) : FilterLayer(inner)
        {
            public override nint Send(LoopNative.IoVector* vectors, int count)
            {
                var sent = base.Send(vectors, count);
                return Interlocked.Add(ref budget._bytes, -Math.Max(sent, 0)) < 0 ? throw new IOException("the budget of the test is used up") : sent;
            }
        }
    }
}
