using Pollux.DataPlane.Core.Roles;
using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>Hosts and witness go one after the other and come back in every order, with the production machines and a writing guest.</summary>
public sealed class LossAndReturnScenarios
{
    private const int StepsOfASwap = 60;

    [Fact]
    public void Witness_lost_then_host_lost() => PairStory.Tell(story =>
    {
        story.World.Arbiter.Away(PairStory.EverMs);
        story.Pass(3 * story.DetectionMs);
        Truth.Require(PairStory.Runs(story.Primary), "S9: a running pair goes on without its arbiter.");
        story.Primary.LosePower();
        story.Pass(3 * story.DetectionMs);
        Truth.Require(!story.Secondary.Vm.MayRun, "Started without the arbiter.");
        story.World.Arbiter.Heal();
        story.Until("the peer runs when the witness is back", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
    });

    [Fact]
    public void Host_lost_then_witness_lost() => PairStory.Tell(story =>
    {
        story.Primary.LosePower();
        story.Pass(story.DetectionMs / 2);
        story.World.Arbiter.Away(3 * story.DetectionMs);
        story.Pass(3 * story.DetectionMs);
        story.Until("the peer runs when the witness is back", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
        story.World.Arbiter.Away(PairStory.EverMs);
        story.Pass(3 * story.DetectionMs);
        Truth.Require(PairStory.Runs(story.Secondary), "S9: a recorded ALONE host goes on without the arbiter.");
    });

    [Fact]
    public void Secondary_that_left_and_missed_much_refuses_to_run_when_it_returns_to_nobody() => PairStory.Tell(story =>
    {
        story.SecondaryLeaves();
        story.Primary.LosePower();
        story.Secondary.Start();
        for (var i = 0; i < 20; i++)
        {
            story.Pass(story.DetectionMs);
            Truth.Require(!story.Secondary.Vm.MayRun && story.Record.Primary == story.Primary.Name, "Old data may not run.");
        }
    });

    [Fact]
    public void Resync_source_dies_in_mid_resync_and_the_target_waits_for_it() => PairStory.TellForEach(Enumerable.Range(1, 30), (story, moment) =>
    {
        story.SecondaryLeaves();
        story.Secondary.Start();
        story.Until("a resync runs", () => story.Secondary.Machine!.View.DataState == DataState.Inconsistent);
        var steps = 0;
        story.World.BeforeEngineStep = _ =>
        {
            if (++steps == 5 * moment && story.Secondary.Stored.DataState == DataState.Inconsistent)
                story.Primary.LosePower();
        };
        story.Until("it ends", () => !story.Primary.Powered || SimulationRun.Whole(story.World));
        story.World.BeforeEngineStep = null;
        if (!story.Primary.Powered)
        {
            story.Pass(2 * story.RunsAgainMs);
            Truth.Require(!story.Secondary.Vm.MayRun, "S7: a target is not a source.");
            story.Primary.RestorePower();
            story.Until("the pair is whole", () => SimulationRun.Whole(story.World));
        }

        // The target becomes the source.
        story.Primary.LosePower();
        story.Until("the target runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
    });

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Both_lose_power_and_return_one_by_one(bool primaryFirst) => PairStory.Tell(story =>
    {
        story.Primary.LosePower();
        story.Pass(story.DetectionMs / 8);
        story.Secondary.LosePower();
        story.Pass(1_000);
        var (first, second) = primaryFirst ? (story.Primary, story.Secondary) : (story.Secondary, story.Primary);
        first.RestorePower();
        story.Until("the first to return runs alone", () => PairStory.Runs(first), story.RunsAgainMs);
        second.RestorePower();
    });

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Both_lose_power_and_return_together(bool primaryALittleFirst) => PairStory.Tell(story =>
    {
        story.Primary.LosePower();
        story.Secondary.LosePower();
        story.Pass(1_000);
        (primaryALittleFirst ? story.Primary : story.Secondary).RestorePower();
        story.Pass(story.DetectionMs / 4);
        (primaryALittleFirst ? story.Secondary : story.Primary).RestorePower();
        story.Until("whom the record names runs", () => PairStory.Runs(story.Primary), story.RunsAgainMs);
    });

    [Fact]
    public void Brief_cut_during_resync() => PairStory.TellForEach(Enumerable.Range(1, 20), (story, moment) =>
    {
        story.SecondaryLeaves();
        story.Secondary.Start();
        story.Until("a resync runs", () => story.Secondary.Machine!.View.DataState == DataState.Inconsistent);
        story.Pass(moment);
        story.CutBothWays(story.DetectionMs / 4);
        story.Until("the pair is whole", () => SimulationRun.Whole(story.World));
        Truth.Require(PairStory.Runs(story.Primary), "The source went on.");
    });

    [Fact]
    public void Frozen_primary_thawed_after_takeover() => PairStory.Tell(story =>
    {
        story.Primary.Freeze();
        story.Until("the peer runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
        story.Primary.Thaw();
        story.Pass(story.DetectionMs);
        Truth.Require(!story.Primary.Vm.MayRun, "The thawed host still has its VM.");
    });

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Swap_with_one_of_them_dying_at_every_step(bool peerDies, bool withItsPower) => PairStory.TellForEach(Enumerable.Range(0, StepsOfASwap), (story, moment) =>
    {
        var lines = 0;
        var dies = peerDies ? story.Secondary : story.Primary;
        var dead = false;
        var heard = story.World.Said!;
        story.World.Said = (who, what) =>
        {
            heard(who, what);
            if (lines++ == moment)
                story.World.Schedule.After(0, () =>
                {
                    dead = true;
                    if (withItsPower)
                        dies.LosePower();
                    else
                        dies.Crash("dies");
                });
        };
        story.Primary.Feed(new RoleInput.Command(story.World.Random.Guid(), RoleCommand.Swap));
        story.Until("it has died, or the swap is over", () => dead || (SimulationRun.Whole(story.World) && PairStory.Runs(story.Secondary)));
        if (!dead)
            return;
        story.Until("the other runs", () => PairStory.Runs(dies.Peer), 2 * story.RunsAgainMs);
    });
}
