using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Replication;

/// <summary>A mirrored module of two directories, on B on two file systems.</summary>
public class SeveralDirectoriesMirrorTests
{
    private static readonly ulong First = ModuleRoots.Of(0);
    private static readonly ulong Second = ModuleRoots.Of(1);

    [Ext4Fact]
    public async Task Operations_in_all_directories_are_mirrored_each_into_its_own()
    {
        await using var stage = new Stage();
        var (a, b) = (stage.Pair.A, stage.Pair.B);
        await stage.Pair.ServeMirrored();
        var disk = await a.Create("disk");
        var data = await a.Create("disk", Second);
        Assert.Equal(0, await a.Write(disk, 0, MirroringTests.Pattern(1, 4096)).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await a.Write(data, 8192, MirroringTests.Pattern(2, 100_000)).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await a.Flush(data).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await a.Flush().WaitAsync(ReplicationHost.Deadline));
        await a.Mutate(new Mutation(MutationKind.MakeDirectory) { Parent = Second, Name = "logs"u8.ToArray(), Mode = 0x41ED });
        await a.Mutate(new Mutation(MutationKind.Rename) { Parent = Second, Name = "disk"u8.ToArray(), NewParent = Second, NewName = "data"u8.ToArray() });
        Assert.Equal(Errno.EXDEV, (await a.TryMutate(
            new Mutation(MutationKind.Rename) { Parent = First, Name = "disk"u8.ToArray(), NewParent = Second, NewName = "disk"u8.ToArray() })).Error);
        Assert.Equal(Errno.EXDEV, (await a.TryMutate(
            new Mutation(MutationKind.Link) { Object = data, Parent = First, Name = "link"u8.ToArray() })).Error);
        Assert.Equal(0, a.Engine.Status.DirtyBytes);
        Assert.False(a.Saw("lost"), "a refused mutation is not sent");
        stage.AssertEqual();
        Assert.True(File.Exists(Path.Combine(stage.OnB[1], "data")), "it lies on the second file system");
    }

    [Ext4Fact]
    public async Task A_resync_makes_all_directories_equal_and_a_later_one_copies_only_what_changed()
    {
        await using var stage = new Stage();
        var (a, b) = (stage.Pair.A, stage.Pair.B);
        File.WriteAllText(Path.Combine(stage.OnA[1], "from-before"), "adopted");
        File.WriteAllText(Path.Combine(stage.OnB[1], "old"), "goes");
        await stage.Pair.ServeAlone();
        ulong[] files = [await a.Create("disk"), await a.Create("disk", Second)];
        foreach (var file in files)
        {
            for (var i = 0; i < 8; i++)
                Assert.Equal(0, await a.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        }
        await stage.Pair.Join();
        Assert.True(a.Engine.Status.FullResync);
        stage.AssertEqual();

        await b.Engine.StopFollowingAsync();
        a.Expect("lost");
        stage.Pair.Exclude();
        foreach (var file in files)
            Assert.Equal(0, await a.Write(file, 3 << 20, MirroringTests.Pattern(77, 4096)).WaitAsync(ReplicationHost.Deadline));
        await a.Create("new", Second);
        await stage.Pair.Join();
        Assert.False(a.Engine.Status.FullResync);
        Assert.Equal(2 * DirtyMap.BlockBytes, a.Engine.Status.ResyncTotalBytes);
        stage.AssertEqual();
    }

    [Ext4Fact]
    public async Task After_a_crash_of_the_source_what_was_written_in_each_directory_is_copied_again()
    {
        await using var stage = new Stage();
        var a = stage.Pair.A;
        await stage.Pair.ServeMirrored();
        ulong[] files = [await a.Create("disk"), await a.Create("disk", Second)];
        foreach (var file in files)
            Assert.Equal(0, await a.Write(file, 1 << 20, MirroringTests.Pattern(5, 4096)).WaitAsync(ReplicationHost.Deadline));
        // The disk of B has lost what was not flushed; the engine of A is gone with its memory.
        await stage.Pair.B.Engine.StopFollowingAsync();
        foreach (var directory in stage.OnB)
        {
            using var disk = File.OpenWrite(Path.Combine(directory, "disk"));
            disk.Position = 1 << 20;
            disk.Write(new byte[4096]);
        }
        a.Crash();
        a.Record(3, "a", "a");
        await a.Serve(3);
        await stage.Pair.Join();
        Assert.False(a.Engine.Status.FullResync);
        stage.AssertEqual();
    }

    [Ext4Fact]
    public async Task A_write_that_one_of_the_file_systems_refuses_ends_the_session_and_is_not_lost()
    {
        await using var stage = new Stage();
        var a = stage.Pair.A;
        await stage.Pair.ServeMirrored();
        ulong[] files = [await a.Create("disk"), await a.Create("disk", Second)];
        stage.Disk.TurnReadOnly();
        var refused = a.Write(files[1], 0, MirroringTests.Pattern(5, 4096));
        a.Expect("lost");
        stage.Pair.Exclude();
        Assert.Equal(0, await refused.WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await a.Write(files[0], 0, MirroringTests.Pattern(6, 4096)).WaitAsync(ReplicationHost.Deadline));
        stage.Pair.B.Expect("fault");
    }

    [ReplicationFact]
    public async Task Hosts_with_different_numbers_of_directories_have_no_session()
    {
        await using var stage = new Stage(onlyA: true);
        await stage.Pair.ServeAlone();
        var b = stage.Pair.B;
        File.WriteAllText(Path.Combine(b.ModuleDirectory, "kept"), "kept");
        b.Record(1, "a", "a");
        await b.Engine.FollowAsync(1, CancellationToken.None);
        stage.Pair.A.Engine.AttachPeer(1, inSync: false);
        Assert.Contains("OtherDirectories: the module has 1 directories here, not 2", stage.Pair.A.Expect("lost"));
        Assert.Equal("kept", File.ReadAllText(Path.Combine(b.ModuleDirectory, "kept")));
        Assert.Equal(DataState.Unknown, b.State.DataState);
    }

    private sealed class Stage : IAsyncDisposable
    {
        private readonly TemporaryDirectory _directory = new();
        private readonly LoopFileSystem? _disk;

        public Stage(bool onlyA = false)
        {
            OnA = [Pair.A.ModuleDirectory, _directory.Sub("a2")];
            Pair.A.OpenStore = () => StoreOf.Directories([.. OnA]);
            OnB = [Pair.B.ModuleDirectory];
            if (onlyA)
                return;
            _disk = new LoopFileSystem("ext4", sizeMb: 128);
            OnB = [Pair.B.ModuleDirectory, _disk.Path];
            Pair.B.OpenStore = () => StoreOf.Directories([.. OnB]);
        }

        public ReplicationPair Pair { get; } = new();

        public string[] OnA { get; }

        public string[] OnB { get; }

        public LoopFileSystem Disk => _disk!;

        public void AssertEqual()
        {
            for (var i = 0; i < OnA.Length; i++)
                Assert.Equal(ReplicationPair.Describe(OnA[i]), ReplicationPair.Describe(OnB[i]));
        }

        public async ValueTask DisposeAsync()
        {
            await Pair.DisposeAsync();
            _disk?.Dispose();
            _directory.Dispose();
        }
    }
}
