using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Faults of disks, of streams and of the engine itself: none is silent, none reaches the good copy.</summary>
public class EngineFaultTests
{
    [ReplicationFact]
    public async Task What_a_failed_write_left_is_not_sent_when_it_cannot_be_read()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        var good = MirroringTests.Pattern(1, 1 << 20);
        File.WriteAllBytes(Path.Combine(pair.B.ModuleDirectory, "disk"), good);
        File.Delete(Path.Combine(pair.A.ModuleDirectory, "disk"));
        var sentBefore = pair.A.Engine.Status.ReplicatedOperations;
        var write = pair.A.Write(file, 0, good[..4096]);
        Assert.Contains("could not be read", pair.A.Expect("lost"));
        Assert.Equal(sentBefore + 1, pair.A.Engine.Status.ReplicatedOperations);
        Assert.Equal(good, File.ReadAllBytes(Path.Combine(pair.B.ModuleDirectory, "disk")));
        pair.Exclude();
        Assert.Equal(Errno.ENOENT, await write.WaitAsync(ReplicationHost.Deadline));
        Assert.True(pair.A.Engine.Status.DirtyBytes > 0);
    }

    [ReplicationFact]
    public async Task An_unforeseen_exception_in_a_session_is_a_loss_with_its_reason()
    {
        await using var pair = new ReplicationPair();
        var breaking = new BreakingLayer.Switch();
        pair.A.WrapDialled = layer => new BreakingLayer(layer, breaking);
        await pair.ServeMirrored();
        breaking.LimitBytes = 0;
        var write = Task.Run(async () => await pair.A.Write(await pair.A.Create("disk"), 0, MirroringTests.Pattern(1, 4096)));
        Assert.Contains("broken in an unforeseen way", pair.A.Expect("lost"));
        pair.Exclude();
        Assert.Equal(0, await write.WaitAsync(ReplicationHost.Deadline));
    }

    [ReplicationFact]
    public async Task What_a_lost_resync_had_copied_and_flushed_is_not_copied_again()
    {
        const int FileBytes = 32 << 20;
        await using var pair = new ReplicationPair();
        var breaking = new BreakingLayer.Switch();
        pair.B.Wrap = layer => new BreakingLayer(layer, breaking);
        await pair.ServeMirrored();
        await pair.B.Engine.StopFollowingAsync();
        pair.A.Expect("lost");
        pair.Exclude();
        var file = await pair.A.Create("disk");
        for (var i = 0; i < FileBytes >> 20; i++)
            await pair.A.Write(file, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)).WaitAsync(ReplicationHost.Deadline);
        Assert.Equal(FileBytes, pair.A.Engine.Status.DirtyBytes);

        breaking.LimitBytes = 20 << 20;
        await pair.B.Engine.FollowAsync(pair.A.State.Record.Epoch, CancellationToken.None);
        pair.A.Engine.AttachPeer(pair.A.State.Record.Epoch, inSync: false);
        pair.A.Expect("lost");
        var left = pair.A.Engine.Status.DirtyBytes;
        Assert.InRange(left, FileBytes - (20 << 20), FileBytes - (8 << 20));
        breaking.LimitBytes = long.MaxValue;
        pair.A.Expect("caught-up");
        pair.AssertEqual();
    }

    [ReplicationFact]
    public async Task An_object_id_is_not_given_again_when_an_epoch_is_served_again()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeAlone();
        var first = await pair.A.Create("a");
        await pair.A.Mutate(new Mutation(MutationKind.Unlink) { Parent = 1, Name = "a"u8.ToArray() });
        await pair.A.Engine.StopServingAsync();
        await pair.A.Serve(1);
        Assert.True(await pair.A.Create("b") > first, "the peer may know the first one still");
    }

    /// <summary>Receives so many bytes and then fails as no layer should.</summary>
    private sealed unsafe class BreakingLayer(ILinkLayer inner, BreakingLayer.Switch breaking) : FilterLayer(inner)
    {
        public sealed class Switch
        {
            private long _readBytes;
            private long _limitBytes = long.MaxValue;

            /// <summary>Bytes that may be read from now on.</summary>
            public long LimitBytes
            {
                set
                {
                    Interlocked.Exchange(ref _readBytes, 0);
                    Interlocked.Exchange(ref _limitBytes, value);
                }
            }

            public int Read(int count) =>
                count > 0 && Interlocked.Add(ref _readBytes, count) > Interlocked.Read(ref _limitBytes) ? throw new ArithmeticException("broken in an unforeseen way") : count;
        }

        public override int Receive(byte* buffer, int bytes) => breaking.Read(base.Receive(buffer, bytes));
    }
}
