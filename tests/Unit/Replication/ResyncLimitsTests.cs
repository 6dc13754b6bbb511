using System.Diagnostics;

namespace Pollux.Tests.Unit.Replication;

public sealed class ResyncLimitsTests
{
    private const int MiB = 1 << 20;

    /// <summary>At the limit the whole would take longer than the test has patience.</summary>
    private const int DiskMiB = 128;
    private const long Limit = 4_000_000;

    [ReplicationFact]
    public async Task Limits_hold_for_a_resync_that_runs_and_change_its_rate_at_once()
    {
        await using var pair = new ReplicationPair();
        await pair.ServeAlone();
        var disk = await pair.A.Create("disk");
        for (var i = 0; i < DiskMiB; i++)
            Assert.Equal(0, await pair.A.Write(disk, (long)i * MiB, MirroringTests.Pattern(i + 1, MiB)).WaitAsync(ReplicationHost.Deadline));
        pair.A.Engine.SetResyncLimits(new ResyncLimits(0, Limit));
        pair.B.Record(1, "a", "a");
        await pair.B.Engine.FollowAsync(1, CancellationToken.None);
        pair.A.Engine.AttachPeer(1, inSync: false);

        await UntilDoneAsync(pair, 1);
        var clock = Stopwatch.StartNew();
        await UntilDoneAsync(pair, 24 * MiB);
        var status = pair.A.Engine.Status;
        // Eight copies may be under way when the first of them is counted: the rest has to wait for them.
        Assert.InRange(clock.Elapsed.TotalSeconds, 2, double.MaxValue);
        Assert.Equal((Limit, 0L), (status.Resync.BytesPerSecondMax, status.Resync.BytesPerSecondMin));
        Assert.InRange(status.Resync.BytesPerSecond, 1, 2 * Limit);
        Assert.InRange(status.Resync.RemainingSeconds!.Value, 5, double.MaxValue);
        Assert.Equal(status.Resync.TotalBytes, status.Resync.DoneBytes + status.Resync.LeftBytes);

        pair.A.Engine.SetResyncLimits(ResyncLimits.Default);
        pair.A.Expect("caught-up");
        pair.AssertEqual();
    }

    [ReplicationFact]
    public async Task Limits_that_were_set_before_hold_for_the_next_time_of_serving()
    {
        await using var pair = new ReplicationPair();
        pair.A.Engine.SetResyncLimits(new ResyncLimits(1, Limit));
        await pair.ServeAlone();
        await Eventually(() => pair.A.Engine.Status.Resync.BytesPerSecondMax == Limit);
        Assert.Throws<ArgumentOutOfRangeException>(() => pair.A.Engine.SetResyncLimits(new ResyncLimits(2, 1)));
    }

    private static Task UntilDoneAsync(ReplicationPair pair, long bytes) => Eventually(() => pair.A.Engine.Status is { Resyncing: true } status && status.Resync.DoneBytes >= bytes);

    private static async Task Eventually(Func<bool> condition)
    {
        for (var end = Environment.TickCount64 + 20_000; !condition(); await Task.Delay(5))
            Assert.True(Environment.TickCount64 < end, "it did not come about");
    }
}
