using System.Text;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Replication;

public class SessionTests
{
    [ReplicationFact]
    public async Task Without_its_peer_a_write_is_held_until_the_peer_is_out_of_the_record()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        await pair.B.Engine.StopFollowingAsync();
        pair.A.Expect("lost");
        var write = Task.Run(() => pair.A.Write(file, 0, MirroringTests.Pattern(1, 4096)));
        await Task.WhenAny(write, Task.Delay(200));
        Assert.False(write.IsCompleted, "nothing is acknowledged without the peer or the record (S4)");
        Assert.NotNull(pair.A.Engine.Status.WaitingFor);

        pair.Exclude();
        Assert.Equal(0, await write.WaitAsync(ReplicationHost.Deadline));
        Assert.True(pair.A.Engine.Status.DirtyBytes > 0);
    }

    [ReplicationFact]
    public async Task What_was_sent_and_not_acknowledged_is_held_then_released_and_marked()
    {
        await using var pair = new ReplicationPair();
        var stall = new StallingLinks();
        pair.B.Wrap = stall.Wrap;
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        Assert.Equal(0, await pair.A.Write(file, 0, MirroringTests.Pattern(1, 4096)).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, pair.A.Engine.Status.DirtyBytes);

        stall.Stall();
        var write = pair.A.Write(file, 1 << 20, MirroringTests.Pattern(2, 4096));
        // The progress deadline ends the session: the peer answers nothing.
        Assert.Contains("owes acknowledgements", pair.A.Expect("lost"));
        Assert.False(write.IsCompleted);
        Assert.Equal(1, pair.A.Engine.Status.HeldOperations);
        pair.Exclude();
        Assert.Equal(0, await write.WaitAsync(ReplicationHost.Deadline));
        // With it what the last flush has confirmed and none has proven.
        Assert.Equal(2 * DirtyMap.BlockBytes, pair.A.Engine.Status.DirtyBytes);
        stall.Release();
    }

    [ReplicationFact]
    public async Task Completions_that_begin_further_operations_lose_none_of_those_that_end_together()
    {
        const int each = 20;
        await using var pair = new ReplicationPair();
        var stall = new StallingLinks();
        pair.B.Wrap = stall.Wrap;
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        using var ended = new CountdownEvent(2 * each);
        void Change(int i, Action then) => pair.A.Volume.Mutate(
            new Mutation(MutationKind.SetXattr) { Object = file, Name = Encoding.UTF8.GetBytes($"user.{i}"), Data = [1] }, (error, _) =>
            {
                if (error == 0)
                    ended.Signal();
                then();
            });

        stall.Stall();
        var writes = new List<Task<int>>();
        for (var i = 0; i < each; i++)
        {
            var number = i;
            Change(number, () => Change(each + number, () => { }));
            writes.Add(pair.A.Write(file, number * 8192L, MirroringTests.Pattern(number, 4096)));
        }
        pair.A.Expect("lost");
        pair.Exclude();

        Assert.All(await Task.WhenAll(writes).WaitAsync(ReplicationHost.Deadline), error => Assert.Equal(0, error));
        Assert.True(ended.Wait(ReplicationHost.Deadline), $"{ended.CurrentCount} operations did not end");
        stall.Release();
    }

    [ReplicationFact]
    public async Task A_returning_peer_gets_only_what_changed_while_writing_goes_on()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        for (var i = 0; i < 32; i++)
            await pair.A.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline);
        await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline);
        // A later flush proves the first; what it covers itself is copied again.
        await pair.A.Write(file, 0, MirroringTests.Pattern(0, 4096)).WaitAsync(ReplicationHost.Deadline);
        await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline);
        await pair.B.Engine.StopFollowingAsync();
        pair.A.Expect("lost");
        pair.Exclude();
        for (var i = 0; i < 8; i++)
            await pair.A.Write(file, (long)i * (3 << 20), MirroringTests.Pattern(100 + i, 4096)).WaitAsync(ReplicationHost.Deadline);

        using var stop = new CancellationTokenSource();
        var writer = Task.Run(async () =>
        {
            var random = new SeededRandom(99);
            while (!stop.IsCancellationRequested)
                Assert.Equal(0, await pair.A.Write(file, (31 << 20) + random.Below(60_000), MirroringTests.Pattern(5, 100)).WaitAsync(ReplicationHost.Deadline));
        });
        await pair.Join();
        var status = pair.A.Engine.Status;
        stop.Cancel();
        await writer;
        Assert.False(status.FullResync);
        Assert.InRange(status.ResyncDoneBytes, 8 * DirtyMap.BlockBytes, 12 * DirtyMap.BlockBytes);
        pair.AssertEqual();
    }

    [ReplicationFact]
    public async Task A_primary_that_crashed_is_resynced_by_the_marks_of_both_hosts()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        for (var i = 0; i < 16; i++)
            await pair.A.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline);
        await pair.A.Flush(file).WaitAsync(ReplicationHost.Deadline);
        // Not flushed on both: only the log of A knows of it.
        await pair.A.Write(file, 2 << 20, MirroringTests.Pattern(50, 4096)).WaitAsync(ReplicationHost.Deadline);

        var (a, b) = (pair.A, pair.B);
        await b.Engine.StopFollowingAsync();
        var abandoned = a.Engine;
        a.Crash();
        // What A wrote last and B never saw.
        using (var behind = File.OpenHandle(Path.Combine(a.ModuleDirectory, "disk"), FileMode.Open, FileAccess.Write, FileShare.ReadWrite))
            RandomAccess.Write(behind, MirroringTests.Pattern(51, 4096), (2 << 20) + 8192);

        b.Record(3, "b", "b");
        b.State = b.State with { DataState = DataState.UpToDate };
        await b.Serve(3);
        await b.Write(file, 9 << 20, MirroringTests.Pattern(60, 4096)).WaitAsync(ReplicationHost.Deadline);

        a.Record(3, "b", "b");
        a.State = a.State with { DataState = DataState.Outdated };
        await a.Engine.FollowAsync(3, CancellationToken.None);
        b.Engine.AttachPeer(3, inSync: false);
        b.Expect("caught-up");
        Assert.False(b.Engine.Status.FullResync);
        Assert.InRange(b.Engine.Status.ResyncDoneBytes, 2 * DirtyMap.BlockBytes, 20L << 20);
        pair.AssertEqual();
        await abandoned.DisposeAsync();
    }

    [ReplicationFact]
    public async Task A_new_peer_is_resynced_in_full_with_its_tree()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeAlone();
        var directory = (await pair.A.Mutate(new Mutation(MutationKind.MakeDirectory)
        {
            Parent = 1, Name = "sub"u8.ToArray(), Mode = 0x41ED,
        })).Object;
        var file = await pair.A.Create("disk", directory);
        await pair.A.Write(file, 5 << 20, MirroringTests.Pattern(1, 300_000)).WaitAsync(ReplicationHost.Deadline);
        await pair.A.Write(file, 64 << 20, MirroringTests.Pattern(2, 10)).WaitAsync(ReplicationHost.Deadline);
        File.WriteAllText(Path.Combine(pair.B.ModuleDirectory, "left-over"), "of another life");
        await pair.Join();
        Assert.True(pair.A.Engine.Status.FullResync);
        pair.AssertEqual();
        Assert.False(File.Exists(Path.Combine(pair.B.ModuleDirectory, "left-over")));
    }

    [ReplicationFact]
    public async Task A_frozen_volume_gives_out_neither_data_nor_completions()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeAlone();
        var file = await pair.A.Create("disk");
        pair.A.Engine.Freeze();
        var write = Task.Run(() => pair.A.Write(file, 0, new byte[10]));
        var read = Task.Run(() => pair.A.Volume.GetAttributes(file, out _));
        await Task.WhenAny(write, read, Task.Delay(200));
        Assert.False(write.IsCompleted || read.IsCompleted);
        pair.A.Engine.Unfreeze();
        Assert.Equal(0, await write.WaitAsync(ReplicationHost.Deadline));
        Assert.Equal(0, await read.WaitAsync(ReplicationHost.Deadline));
    }

    [ReplicationFact]
    public async Task A_volume_that_is_shut_answers_what_it_holds_with_an_error_once()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        await pair.B.Engine.StopFollowingAsync();
        pair.A.Expect("lost");
        pair.A.Engine.Freeze();
        var volume = pair.A.Volume;
        using var begun = new CountdownEvent(5);
        Task<int> Begin(Func<Task<int>> operation) => Task.Factory.StartNew(
            () =>
            {
                begun.Signal();
                return operation();
            },
            TaskCreationOptions.LongRunning).Unwrap();
        var held = Enumerable.Range(0, 4).Select(i => Begin(() => pair.A.Write(volume, file, i * 4096, new byte[4096]))).ToArray();
        var read = Begin(() => Task.FromResult(volume.GetAttributes(file, out _)));
        begun.Wait();
        await pair.A.Engine.StopServingAsync().WaitAsync(ReplicationHost.Deadline);
        Assert.All(await Task.WhenAll(held).WaitAsync(ReplicationHost.Deadline), error => Assert.Equal(Errno.EIO, error));
        Assert.Equal(Errno.EIO, await read.WaitAsync(ReplicationHost.Deadline));
    }

    [ReplicationFact]
    public async Task After_a_handover_the_copies_go_on_in_sync_without_a_resync()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var (from, to) = (pair.A, pair.B);
        var file = await from.Create("disk");
        for (var epoch = 3L; epoch < 6; epoch++)
        {
            Assert.Equal(0, await from.Write(file, epoch * 100_000, MirroringTests.Pattern((int)epoch, 50_000)).WaitAsync(ReplicationHost.Deadline));
            from.Engine.Quiesce();
            from.Expect("quiesced");
            await from.Engine.StopServingAsync();
            await to.Engine.StopFollowingAsync();
            from.Record(epoch, to.Name, "a", "b");
            to.Record(epoch, to.Name, "a", "b");
            from.State = from.State with { DataState = DataState.UpToDate };
            await to.Serve(epoch, peerIsMember: true);
            // The new primary may be quicker than the other's turn to follow.
            to.Engine.AttachPeer(epoch, inSync: true);
            await from.Engine.FollowAsync(epoch, CancellationToken.None);
            to.Expect("up");
            Assert.False(to.Saw("lost") || to.Saw("starting"));
            (from, to) = (to, from);
        }
        Assert.Equal(0, await from.Write(file, 1_000_000, MirroringTests.Pattern(9, 50_000)).WaitAsync(ReplicationHost.Deadline));
        pair.AssertEqual();
    }

    [ReplicationFact]
    public async Task An_in_sync_session_with_another_base_is_refused_and_reported()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        await pair.A.Flush().WaitAsync(ReplicationHost.Deadline);
        await pair.A.Engine.StopServingAsync();
        await pair.B.Engine.StopFollowingAsync();
        pair.A.Record(3, "b", "a", "b");
        pair.A.State = pair.A.State with { SyncBase = Guid.NewGuid() };
        pair.B.Record(3, "b", "a", "b");
        await pair.A.Engine.FollowAsync(3, CancellationToken.None);
        await pair.B.Serve(3, peerIsMember: true);
        pair.B.Engine.AttachPeer(3, inSync: true);
        Assert.Contains("NotInSync", pair.B.Expect("lost"));
        Assert.NotEqual(0ul, file);
    }

    [ReplicationFact]
    public async Task A_source_of_an_older_epoch_is_refused()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeAlone();
        pair.B.Record(5, "b", "b");
        await pair.B.Engine.FollowAsync(5, CancellationToken.None);
        pair.A.Engine.AttachPeer(1, inSync: false);
        Assert.Contains("OlderEpoch", pair.A.Expect("lost"));
        Assert.False(pair.A.Engine.Status.SessionUp);
    }

    [ReplicationFact]
    public async Task A_resync_changes_nothing_on_the_target_before_it_is_allowed()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeAlone();
        await pair.A.Create("new");
        pair.B.Obliging = false;
        pair.B.Record(1, "a", "a");
        File.WriteAllText(Path.Combine(pair.B.ModuleDirectory, "old"), "old");
        await pair.B.Engine.FollowAsync(1, CancellationToken.None);
        pair.A.Engine.AttachPeer(1, inSync: false);
        var syncBase = Guid.Parse(pair.B.Expect("starting")["starting ".Length..]);
        Assert.True(File.Exists(Path.Combine(pair.B.ModuleDirectory, "old")));
        Assert.False(File.Exists(Path.Combine(pair.B.ModuleDirectory, "new")));
        pair.B.Engine.AllowResync(syncBase);
        pair.B.Expect("flushed");
        Assert.False(pair.A.Saw("caught-up"), "the target has not stored that it is up to date");
        pair.B.Engine.ConfirmResynced(syncBase);
        pair.A.Expect("caught-up");
        pair.AssertEqual();
    }

    /// <summary>Links whose reads can be made to wait: a peer that is there and does nothing.</summary>
    private sealed class StallingLinks
    {
        private volatile bool _stalled;

        public ILinkLayer Wrap(ILinkLayer layer) => new Stalling(layer, this);
        public void Stall() => _stalled = true;
        public void Release() => _stalled = false;

        private sealed unsafe class Stalling(ILinkLayer inner, StallingLinks links) : FilterLayer(inner)
        {
            public override int Receive(byte* buffer, int bytes) => links._stalled ? -1 : base.Receive(buffer, bytes);
        }
    }
}
