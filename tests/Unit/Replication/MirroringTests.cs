using System.Text;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.Tests.Unit.Replication;

public class MirroringTests
{
    [ReplicationFact]
    public async Task A_volume_without_a_peer_writes_flushes_and_reads_locally()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeAlone();
        var file = await pair.A.Create("disk");
        Assert.Equal(0, await pair.A.Write(file, 100, "hello"u8.ToArray()).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline));
        var buffer = new byte[5];
        Assert.Equal(0, pair.A.Volume.Open(file, 0, out var handle));
        Assert.Equal(0, pair.A.Volume.Read(handle, 100, buffer, out var count));
        Assert.Equal("hello", Encoding.ASCII.GetString(buffer, 0, count));
        Assert.True(pair.A.Engine.Status.DirtyBytes > 0, "what the peer lacks is marked");
    }

    [ReplicationFact]
    public async Task An_acknowledged_write_is_on_both_hosts()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        for (var i = 0; i < 200; i++)
            Assert.Equal(0, await pair.A.Write(file, i * 5000L, Pattern(i, 4096)).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await pair.A.Write(file, 3_000_000, Pattern(777, 1 << 20)).WaitAsync(ReplicationHost.Deadline));
        pair.AssertEqual();
        Assert.Equal(0, await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, pair.A.Engine.Status.DirtyBytes);
    }

    [ReplicationFact]
    public async Task Overlapping_concurrent_writes_end_equal_on_both_hosts()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        const ulong seed = 4242;
        var writers = Enumerable.Range(0, 4).Select(writer => Task.Factory.StartNew(() =>
        {
            var random = new SeededRandom(seed + (ulong)writer);
            var outstanding = new List<Task<int>>();
            for (var i = 0; i < 300; i++)
            {
                var data = new byte[1 + random.Below(9000)];
                random.Fill(data);
                outstanding.Add(pair.A.Write(file, random.Below(40_000), data));
                if (i % 37 == 0)
                    outstanding.Add(pair.A.Flush(file));
            }
            return Task.WhenAll(outstanding);
        }, TaskCreationOptions.LongRunning).Unwrap());
        foreach (var results in await Task.WhenAll(writers).WaitAsync(ReplicationHost.Deadline))
            Assert.All(results, error => Assert.Equal(0, error));
        pair.AssertEqual();
    }

    [ReplicationFact]
    public async Task Mutations_are_the_same_on_both_hosts()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var a = pair.A;
        var directory = (await a.Mutate(new Mutation(MutationKind.MakeDirectory) { Parent = 1, Name = "d"u8.ToArray(), Mode = 0x41ED })).Object;
        var file = await a.Create("one", directory);
        await a.Write(file, 0, Pattern(1, 100_000)).WaitAsync(ReplicationHost.Deadline);
        await a.Mutate(new Mutation(MutationKind.Link) { Object = file, NewParent = 1, NewName = "two"u8.ToArray(), Parent = 1, Name = "two"u8.ToArray() });
        await a.Mutate(new Mutation(MutationKind.Symlink) { Parent = 1, Name = "link"u8.ToArray(), Data = "d/one"u8.ToArray() });
        await a.Mutate(new Mutation(MutationKind.SetAttributes) { Object = file, Mask = AttributeMask.Size | AttributeMask.Mode, SizeBytes = 70_001, Mode = 0x81A0 });
        await a.Mutate(new Mutation(MutationKind.Rename) { Parent = directory, Name = "one"u8.ToArray(), NewParent = 1, NewName = "three"u8.ToArray() });
        await a.Mutate(new Mutation(MutationKind.SetXattr) { Object = file, Name = "user.k"u8.ToArray(), Data = "v"u8.ToArray() });
        await a.Mutate(new Mutation(MutationKind.Unlink) { Parent = 1, Name = "two"u8.ToArray() });
        await a.Mutate(new Mutation(MutationKind.RemoveDirectory) { Parent = 1, Name = "d"u8.ToArray() });
        pair.AssertEqual();
        Assert.Equal(["link", "three"], Directory.EnumerateFileSystemEntries(pair.B.ModuleDirectory).Select(Path.GetFileName).Where(n => !n!.StartsWith('.')).Order());
    }

    [ReplicationFact]
    public async Task A_failed_mutation_changes_neither_host_and_does_not_end_the_session()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        await pair.A.Create("x");
        var (error, _) = await pair.A.TryMutate(new Mutation(MutationKind.RemoveDirectory) { Parent = 1, Name = "none"u8.ToArray() });
        Assert.Equal(Errno.ENOENT, error);
        Assert.True(pair.A.Engine.Status.SessionUp);
        pair.AssertEqual();
    }

    [ReplicationFact]
    public async Task A_file_without_a_name_lives_until_it_is_closed_and_is_not_sent()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("gone");
        Assert.Equal(0, pair.A.Volume.Open(file, 2, out var handle));
        await pair.A.Mutate(new Mutation(MutationKind.Unlink) { Parent = 1, Name = "gone"u8.ToArray() });
        Assert.Equal(0, await pair.A.Write(file, 0, Pattern(1, 4096)).WaitAsync(ReplicationHost.Deadline));
        var buffer = new byte[4096];
        Assert.Equal(0, pair.A.Volume.Read(handle, 0, buffer, out _));
        Assert.Equal(Pattern(1, 4096), buffer);
        pair.A.Volume.Close(handle);
        pair.A.Volume.Forget(file, 1);
        // Mutations are done one after the other.
        await pair.A.Create("later");
        Assert.Equal(Errno.ESTALE, pair.A.Volume.GetAttributes(file, out _));
        Assert.True(pair.A.Engine.Status.SessionUp);
    }

    [ReplicationFact]
    public async Task Mirrored_writes_allocate_nothing_on_either_event_loop()
    {
        await using var pair = new ReplicationPair();
        var chain = new WriteChain();
        pair.A.Record(1, "a", "a");
        await pair.A.Engine.ServeAsync(1, peerIsMember: false, chain, CancellationToken.None);
        var file = await pair.A.Create("disk");
        pair.B.Record(1, "a", "a");
        await pair.B.Engine.FollowAsync(1, CancellationToken.None);
        pair.A.Engine.AttachPeer(1, inSync: false);
        pair.A.Expect("caught-up");
        chain.Begin((ILoopVolume)pair.A.Volume, file);
        await chain.Ended.WaitAsync(ReplicationHost.Deadline);
        Assert.True(chain.AllocatedBytes < 4 * WriteChain.Measured, $"{chain.AllocatedBytes} bytes for {WriteChain.Measured} writes");
    }

    /// <summary>Writes one after the other as the event loop gives them back, and measures what its thread allocates.</summary>
    private sealed class WriteChain : IVolumeCompletions
    {
        public const int Measured = 2000;

        private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private ILoopVolume? _volume;
        private ulong _file;
        private int _buffer;
        private int _done;
        private int _measuredFrom = int.MaxValue;
        private readonly long _warmUntilMs = Environment.TickCount64 + 2_000;
        private long _beforeBytes;

        public Task Ended => _ended.Task;

        public long AllocatedBytes { get; private set; }

        public void Begin(ILoopVolume volume, ulong file)
        {
            (_volume, _file) = (volume, file);
            volume.Loop!.Loop.Post(() =>
            {
                Assert.True(volume.Loop.Buffers.TryRent(out _buffer));
                volume.WriteOnLoop(_file, 0, _buffer, 4096, new OperationTag(1, 1));
            });
        }

        public void Completed(OperationTag tag, int errno, int count)
        {
            // Code that is not optimised yet boxes: the runtime needs a moment for it.
            if (++_done >= 1000 && _measuredFrom == int.MaxValue && Environment.TickCount64 > _warmUntilMs)
                (_measuredFrom, _beforeBytes) = (_done, GC.GetAllocatedBytesForCurrentThread());
            if (_measuredFrom == int.MaxValue || _done < _measuredFrom + Measured)
            {
                _volume!.WriteOnLoop(_file, _done % 500 * 4096L, _buffer, 4096, new OperationTag(1, 1));
                return;
            }
            AllocatedBytes = GC.GetAllocatedBytesForCurrentThread() - _beforeBytes;
            _volume!.Loop!.Buffers.Release(_buffer);
            _ended.TrySetResult();
        }
    }

    internal static byte[] Pattern(int seed, int length)
    {
        var data = new byte[length];
        new SeededRandom((ulong)seed).Fill(data);
        return data;
    }
}
