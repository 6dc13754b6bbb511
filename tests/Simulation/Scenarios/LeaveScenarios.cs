using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>A host that is shut down in order, with the arbiter there and away (S9).</summary>
public sealed class LeaveScenarios
{
    private static readonly AuthorityRecord OfPeer = Scenario.Record(5, "b", "a", "b");
    private static readonly AuthorityRecord OfPeerAlone = Scenario.Record(6, "b", "b");
    private static readonly AuthorityRecord Pair = Scenario.Record(3, "a", "a", "b");

    [Fact]
    public void A_second_that_is_shut_down_follows_until_the_record_shows_it_out_and_promises_nothing()
    {
        var a = Second();
        a.Feed(new RoleInput.HostStops());
        a.WaitHearing(400, () => a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(0, a.Count<RoleEffect.Release>()); // It replicates still, so nothing waits on the primary.
        a.Hear(a.PeerBeacon(Role.Alone, OfPeerAlone));
        a.Saved();
        Assert.Equal(0, a.Count<RoleEffect.MayEnd>());
        a.Feed(new RoleInput.Released());
        Assert.Equal(1, a.Count<RoleEffect.MayEnd>());
        Assert.Equal((0L, true), (a.State.PromisedEpoch, a.State.Run));
        a.Check();
    }

    [Fact]
    public void With_the_arbiter_away_a_second_says_its_promise_when_it_is_stored_and_ends_when_it_was_heard()
    {
        var a = Second();
        a.Feed(new RoleInput.HostStops());
        a.WaitHearing(1_100, () => a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(5, a.State.PromisedEpoch);
        Assert.DoesNotContain(a.Effects.OfType<RoleEffect.SendBeacon>(), sent => sent.Beacon.PromisedEpoch != 0);
        a.Saved();
        a.Feed(new RoleInput.Released());
        Assert.Equal(5, a.Effects.OfType<RoleEffect.SendBeacon>().Last().Beacon.PromisedEpoch);
        Assert.Equal(0, a.Count<RoleEffect.MayEnd>());
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer) with { PeerReleased = true });
        Assert.Equal(1, a.Count<RoleEffect.MayEnd>());
        a.Check();
    }

    [Fact]
    public void A_promise_that_nobody_confirms_keeps_the_host_for_a_bounded_time()
    {
        var a = Second();
        a.Feed(new RoleInput.HostStops());
        a.WaitHearing(1_100, () => a.PeerBeacon(Role.Prim, OfPeer));
        a.Saved();
        a.Feed(new RoleInput.Released());
        a.WaitHearing(2_700, () => a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(0, a.Count<RoleEffect.MayEnd>());
        a.WaitHearing(400, () => a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(1, a.Count<RoleEffect.MayEnd>());
    }

    [Fact]
    public void A_process_that_follows_in_the_epoch_it_started_in_promises_nothing_because_a_request_of_the_one_before_may_be_open()
    {
        var a = new Scenario(Scenario.Stored(OfPeer));
        Follow(a);
        a.Feed(new RoleInput.HostStops());
        a.WaitHearing(6_000, () => a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(0, a.State.PromisedEpoch);
        a.Feed(new RoleInput.Released());
        Assert.Equal(1, a.Count<RoleEffect.MayEnd>());
    }

    [Fact]
    public void When_both_hosts_are_shut_down_none_promises_and_the_primary_ends_at_once()
    {
        var second = Second();
        second.Feed(new RoleInput.HostStops());
        second.WaitHearing(6_000, () => second.PeerBeacon(Role.Prim, OfPeer) with { Leaves = true });
        Assert.Equal(0, second.State.PromisedEpoch);
        var primary = PrimaryScenarios.StartPair();
        primary.Feed(new RoleInput.HostStops());
        Assert.Equal(1, primary.Count<RoleEffect.MayEnd>());
        Assert.True(primary.Effects.OfType<RoleEffect.SendBeacon>().Last().Beacon.Leaves);
    }

    [Fact]
    public void A_host_that_has_promised_takes_over_no_more_however_long_the_primary_is_silent()
    {
        var a = new Scenario(Scenario.Stored(OfPeer) with { PromisedEpoch = 5 });
        a.Feed(new RoleInput.Desired(true));
        a.WaitLooking(60_000, OfPeer);
        Assert.Null(a.Change);
        Assert.Equal("wait.left", a.View.Code);
        // Nor from a later record that names it, by a handover that was under way say.
        a.WaitLooking(60_000, Scenario.Record(6, "a", "a", "b"));
        Assert.Null(a.Change);
        a.Check();
    }

    [Fact]
    public void A_promise_ends_with_the_resync_that_follows_it()
    {
        var a = new Scenario(Scenario.Stored(OfPeer) with { PromisedEpoch = 5 });
        a.Feed(new RoleInput.Desired(true));
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer));
        a.Feed(new RoleInput.ResyncStarting(Guid.NewGuid()));
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(0, a.Count<RoleEffect.AllowResync>()); // The record has not shown it out.
        a.Hear(a.PeerBeacon(Role.Alone, OfPeerAlone));
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.AllowResync>());
        Assert.Equal(5, a.State.PromisedEpoch);
        a.Feed(new RoleInput.ReplicaFlushed(a.Effects.OfType<RoleEffect.AllowResync>().Single().SyncBase));
        Assert.Equal((0L, DataState.UpToDate), (a.State.PromisedEpoch, a.State.DataState));
    }

