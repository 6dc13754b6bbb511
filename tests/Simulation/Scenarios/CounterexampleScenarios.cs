using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;
using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>The counterexamples that a model found against plainer rules (docs/protocol), each as it happens to the production machines:
/// at the exact moment, which real processes cannot be made to hit. The lab does the nearest real thing (docs/lab.md).</summary>
public sealed class CounterexampleScenarios
{
    private const int StepsAround = 25;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Join_lands_late_link_cut(bool nothingElsePasses) => PairStory.Tell(story =>
    {
        story.SecondaryLeaves();
        story.Secondary.Start();
        var asked = 0;
        story.World.Arbiter.FateOf = (host, request) => request.Change switch
        {
            ArbiterChange.Join when asked++ == 0 => new RequestFate(LateMs: 3 * story.DetectionMs),
            ArbiterChange.Join => RequestFate.Lost,
            _ => nothingElsePasses && host == story.Primary ? RequestFate.Lost : RequestFate.Passes,
        };
        story.At(story.Primary.Name, "asks Join", () => story.CutBothWays());
        var epoch = story.Record.Epoch;
        story.Pass(50);
        var acknowledged = story.World.Truth.Acknowledged;
        story.Until("the join has landed", () =>
        {
            // S11: looks at the old epoch decide nothing.
            if (story.Record.Epoch == epoch)
                Truth.Require(story.World.Truth.Acknowledged == acknowledged, "Acknowledged while the join was open.");
            return story.World.Trace.Any(line => line.Contains($"{story.Primary.Name} Join at {epoch}:", StringComparison.Ordinal) && After(line, epoch));
        });
        story.World.Arbiter.FateOf = null;
        story.Until("one of them runs", () => story.World.Hosts.Any(PairStory.Runs), story.RunsAgainMs);

        static bool After(string line, long epoch) => line.Contains("granted", StringComparison.Ordinal) || line.Contains($"epoch {epoch + 1}", StringComparison.Ordinal);
    });

