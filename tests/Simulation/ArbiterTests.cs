using Pollux.Grains.Core;

namespace Pollux.Tests.Simulation;

public sealed class ArbiterTests
{
    private static readonly Guid Incarnation = new(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    private static readonly ArbiterRecord New = ArbiterRecord.ForNewModule(Incarnation, "a", ["a", "b"]);
    private static readonly ArbiterRecord Alone = Granted(New, Ask(New, ArbiterChange.Takeover, "a"));
    private static readonly ArbiterRecord Pair = Granted(Alone, Ask(Alone, ArbiterChange.Join, "a"));

    [Fact]
    public void A_declared_copy_is_the_only_member_of_the_next_epoch_and_voids_what_was_asked_before()
    {
        var alone = Granted(Pair, Ask(Pair, ArbiterChange.Exclude, "a"));
        var late = Ask(alone, ArbiterChange.Join, "a");
        var declared = Arbiter.Declare(alone, "b");
        Assert.Equal((alone.Epoch + 1, "b", "b", alone.Incarnation), (declared.Epoch, declared.Primary, declared.Declared, declared.Incarnation));
        Assert.Equal("b", Assert.Single(declared.InSync));
        Assert.False(Arbiter.Decide(declared, late).Decision.Granted);
        Assert.False(Arbiter.Decide(declared, Ask(declared, ArbiterChange.Takeover, "a")).Decision.Granted);
        Assert.Null(Granted(declared, Ask(declared, ArbiterChange.Takeover, "b")).Declared);
        Assert.Throws<ArgumentException>(() => Arbiter.Declare(alone, "c"));
    }

    [Fact]
    public void A_module_begins_with_its_source_in_sync_and_no_primary()
    {
        Assert.Equal((1L, null), (New.Epoch, New.Primary));
        Assert.Equal("a", Assert.Single(New.InSync));
        Assert.Throws<ArgumentException>(() => ArbiterRecord.ForNewModule(Incarnation, "c", ["a", "b"]));
    }

    [Fact]
    public void A_takeover_leaves_only_the_asker_in_the_set()
    {
        var taken = Granted(Pair, Ask(Pair, ArbiterChange.Takeover, "b"));
        Assert.Equal((Pair.Epoch + 1, "b"), (taken.Epoch, taken.Primary));
        Assert.Equal("b", Assert.Single(taken.InSync));
    }

    [Fact]
    public void A_takeover_from_outside_the_set_is_refused_with_the_record()
    {
        var (decision, record) = Arbiter.Decide(Alone, Ask(Alone, ArbiterChange.Takeover, "b"));
        Assert.False(decision.Granted);
        Assert.Same(Alone, record);
        Assert.Same(Alone, decision.Record);
    }

    [Theory]
    [InlineData(ArbiterChange.Exclude)]
    [InlineData(ArbiterChange.Join)]
    [InlineData(ArbiterChange.Handover)]
    public void Only_the_primary_changes_who_is_in_sync_or_hands_over(ArbiterChange change) =>
        Assert.False(Arbiter.Decide(Pair, Ask(Pair, change, "b")).Decision.Granted);

    [Fact]
    public void A_handover_keeps_both_and_needs_a_member()
    {
        var handed = Granted(Pair, Ask(Pair, ArbiterChange.Handover, "a"));
        Assert.Equal("b", handed.Primary);
        Assert.Equal(new[] { "a", "b" }, handed.InSync.AsEnumerable());
        Assert.False(Arbiter.Decide(Alone, Ask(Alone, ArbiterChange.Handover, "a")).Decision.Granted);
    }

    [Fact]
    public void An_exclusion_is_granted_again_so_that_its_epoch_voids_an_undecided_join()
    {
        var join = Ask(Alone, ArbiterChange.Join, "a");
        var excluded = Granted(Alone, Ask(Alone, ArbiterChange.Exclude, "a"));
        Assert.Equal(Alone.Epoch + 1, excluded.Epoch);
        Assert.False(Arbiter.Decide(excluded, join).Decision.Granted);
    }

    [Fact]
    public void Of_two_requests_of_one_epoch_one_is_granted()
    {
        var takeover = Ask(Pair, ArbiterChange.Takeover, "b");
        var exclude = Ask(Pair, ArbiterChange.Exclude, "a");
        Assert.False(Arbiter.Decide(Granted(Pair, takeover), exclude).Decision.Granted);
        Assert.False(Arbiter.Decide(Granted(Pair, exclude), takeover).Decision.Granted);
    }

    [Fact]
    public void A_repeated_grant_is_granted_and_changes_nothing_and_shows_the_record_of_now()
    {
        var handover = Ask(Pair, ArbiterChange.Handover, "a");
        var handed = Granted(Pair, handover);
        var alone = Granted(handed, Ask(handed, ArbiterChange.Exclude, "b"));
        var (decision, record) = Arbiter.Decide(alone, handover);
        Assert.True(decision.Granted);
        Assert.Same(alone, record);
        Assert.Equal("b", decision.Record.Primary);
    }

    [Fact]
    public void Grants_are_remembered_up_to_a_limit_and_a_forgotten_one_is_refused_with_the_record()
    {
        var first = Ask(Pair, ArbiterChange.Handover, "a");
        var record = Granted(Pair, first);
        for (var i = 0; i < Arbiter.GrantsRememberedMax; i++)
            record = Granted(record, Ask(record, ArbiterChange.Handover, record.Primary!));
        Assert.Equal(Arbiter.GrantsRememberedMax, record.Granted.Length);
        var (decision, after) = Arbiter.Decide(record, first);
        Assert.False(decision.Granted);
        Assert.Same(record, after);
    }

    [Fact]
    public void Another_incarnation_is_refused_and_may_look()
    {
        var request = Ask(Pair, ArbiterChange.Takeover, "b") with { RecordIncarnation = Guid.Empty };
        Assert.False(Arbiter.Decide(Pair, request).Decision.Granted);
        var look = Arbiter.Decide(Pair, request with { Change = ArbiterChange.Look });
        Assert.True(look.Decision.Granted);
        Assert.Same(Pair, look.Record);
    }

    [Theory]
    [InlineData("c", "b")]
    [InlineData("a", "c")]
    [InlineData("a", "a")]
    public void A_host_of_another_cluster_neither_asks_nor_is_named(string by, string peer) =>
        Assert.False(Arbiter.Decide(Pair, Ask(Pair, ArbiterChange.Exclude, by) with { Peer = peer }).Decision.Granted);

    private static ArbiterRequest Ask(ArbiterRecord record, ArbiterChange change, string by) =>
        new(Guid.NewGuid(), record.Incarnation, record.Epoch, change, by, by == "a" ? "b" : "a");

    private static ArbiterRecord Granted(ArbiterRecord record, ArbiterRequest request)
    {
        var (decision, changed) = Arbiter.Decide(record, request);
        Assert.True(decision.Granted, decision.Reason);
        Assert.Same(changed, decision.Record);
        return changed;
    }
}
