using Pollux.DataPlane.Core.Fencing;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Fencing;

public sealed class WatchdogRuleTests
{
    private const long Now = 1_000_000;
    private static readonly RoleTimings Timings = new(RoleTimings.DetectionMsDefault);
    private const long TimeoutMs = 10_000;

    /// <summary>As the guard is told it: lease and half a margin.</summary>
    private static readonly long RightMs = Timings.LeaseMs + Timings.MarginMs / 2;

    [Fact]
    public void Without_a_vm_the_device_does_not_count() =>
        Assert.Equal(new WatchdogVerdict(false, false, null, 0), WatchdogRule.Decide(Now, TimeoutMs, [], silentMs: 1_000_000, fenced: null));

    [Fact]
    public void A_host_that_needs_no_lease_is_fed() =>
        Assert.True(WatchdogRule.Decide(Now, TimeoutMs, [new WatchedDomain("vm1", long.MaxValue, RightMs, AtRest: false)], 500, null).Feed);

    [Theory]
    [InlineData(3_000, 1_000)]
    [InlineData(30_000, 10_000)]
    [InlineData(60_000, 20_000)]
    public void A_host_that_hangs_after_any_feeding_is_reset_before_its_peer_may_take_over(long detectionMs, long timeoutMs)
    {
        var timings = new RoleTimings(detectionMs);
        var rightMs = timings.LeaseMs + timings.MarginMs / 2;
        var sentMs = Now;
        var until = sentMs + rightMs;
        var domain = new WatchedDomain("vm1", until, rightMs, AtRest: false);
        var lastFedMs = 0L;
        for (var now = sentMs; now < until + timeoutMs; now++)
        {
            var verdict = WatchdogRule.Decide(now, timeoutMs, [domain], 500, null);
            Assert.Equal(0, verdict.LateMs);
            if (verdict.Feed)
                lastFedMs = now;
        }

        // The peer may take over a lease and a margin after it has answered, which is after the sending.
        Assert.InRange(lastFedMs + timeoutMs, until + 1, sentMs + timings.LeaseMs + timings.MarginMs - 1);
        // And it is fed for two intervals at least after each renewal, which comes with each beacon.
        Assert.True(lastFedMs - sentMs >= 2 * WatchdogRule.FeedEveryMs(timeoutMs));
    }

    [Fact]
    public void A_domain_at_rest_needs_no_lease()
    {
        var expired = new WatchedDomain("vm1", Now - 1, RightMs, AtRest: true);
        Assert.True(WatchdogRule.Decide(Now, TimeoutMs, [expired], 500, null).Feed);
        var verdict = WatchdogRule.Decide(Now, TimeoutMs, [expired with { AtRest = false }], 500, null);
        Assert.True(verdict is { Armed: true, Feed: false });
        Assert.Contains("vm1 executes without a lease", verdict.Reason);
    }

    [Fact]
    public void One_domain_without_a_right_is_enough()
    {
        WatchedDomain[] domains = [new("vm1", long.MaxValue, 0, AtRest: false), new("vm2", Now + 100, RightMs, AtRest: false)];
        Assert.Contains("lease of vm2", WatchdogRule.Decide(Now, TimeoutMs, domains, 500, null).Reason);
    }

    [Fact]
    public void A_timeout_that_is_too_long_for_the_lease_is_fed_to_its_end_and_says_how_late_it_is()
    {
        var timings = new RoleTimings(RoleTimings.DetectionMsMin);
        var domain = new WatchedDomain("vm1", Now + 1, timings.LeaseMs + timings.MarginMs / 2, AtRest: false);
        var verdict = WatchdogRule.Decide(Now, TimeoutMs, [domain], 500, null);
        Assert.True(verdict.Feed);
        Assert.Equal(TimeoutMs, verdict.LateMs);
        Assert.False(WatchdogRule.Decide(Now + 1, TimeoutMs, [domain], 500, null).Feed);
    }

    [Fact]
    public void A_data_plane_that_hangs_is_not_fed_for_and_one_that_is_gone_is()
    {
        WatchedDomain[] domains = [new("vm1", long.MaxValue, 0, AtRest: false)];
        Assert.True(WatchdogRule.Decide(Now, TimeoutMs, domains, WatchdogRule.SilenceMaxMs - 1, null).Feed);
        Assert.False(WatchdogRule.Decide(Now, TimeoutMs, domains, WatchdogRule.SilenceMaxMs, null).Feed);
        Assert.True(WatchdogRule.Decide(Now, TimeoutMs, domains, silentMs: null, null).Feed);
    }

    [Fact]
    public void A_host_that_is_to_be_fenced_is_armed_and_not_fed_whatever_else_is_so() =>
        Assert.Equal(new WatchdogVerdict(true, false, "vm1 does not end", 0), WatchdogRule.Decide(Now, TimeoutMs, [], 500, "vm1 does not end"));
}
