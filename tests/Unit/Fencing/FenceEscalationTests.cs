using Pollux.DataPlane.Core.Fencing;

namespace Pollux.Tests.Unit.Fencing;

public sealed class FenceEscalationTests
{
    private const long StopMs = 60_000;
    private const long WatchdogMs = 10_000;

    [Fact]
    public void A_vm_that_goes_in_time_costs_nothing()
    {
        var escalation = new FenceEscalation(new FenceMeans(StopMs, WatchdogMs, HasAgent: true));
        Assert.False(escalation.Step(1_000, stuckSinceMs: 1_000));
        Assert.Equal(FenceStage.Waiting, escalation.Stage);
        Assert.False(escalation.Step(1_000 + StopMs - 1, 1_000));
        Assert.False(escalation.Starves);
        escalation.Step(1_000 + StopMs, null);
        Assert.Equal(FenceStage.Idle, escalation.Stage);
    }

    [Fact]
    public void The_watchdog_comes_first_and_the_agent_when_no_reset_came()
    {
        var escalation = new FenceEscalation(new FenceMeans(StopMs, WatchdogMs, HasAgent: true));
        Assert.False(escalation.Step(StopMs, 0));
        Assert.Equal(FenceStage.Starving, escalation.Stage);
        Assert.True(escalation.Starves);
        var resetMs = StopMs + WatchdogMs + FenceEscalation.ResetMsMax;
        Assert.False(escalation.Step(resetMs - 1, 0));
        Assert.True(escalation.Step(resetMs, 0));
        Assert.Equal(FenceStage.Asking, escalation.Stage);
        Assert.True(escalation.Starves);
        Assert.False(escalation.Step(resetMs + 1, 0)); // One call at a time.
    }

    [Theory]
    [InlineData(FenceOutcome.Done)]
    [InlineData(FenceOutcome.Refused)]
    [InlineData(FenceOutcome.Unknown)]
    public void A_host_that_runs_on_after_its_agent_asks_again_and_again_in_growing_pauses(FenceOutcome outcome)
    {
        var escalation = new FenceEscalation(new FenceMeans(StopMs, WatchdogTimeoutMs: 0, HasAgent: true));
        var now = StopMs;
        Assert.True(escalation.Step(now, 0));
        Assert.False(escalation.Starves);
        foreach (var pauseMs in (long[])[30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000])
        {
            Assert.False(escalation.Step(now, 0, outcome));
            Assert.Equal((FenceStage.Pausing, outcome), (escalation.Stage, escalation.LastOutcome));
            Assert.False(escalation.Step(now + pauseMs - 1, 0));
            now += pauseMs;
            Assert.True(escalation.Step(now, 0));
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(WatchdogMs)]
    public void A_host_with_nothing_left_says_so_and_stays_unfed(long watchdogMs)
    {
        var escalation = new FenceEscalation(new FenceMeans(StopMs, watchdogMs, HasAgent: false));
        Assert.False(escalation.Step(StopMs, 0));
        Assert.False(escalation.Step(StopMs + watchdogMs + FenceEscalation.ResetMsMax, 0));
        Assert.Equal(FenceStage.Helpless, escalation.Stage);
        Assert.Equal(watchdogMs > 0, escalation.Starves);
    }

    [Fact]
    public void A_vm_that_goes_after_all_ends_it_and_the_next_one_has_its_full_time()
    {
        var escalation = new FenceEscalation(new FenceMeans(StopMs, WatchdogMs, HasAgent: true));
        escalation.Step(StopMs, 0);
        Assert.True(escalation.Starves);
        escalation.Step(StopMs + 1, null);
        Assert.False(escalation.Starves);
        escalation.Step(StopMs + 2, StopMs + 2);
        Assert.Equal(FenceStage.Waiting, escalation.Stage);

        var asking = new FenceEscalation(new FenceMeans(StopMs, 0, HasAgent: true));
        Assert.True(asking.Step(StopMs, 0));
        asking.Step(StopMs + 1, null);
        asking.Step(StopMs + 2, null, FenceOutcome.Unknown); // The call ends when nobody waits for it any more.
        Assert.Equal(FenceStage.Idle, asking.Stage);
    }
}