    [Fact]
    public void Swap_request_late_then_peer_excludes() => PairStory.Tell(story =>
    {
        var asked = 0;
        story.World.Arbiter.FateOf = (host, request) => host != story.Primary ? RequestFate.Passes
            : request.Change == ArbiterChange.Handover && asked++ == 0 ? new RequestFate(LateMs: 4 * story.DetectionMs) : RequestFate.Lost;
        BeginSwap(story);
        story.At(story.Primary.Name, "asks Handover", () => story.CutBothWays());
        var late = false;
        story.When("arbiter", "Handover at", () => late = true);
        story.Until("the peer takes over", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
        var record = story.Record;
        Truth.Require(!late, "The handover was not late.");
        story.Until("the handover has landed", () => late);
        Truth.Require(story.Record.Epoch == record.Epoch && PairStory.Runs(story.Secondary), "A late handover has changed the record.");
    });

    [Fact]
    public void Swap_request_lands_when_the_peer_is_gone() => PairStory.Tell(story =>
    {
        BeginSwap(story);
        story.At(story.Primary.Name, "asks Handover", story.Secondary.LosePower);
        story.Until("the former primary runs again", () => PairStory.Runs(story.Primary), 2 * story.RunsAgainMs);
    });

    [Fact]
    public void Write_on_wire_at_join() => PairStory.Tell(story =>
    {
        story.SecondaryLeaves();
        story.Secondary.Start();
        story.At(story.Primary.Name, "asks Join", () => story.World.Cut(story.Primary, 200));
        story.At("arbiter", "Join at", () => story.Primary.Crash("dies"));
        story.Until("the peer runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
    });

    [Fact]
    public void Own_flush_unfinished_power_off() => PairStory.TellForEach(Enumerable.Range(0, 2 * StepsAround), (story, moment) =>
    {
        var steps = -1;
        var begun = story.World.Truth.FlushesBegun;
        story.World.BeforeEngineStep = _ =>
        {
            // Counted from a flush on: some of the steps after it end it on one host.
            if (steps < 0 && story.World.Truth.FlushesBegun == begun)
                return;
            if (++steps == moment)
                story.Primary.LosePower();
        };
        story.Until("the primary is off", () => !story.Primary.Powered);
        story.World.BeforeEngineStep = null;
        story.Until("the peer runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
        story.Primary.RestorePower();
        story.Until("the pair is whole", () => SimulationRun.Whole(story.World));
        story.Secondary.LosePower();
        story.Until("the first runs again", () => PairStory.Runs(story.Primary), story.RunsAgainMs);
    });

    [Fact]
    public void Target_power_off_after_last_copy()
    {
        const int Seed = 3;
        var stepsToJoin = 0;
        PairStory.Tell(Seed, story => Play(story, int.MaxValue));
        var asked = stepsToJoin;
        Assert.True(asked > StepsAround);
        foreach (var at in Enumerable.Range(asked - StepsAround, 2 * StepsAround))
            PairStory.Tell(Seed, story => Play(story, at), moment: $", step {at}");

        void Play(PairStory story, int offAt)
        {
            story.SecondaryLeaves();
            story.Secondary.Start();
            var (steps, off) = (0, false);
            story.World.BeforeEngineStep = _ =>
            {
                if (steps++ != offAt)
                    return;
                off = true;
                story.Secondary.LosePower();
            };
            story.When(story.Primary.Name, "asks Join", () => stepsToJoin = steps);
            story.Until("the moment", () => off || (offAt == int.MaxValue && SimulationRun.Whole(story.World)));
            story.World.BeforeEngineStep = null;
            story.Pass(story.DetectionMs / 4);
            story.Secondary.RestorePower();
            story.Until("the pair is whole", () => SimulationRun.Whole(story.World));
            story.Primary.LosePower();
            story.Until("the target runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
        }
    }

    [Fact]
    public void Secondary_reboots_inside_detection() => PairStory.Tell(story =>
    {
        story.Secondary.LosePower();
        story.Pass(story.DetectionMs / 5);
        story.Secondary.RestorePower();
        var flushes = story.World.Truth.Flushes;
        story.Until("a flush is acknowledged", () => story.World.Truth.Flushes > flushes);
        story.Primary.LosePower();
        story.Pass(2 * story.RunsAgainMs);
        // It has what was flushed, or it lets the other go first.
        story.Primary.RestorePower();
    });

    [Fact]
    public void Leaver_returns_while_record_stale() => PairStory.Tell(story =>
    {
        story.World.Arbiter.Away(PairStory.EverMs);
        story.Secondary.Crash("leaves");
        story.Pass(story.DetectionMs);
        var acknowledged = story.World.Truth.Acknowledged;
        story.Secondary.Start();
        story.Pass(story.DetectionMs / 2);
        story.Primary.LosePower();
        Truth.Require(story.World.Truth.Acknowledged == acknowledged, "Acknowledged without the leaver, which the record names.");
        story.World.Arbiter.Heal();
        story.Until("the leaver runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
    });

    /// <summary>The same with a promise: the primary writes on without the leaver, which may not run in that epoch.</summary>
    [Fact]
    public void Leaver_that_promised_returns_while_record_stale() => PairStory.Tell(story =>
    {
        story.World.Arbiter.Away(PairStory.EverMs);
        story.Secondary.StopInOrder();
        story.Until("the leaver has ended", () => !story.Secondary.Running);
        var acknowledged = story.World.Truth.Acknowledged;
        story.Until("the primary writes on", () => story.World.Truth.Acknowledged > acknowledged + 20);
        story.Secondary.Start();
        story.Pass(story.DetectionMs / 2);
        story.Primary.LosePower();
        story.World.Arbiter.Heal();
        for (var i = 0; i < 10; i++)
        {
            story.Pass(story.DetectionMs);
            Truth.Require(!story.Secondary.Vm.MayRun, "It runs what it has missed writes of.");
        }
    });

    [Theory]
    [InlineData(nameof(Sabotage.None))]
    [InlineData(nameof(Sabotage.TakeOverWithoutWaiting))]
    public void Secondary_restarts_inside_lease_link_cut(string broken) => Caught(broken, story =>
    {
        story.KeepFromArbiter(story.Primary);
        story.Secondary.Crash("restarts");
        story.CutBothWays();
        story.Secondary.Start();
        story.Until("the peer runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
    });

    [Theory]
    [InlineData(nameof(Sabotage.None))]
    [InlineData(nameof(Sabotage.AnswerWhileClaiming))]
    public void Beacon_during_takeover_request(string broken) => Caught(broken, story =>
    {
        var asked = 0;
        story.World.Arbiter.FateOf = (_, request) =>
            request.Change == ArbiterChange.Takeover && asked++ == 0 ? new RequestFate(LateMs: story.DetectionMs) : RequestFate.Lost;
        story.KeepFromArbiter(story.Primary);
        story.World.Cut(story.Primary, PairStory.EverMs);
        story.At(story.Secondary.Name, "asks Takeover", story.HealLinks);
        story.At("arbiter", "Takeover at", () =>
        {
            story.World.Arbiter.FateOf = null;
            story.CutBothWays();
        });
        story.Until("the peer runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
    });

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void One_way_cut_and_arbiter_away(bool fromThePrimary) => PairStory.Tell(story =>
    {
        story.World.Cut(fromThePrimary ? story.Primary : story.Secondary, PairStory.EverMs);
        story.KeepFromArbiter(story.Primary);
        story.World.Arbiter.Away(2 * story.DetectionMs);
        story.Pass(2 * story.DetectionMs);
        // It must fail over although beacons of the primary may still come, which hears no answer.
        story.Until("the peer runs", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
        Truth.Require(!story.Primary.Vm.Executes, "The primary runs on.");
    });

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void One_of_replication_and_beacons_is_dead_and_the_other_alive(bool beaconsAlive) => PairStory.Tell(story =>
    {
        foreach (var host in story.World.Hosts)
            if (beaconsAlive)
                host.ReplicationCutUntilMs = PairStory.EverMs;
            else
                host.BeaconsCutUntilMs = PairStory.EverMs;
        story.Until("one of them runs alone", () => story.World.Hosts.Any(host => host.Machine?.View.Role == Role.Alone && PairStory.Runs(host)), story.RunsAgainMs);
        var acknowledged = story.World.Truth.Acknowledged;
        story.Until("it writes", () => story.World.Truth.Acknowledged >= acknowledged + 20, story.RunsAgainMs);
    });

    [Fact]
    public void Joined_but_not_told_source_dies() => PairStory.Tell(story =>
    {
        story.SecondaryLeaves();
        story.Secondary.Start();
        story.World.Arbiter.FateOf = (_, request) => new RequestFate(AnswerLost: request.Change == ArbiterChange.Join);
        story.At("arbiter", "Join at", story.Primary.LosePower);
        story.Until("the joined host starts", () => PairStory.Runs(story.Secondary), story.RunsAgainMs);
    });

    private static void BeginSwap(PairStory story) => story.Primary.Feed(new RoleInput.Command(story.World.Random.Guid(), RoleCommand.Swap));

    /// <summary>The rules hold; and if one is broken on purpose, the story shows it on one seed at least.</summary>
    private static void Caught(string broken, Action<PairStory> story)
    {
        var sabotage = Enum.Parse<Sabotage>(broken);
        if (sabotage == Sabotage.None)
            PairStory.Tell(story);
        else
            Assert.Throws<SafetyViolation>(() => PairStory.Tell(story, sabotage));
    }
}
