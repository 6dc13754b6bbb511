using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>STOP, WAIT and SECOND, step by step: who may take over, and when.</summary>
public sealed class StandbyScenarios
{
    private static readonly AuthorityRecord OfPeer = Scenario.Record(5, "b", "a", "b");
    private static readonly AuthorityRecord OfPeerAlone = Scenario.Record(5, "b", "b");
    private static readonly AuthorityRecord Own = Scenario.Record(5, "a", "a", "b");

    [Fact]
    public void A_second_takes_over_after_the_detection_time_and_starts_the_vm()
    {
        var a = FollowInSync();
        a.WaitLooking(2_900, OfPeer);
        Assert.Equal(0, a.Count<RoleEffect.StopFollowing>());
        a.WaitLooking(100, OfPeer);
        Assert.Equal(1, a.Count<RoleEffect.StopFollowing>());
        Assert.Null(a.Change); // S8: nothing is asked before the replica side is shut.
        a.Feed(new RoleInput.FollowingStopped());
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
        a.Granted(Scenario.Record(6, "a", "a"));
        Assert.Equal(0, a.Count<RoleEffect.Serve>());
        a.Saved();
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.Serve>()).PeerIsMember);
        a.Feed(new RoleInput.Serving(6));
        a.Feed(new RoleInput.WorkloadStarted());
        Assert.True(a.View is { Role: Role.Alone, Ready: true });
        a.Check();
    }

    [Fact]
    public void Beacons_without_lease_are_silence_and_once_unanswered_lease_and_margin_pass_before_the_takeover()
    {
        var a = FollowInSync();
        var without = a.PeerBeacon(Role.Prim, OfPeer, withoutLease: true);
        a.Pass(2_900, () =>
        {
            a.Hear(without);
            a.Looked(OfPeer);
        });
        var answers = a.Count<RoleEffect.AnswerBeacon>();
        Assert.True(answers > 10); // The primary could resume all this time.
        a.Pass(2_000, () =>
        {
            a.Hear(without);
            a.Looked(OfPeer);
        });
        Assert.True(a.Count<RoleEffect.AnswerBeacon>() <= answers + 1);
        Assert.Equal(0, a.Count<RoleEffect.StopFollowing>());
        a.Pass(500, () => a.Looked(OfPeer));
        Assert.Equal(1, a.Count<RoleEffect.StopFollowing>());
        a.Check();
    }

    [Fact]
    public void A_beacon_that_newer_ones_have_overtaken_is_no_sign_of_life()
    {
        var a = FollowInSync();
        var late = a.PeerBeacon(Role.Prim, OfPeer);
        a.Pass(2_900, () =>
        {
            a.Hear(a.PeerBeacon(Role.Prim, OfPeer, withoutLease: true));
            a.Looked(OfPeer);
        });
        var answers = a.Count<RoleEffect.AnswerBeacon>();
        a.Feed(new RoleInput.BeaconReceived(late));
        Assert.Equal(answers, a.Count<RoleEffect.AnswerBeacon>());
        a.Pass(2_000, () =>
        {
            a.Hear(a.PeerBeacon(Role.Prim, OfPeer, withoutLease: true));
            a.Looked(OfPeer);
        });
        a.Pass(500, () => a.Looked(OfPeer));
        Assert.Equal(1, a.Count<RoleEffect.StopFollowing>());
    }

    [Fact]
    public void With_the_arbiter_away_a_second_goes_on_answering()
    {
        var a = FollowInSync();
        a.Wait(4_000);
        var answers = a.Count<RoleEffect.AnswerBeacon>();
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer, withoutLease: true));
        Assert.Equal(answers + 1, a.Count<RoleEffect.AnswerBeacon>());
        Assert.Equal(0, a.Count<RoleEffect.StopFollowing>());
        a.Check();
    }

    [Fact]
    public void No_beacon_is_answered_while_a_takeover_is_undecided_and_all_are_when_it_was_refused()
    {
        var a = FollowInSync();
        a.WaitLooking(3_000, OfPeer);
        a.Feed(new RoleInput.FollowingStopped());
        var answers = a.Count<RoleEffect.AnswerBeacon>();
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer));
        a.Undecided();
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(answers, a.Count<RoleEffect.AnswerBeacon>());
        var excluded = Scenario.Record(6, "b", "b");
        a.Refused(excluded);
        a.Saved();
        a.Hear(a.PeerBeacon(Role.Alone, excluded));
        Assert.Equal(answers + 1, a.Count<RoleEffect.AnswerBeacon>());
        Assert.Equal(DataState.Outdated, a.State.DataState);
        Assert.Equal(Role.Second, a.View.Role);
        a.Check();
    }

    [Fact]
    public void Joined_but_not_told_a_host_takes_over_after_it_has_looked()
    {
        var a = Follow(Scenario.Stored(OfPeerAlone, DataState.Outdated), OfPeerAlone);
        Resync(a, OfPeerAlone);
        Assert.Equal(DataState.UpToDate, a.State.DataState);
        var joined = Scenario.Record(6, "b", "a", "b");
        a.WaitLooking(1_500, joined); // The primary died before its beacon could say it.
        a.Saved();
        a.WaitLooking(1_500, joined);
        Assert.Equal(1, a.Count<RoleEffect.StopFollowing>());
        a.Feed(new RoleInput.FollowingStopped());
        Assert.Equal((RecordChange.Takeover, 6), (a.Change!.Change, a.Change.ExpectedEpoch));
        a.Check();
    }

    [Fact]
    public void A_host_that_was_left_out_is_outdated_and_never_takes_over()
    {
        var a = FollowInSync();
        var without = Scenario.Record(6, "b", "b");
        a.Hear(a.PeerBeacon(Role.Alone, without));
        a.Saved();
        Assert.Equal(DataState.Outdated, a.State.DataState);
        a.WaitLooking(10_000, without);
        Assert.Equal(0, a.Count<RoleEffect.StopFollowing>());
        Assert.Null(a.Change);
        a.Check();
    }

    [Fact]
    public void A_target_is_stored_inconsistent_before_its_first_byte_changes_and_up_to_date_before_it_confirms()
    {
        var a = Follow(Scenario.Stored(OfPeerAlone, DataState.Outdated), OfPeerAlone);
        Resync(a, OfPeerAlone);
        a.Check();
    }

    [Fact]
    public void A_target_that_is_still_recorded_as_in_sync_waits_for_the_record()
    {
        var a = FollowInSync();
        a.Feed(new RoleInput.ResyncStarting(Scenario.BaseOne));
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(DataState.UpToDate, a.State.DataState);
        a.Hear(a.PeerBeacon(Role.Alone, Scenario.Record(6, "b", "b")));
        Assert.Equal(DataState.Inconsistent, a.State.DataState);
        Assert.Equal(0, a.Count<RoleEffect.AllowResync>());
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.AllowResync>());
        a.Check();
    }

    [Fact]
    public void A_target_sends_a_beacon_at_once_for_the_one_that_it_waits_for()
    {
        var a = FollowInSync();
        var sent = a.Count<RoleEffect.SendBeacon>();
        a.Feed(new RoleInput.ResyncStarting(Scenario.BaseOne));
        Assert.Equal(sent + 1, a.Count<RoleEffect.SendBeacon>());
    }

    [Fact]
    public void A_handover_makes_the_second_primary_with_its_peer_as_a_member_and_a_lease_before_the_vm()
    {
        var a = FollowInSync();
        var handed = Scenario.Record(6, "a", "a", "b");
        a.Hear(a.PeerBeacon(Role.Second, handed));
        a.Saved();
        a.Feed(new RoleInput.FollowingStopped());
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.Serve>()).PeerIsMember);
        a.Feed(new RoleInput.Serving(6));
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.AttachPeer>()).InSync);
        Assert.Equal(0, a.Count<RoleEffect.StartWorkload>());
        a.WaitAnswered(200);
        Assert.Equal(1, a.Count<RoleEffect.StartWorkload>());
        a.Feed(new RoleInput.WorkloadStarted());
        a.Feed(new RoleInput.SessionUp(Scenario.PeerIncarnation));
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
        a.Check();
    }

    [Fact]
    public void A_restarted_primary_asks_at_once_and_serves_only_after_the_answer()
    {
        var a = new Scenario(Scenario.Stored(Own));
        a.Looked(Own);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
        Assert.Equal(0, a.Count<RoleEffect.Serve>());
        a.Refused(Scenario.Record(6, "b", "b"));
        Assert.Equal(0, a.Count<RoleEffect.Serve>());
        Assert.Equal(DataState.Outdated, a.State.DataState);
        a.Check();
    }

    [Fact]
    public void A_primary_that_lost_power_lets_the_peer_go_first_that_stayed_up()
    {
        var a = new Scenario(Scenario.Stored(Own), lostPower: true);
        a.Saved();
        a.Pass(6_000, () =>
        {
            a.Hear(a.PeerBeacon(Role.Wait, Own));
            a.Looked(Own);
        });
        Assert.Null(a.Change);
        Assert.Equal(RoleCodes.WaitPeerFirst.Code, a.View.Code);
        a.Check();
    }

    [Fact]
    public void After_both_lost_power_the_recorded_primary_goes_and_the_other_waits()
    {
        var a = new Scenario(Scenario.Stored(Own), lostPower: true);
        a.Saved();
        a.Hear(a.PeerBeacon(Role.Wait, Own, lostPower: true));
        a.Looked(Own);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);

        var other = new Scenario(Scenario.Stored(OfPeer), lostPower: true);
        other.Saved();
        other.Hear(other.PeerBeacon(Role.Wait, OfPeer, lostPower: true));
        other.WaitLooking(2_900, OfPeer);
        Assert.Null(other.Change);
        a.Check();
    }

    [Fact]
    public void A_second_that_stayed_up_goes_before_a_primary_that_lost_power()
    {
        var a = FollowInSync();
        a.WaitLooking(2_000, OfPeer);
        a.Hear(a.PeerBeacon(Role.Wait, OfPeer, lostPower: true));
        a.WaitLooking(1_000, OfPeer); // Lease and margin since the last answer.
        Assert.Equal(1, a.Count<RoleEffect.StopFollowing>());
        a.Check();
    }

    [Fact]
    public void A_record_of_another_incarnation_is_obeyed_only_from_the_arbiter()
    {
        var a = FollowInSync();
        var foreign = new AuthorityRecord(Guid.Parse("00000000-0000-0000-0000-0000000000ff"), 40, "b", ["b"]);
        a.Hear(a.PeerBeacon(Role.Alone, foreign));
        Assert.Equal(OfPeer, a.State.Record);
        a.WaitLooking(1_000, foreign);
        Assert.Equal(foreign, a.State.Record);
        Assert.Equal(DataState.Outdated, a.State.DataState);
        a.Check();
    }

    [Fact]
    public void A_second_stops_after_its_primary_has_stopped()
    {
        var a = FollowInSync();
        a.Feed(new RoleInput.Desired(false));
        a.Saved();
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer, stopRequested: true));
        Assert.Equal(0, a.Count<RoleEffect.Release>());
        a.Hear(a.PeerBeacon(Role.Stop, OfPeer, stopRequested: true));
        a.Feed(new RoleInput.Released());
        Assert.True(a.View is { Role: Role.Stop, Ready: true });
        Assert.Null(a.Change);
        a.Check();
    }

    private static Scenario FollowInSync() => Follow(Scenario.Stored(OfPeer), OfPeer);

    private static Scenario Follow(LocalState stored, AuthorityRecord record)
    {
        var a = new Scenario(stored);
        a.Looked(record);
        a.Hear(a.PeerBeacon(record.Contains("a") ? Role.Prim : Role.Alone, record));
        Assert.Equal(1, a.Count<RoleEffect.Follow>());
        return a;
    }

    private static void Resync(Scenario a, AuthorityRecord record)
    {
        a.Feed(new RoleInput.ResyncStarting(Scenario.BaseOne));
        a.Hear(a.PeerBeacon(Role.Alone, record));
        Assert.Equal(0, a.Count<RoleEffect.AllowResync>());
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.AllowResync>());
        a.Feed(new RoleInput.ReplicaFlushed(Scenario.BaseOne));
        Assert.Equal(0, a.Count<RoleEffect.ConfirmResynced>());
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.ConfirmResynced>());
    }
}