    [Fact]
    public void A_primary_asks_out_a_peer_that_is_shut_down_while_it_replicates_still()
    {
        var a = PrimaryScenarios.StartPair();
        a.Hear(a.PeerBeacon(Role.Second, Pair) with { Leaves = true });
        Assert.Equal(RecordChange.Exclude, a.Change!.Change);
        Assert.Equal(0, a.Count<RoleEffect.Freeze>());
        a.Granted(Scenario.Record(4, "a", "a"));
        a.Saved();
        // It is not dialled again before it has ended.
        var attached = a.Count<RoleEffect.AttachPeer>();
        a.Pass(3_000, () => a.Hear(a.PeerBeacon(Role.Second, Scenario.Record(4, "a", "a")) with { Leaves = true }));
        Assert.Equal(attached, a.Count<RoleEffect.AttachPeer>());
        Assert.Equal(Role.Alone, a.View.Role);
        a.Check();
    }

    [Fact]
    public void On_a_promise_of_its_epoch_a_primary_goes_on_without_peer_arbiter_and_lease()
    {
        var a = PrimaryScenarios.StartPair();
        a.Hear(a.PeerBeacon(Role.Second, Pair) with { Leaves = true });
        var detached = a.Count<RoleEffect.DetachPeer>();
        a.Hear(a.PeerBeacon(Role.Stop, Pair) with { Leaves = true, PromisedEpoch = 3 });
        Assert.Equal(detached + 1, a.Count<RoleEffect.DetachPeer>());
        Assert.True(a.Effects.OfType<RoleEffect.SendBeacon>().Last().Beacon.PeerReleased);
        a.Wait(30_000);
        Assert.Equal((0, 0), (a.Count<RoleEffect.Freeze>(), a.Count<RoleEffect.PauseWorkload>()));
        Assert.Equal("prim.peer-left", a.View.Code);
        // The exclusion that was asked is asked still, and ends it.
        a.Granted(Scenario.Record(4, "a", "a"));
        a.Saved();
        Assert.Equal((0, 0), (a.Count<RoleEffect.Freeze>(), a.Count<RoleEffect.PauseWorkload>()));
        Assert.True(a.View is { Role: Role.Alone, Ready: true });
        a.Check();
    }

    [Fact]
    public void A_promise_of_another_epoch_is_not_heard()
    {
        var a = PrimaryScenarios.StartPair();
        a.Hear(a.PeerBeacon(Role.Stop, Scenario.Record(2, "a", "a", "b")) with { PromisedEpoch = 2 });
        a.Hear(a.PeerBeacon(Role.Stop, Pair) with { PromisedEpoch = 2 });
        a.Wait(2_000);
        Assert.Equal(1, a.Count<RoleEffect.PauseWorkload>());
        Assert.DoesNotContain(a.Effects.OfType<RoleEffect.SendBeacon>(), sent => sent.Beacon.PeerReleased);
    }

    [Fact]
    public void A_paused_primary_that_hears_the_promise_resumes()
    {
        var a = PrimaryScenarios.StartPair();
        a.Wait(1_600);
        Assert.Equal(1, a.Count<RoleEffect.PauseWorkload>());
        a.Hear(a.PeerBeacon(Role.Stop, Pair) with { Leaves = true, PromisedEpoch = 3 });
        Assert.Equal(1, a.Count<RoleEffect.ResumeWorkload>());
    }

    /// <summary>SECOND at epoch 5, which it has learned in this process.</summary>
    private static Scenario Second()
    {
        var a = new Scenario(Scenario.Stored(Scenario.Record(4, "b", "b")));
        Follow(a);
        return a;
    }

    private static void Follow(Scenario a)
    {
        a.Feed(new RoleInput.Desired(true));
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer));
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.Follow>());
        Assert.Equal(DataState.UpToDate, a.State.DataState);
    }
}
