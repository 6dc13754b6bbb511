using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Grains.ControlPlane;

/// <summary>The decision on a failback, one condition after the other.</summary>
public sealed class FailbackTests
{
    private const long HoldMs = 600_000;

    private static readonly ArbiterRecord Whole = new(Guid.NewGuid(), 7, "c/b", ["c/a", "c/b"], ["c/a", "c/b"], []);

    private static readonly FailbackFacts Due = new(
        Run: true, CommandOpen: false, Whole, "c/a", HoldMs, SinceRecordMs: HoldMs, SinceFailbackMs: null, Failed: null, PlacedByOperator: false,
        Word("PRIM"), Word("SECOND"));

    [Fact]
    public void It_is_begun_when_the_pair_was_whole_for_the_hold_time() => Assert.Null(Failback.WhyNot(Due));

    [Fact]
    public void Without_a_preferred_primary_or_on_it_or_stopped_there_is_nothing_to_say()
    {
        Assert.Equal("", Failback.WhyNot(Due with { Preferred = null }));
        Assert.Equal("", Failback.WhyNot(Due with { Preferred = "c/b" }));
        Assert.Equal("", Failback.WhyNot(Due with { Run = false }));
        Assert.Equal("", Failback.WhyNot(Due with { Record = Whole with { Primary = null } }));
    }

    [Fact]
    public void It_waits_with_a_reason_for_each_condition()
    {
        FailbackFacts[] notYet =
        [
            Due with { SinceRecordMs = HoldMs - 1 },
            Due with { CommandOpen = true },
            Due with { PlacedByOperator = true },
            Due with { Failed = "The VM does not stop." },
            Due with { Record = Whole with { InSync = ["c/b"] } },
            Due with { PreferredWord = Word("SECOND", ready: false) },
            Due with { PreferredWord = Word("WAIT") },
            Due with { PreferredWord = new HostWord(false, null) },
            Due with { PrimaryWord = Word("ALONE") },
            Due with { PrimaryWord = new HostWord(true, null) },
        ];
        foreach (var facts in notYet) Assert.NotEqual("", Failback.WhyNot(facts) ?? "");
    }

    [Fact]
    public void After_a_failback_the_next_one_waits_three_hold_times_so_that_a_failing_host_is_not_gone_back_to_again_and_again()
    {
        Assert.NotNull(Failback.WhyNot(Due with { SinceFailbackMs = 3 * HoldMs - 1 }));
        Assert.Null(Failback.WhyNot(Due with { SinceFailbackMs = 3 * HoldMs }));
    }

    private static HostWord Word(string role, bool ready = true) => new(true, new ModuleReport(
        "c/m", role, ready, "UpToDate", new RecordView(Whole.Incarnation, 7, "c/b", Whole.InSync), "code", "cause", 1, "running",
        new ReplicationReport(true, false, false, 0, 0, 0, 0, 0, null), null, [], [], []));
}
