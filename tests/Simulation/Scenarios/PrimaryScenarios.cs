using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>ALONE and PRIM, step by step. The golden files are the reference for the order of effects.</summary>
public sealed class PrimaryScenarios
{
    private static readonly AuthorityRecord New = Scenario.Record(1, null, "a");
    private static readonly AuthorityRecord AloneRecord = Scenario.Record(2, "a", "a");
    private static readonly AuthorityRecord Pair = Scenario.Record(3, "a", "a", "b");

    [Fact]
    public void The_first_start_takes_over_from_nobody_and_runs_alone()
    {
        var a = new Scenario(LocalState.Fresh);
        StartAlone(a);
        Assert.True(a.View is { Role: Role.Alone, Ready: true, LeaseUntilMs: long.MaxValue });
        a.Check();
    }

    [Fact]
    public void A_resynced_peer_is_asked_in_only_with_a_lease_and_a_stored_base()
    {
        var a = new Scenario(LocalState.Fresh);
        StartAlone(a);
        CatchUp(a);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
        a.WaitLooking(400, AloneRecord);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
        a.Saved();
        a.Wait(200);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
        a.Answer();
        Assert.Equal(RecordChange.Join, a.Change!.Change);
        a.Granted(Pair);
        a.Saved();
        a.Answer();
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
        a.Check();
    }

    [Fact]
    public void A_lost_session_is_excluded_before_anything_is_released()
    {
        var a = StartPair();
        a.Feed(new RoleInput.SessionLost("reset by peer"));
        Assert.Equal(RecordChange.Exclude, a.Change!.Change);
        a.Undecided();
        a.WaitAnswered(600);
        Assert.Equal(0, a.Count<RoleEffect.DetachPeer>());
        a.Granted(Scenario.Record(4, "a", "a"));
        Assert.Equal(0, a.Count<RoleEffect.DetachPeer>()); // S1: not before it is stored.
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.DetachPeer>());
        Assert.Equal(Role.Alone, a.View.Role);
        a.Check();
    }

    [Fact]
    public void A_silent_peer_is_excluded_before_the_lease_ends()
    {
        var a = StartPair();
        a.WaitLooking(1_000, Pair);
        Assert.Equal(RecordChange.Exclude, a.Change!.Change);
        Assert.Equal(0, a.Count<RoleEffect.Freeze>());
        a.Granted(Scenario.Record(4, "a", "a"));
        a.Saved();
        a.Wait(3_000);
        Assert.Equal(0, a.Count<RoleEffect.PauseWorkload>());
        a.Check();
    }

    [Fact]
    public void Without_peer_and_arbiter_the_vm_is_paused_and_resumes_when_the_peer_answers()
    {
        var a = StartPair();
        a.Wait(1_600);
        Assert.Equal(1, a.Count<RoleEffect.Freeze>());
        Assert.Equal(1, a.Count<RoleEffect.PauseWorkload>());
        Assert.NotEqual(RecordChange.Exclude, a.Change!.Change); // Nothing was asked that could stay undecided.
        a.Answer();
        Assert.Equal(1, a.Count<RoleEffect.ResumeWorkload>());
        a.WaitAnswered(400);
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
        a.Check();
    }

    [Fact]
    public void A_paused_primary_resumes_alone_when_the_arbiter_permits_it()
    {
        var a = StartPair();
        a.Wait(1_600);
        a.WaitLooking(800, Pair);
        a.Granted(Scenario.Record(4, "a", "a"));
        Assert.Equal(0, a.Count<RoleEffect.ResumeWorkload>());
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.ResumeWorkload>());
        a.Check();
    }

    [Fact]
    public void A_deposed_primary_stops_its_vm_at_once_and_its_copy_is_outdated()
    {
        var a = StartPair();
        a.Wait(1_600);
        a.WaitLooking(800, Pair);
        a.Refused(Scenario.Record(4, "b", "b"));
        Assert.Equal(0, Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>()).GraceMs);
        Assert.Equal(DataState.Outdated, a.State.DataState);
        a.Feed(new RoleInput.WorkloadStopped(true, "destroyed"));
        a.Feed(new RoleInput.Released());
        a.Saved();
        a.Hear(a.PeerBeacon(Role.Alone, Scenario.Record(4, "b", "b")));
        Assert.Equal(Role.Second, a.View.Role);
        a.Check();
    }

    [Fact]
    public void A_restarted_peer_is_excluded_although_it_answers()
    {
        var a = StartPair();
        a.Hear(a.PeerBeacon(Role.Wait, Pair, incarnation: new Guid(9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
        Assert.Equal(RecordChange.Exclude, a.Change!.Change);
        a.Check();
    }

    [Fact]
    public void A_swap_stops_flushes_hands_over_and_follows()
    {
        var a = StartPair();
        BeginSwap(a);
        Assert.Equal(RecordChange.Handover, a.Change!.Change);
        var first = a.Change.OperationId;
        a.Undecided();
        a.WaitAnswered(600);
        Assert.Equal(first, a.Change.OperationId); // S11: the same request until it is decided.
        var handed = Scenario.Record(4, "b", "a", "b");
        a.Granted(handed);
        Assert.Equal(0, a.Count<RoleEffect.Release>());
        a.Saved();
        a.Feed(new RoleInput.Released());
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        a.Hear(a.PeerBeacon(Role.Prim, handed));
        Assert.Equal(Role.Second, a.View.Role);
        a.Check();
    }

    [Fact]
    public void A_swap_after_a_long_primacy_gives_the_new_primary_the_whole_detection_time()
    {
        var a = StartPair();
        a.WaitAnswered(20_000);
        BeginSwap(a);
        var handed = Scenario.Record(4, "b", "a", "b");
        a.Granted(handed);
        a.Saved();
        a.Feed(new RoleInput.Released());
        a.Saved();
        a.WaitLooking(2_500, handed);
        Assert.Equal(RecordChange.Handover, a.Change!.Change);
        a.WaitLooking(1_000, handed);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    [Fact]
    public void A_swap_of_a_vm_that_takes_longer_to_stop_than_the_detection_time_looks_for_the_arbiter_again_and_goes_on()
    {
        var a = StartPair();
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Swap));
        a.Looked(Pair);
        a.WaitAnswered(4_000);
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        Assert.Equal(0, a.Count<RoleEffect.CommandDone>());
        a.Looked(Pair);
        a.Feed(new RoleInput.Quiesced());
        Assert.Equal(RecordChange.Handover, a.Change!.Change);
    }

    [Fact]
    public void A_swap_is_given_up_and_the_vm_runs_on_if_it_does_not_stop()
    {
        var a = StartPair();
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Swap));
        a.Looked(Pair);
        a.Feed(new RoleInput.WorkloadFailed("the hypervisor did not answer"));
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        a.Feed(new RoleInput.WorkloadStarted());
        a.Answer();
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
        a.Check();
    }

    [Fact]
    public void A_refused_handover_is_obeyed_and_the_vm_starts_here_again()
    {
        var a = StartPair();
        BeginSwap(a);
        a.Refused(Pair);
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        Assert.Equal(2, a.Count<RoleEffect.StartWorkload>());
        a.Check();
    }

    [Fact]
    public void A_swap_is_refused_with_a_reason_unless_prim_is_ready()
    {
        var a = new Scenario(LocalState.Fresh);
        StartAlone(a);
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Swap));
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        Assert.Equal(0, a.Count<RoleEffect.StopWorkload>());
        a.Check();
    }

    [Fact]
    public void A_stop_flushes_both_copies_and_keeps_the_record()
    {
        var a = StartPair();
        a.Feed(new RoleInput.Desired(false));
        a.Saved();
        a.Answer();
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        a.Feed(new RoleInput.Quiesced());
        a.Feed(new RoleInput.Released());
        Assert.True(a.View is { Role: Role.Stop, Ready: true });
        Assert.Equal(Pair, a.State.Record);
        a.Check();
    }

    [Fact]
    public void A_vm_killed_without_a_lease_is_started_again_however_often_and_whenever_the_news_comes()
    {
        var a = StartPair();
        for (var times = 0; times < 5; times++)
        {
            a.Wait(1_600);
            if (times % 2 == 0)
                a.Feed(new RoleInput.WorkloadStopped(false, "killed"));
            a.Answer();
            if (times % 2 == 1)
                a.Feed(new RoleInput.WorkloadStopped(false, "killed"));
            a.WaitAnswered(1_200);
            Assert.Equal(times + 2, a.Count<RoleEffect.StartWorkload>());
            a.Feed(new RoleInput.WorkloadStarted());
            Assert.True(a.View is { Role: Role.Prim, Ready: true });
        }
    }

    [Fact]
    public void A_guest_that_shuts_itself_down_stays_down_until_it_is_started_again()
    {
        var a = new Scenario(LocalState.Fresh);
        StartAlone(a);
        a.Feed(new RoleInput.WorkloadStopped(false, "shutdown", Clean: true));
        a.Wait(2_000);
        Assert.Equal(1, a.Count<RoleEffect.StartWorkload>());
        Assert.Equal(RoleCodes.WorkloadShutDown.Code, a.View.Code);
        a.Check();
    }

    [Fact]
    public void A_local_fault_of_a_primary_leaves_the_module_to_its_peer()
    {
        var a = StartPair();
        a.Feed(new RoleInput.LocalFault("EIO"));
        Assert.Equal(DataState.Outdated, a.State.DataState);
        Assert.True(a.State.LostPower);
        Assert.Equal(0, Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>()).GraceMs);
        a.Check();
    }

    /// <summary>The target waits for a beacon of this session, and has just sent its own.</summary>
    [Fact]
    public void The_source_of_a_resync_lets_the_target_hear_it_at_once()
    {
        var a = new Scenario(LocalState.Fresh);
        StartAlone(a);
        a.Hear(a.PeerBeacon(Role.Second, AloneRecord, DataState.Outdated));
        a.Feed(new RoleInput.SessionUp(Scenario.PeerIncarnation));
        a.Feed(new RoleInput.ResyncStarting(Scenario.BaseOne));
        a.Saved();
        var sent = a.Count<RoleEffect.SendBeacon>();
        a.Hear(a.PeerBeacon(Role.Second, AloneRecord, DataState.Outdated));
        Assert.Equal(sent + 1, a.Count<RoleEffect.SendBeacon>());
    }

    internal static void StartAlone(Scenario a)
    {
        a.Feed(new RoleInput.Desired(true));
        a.Saved();
        a.Looked(New);
        a.Saved();
        a.Granted(AloneRecord);
        a.Saved();
        a.Feed(new RoleInput.Serving(2));
        a.Feed(new RoleInput.WorkloadStarted());
    }

    private static void CatchUp(Scenario a)
    {
        a.Hear(a.PeerBeacon(Role.Second, AloneRecord, DataState.Outdated));
        a.Feed(new RoleInput.SessionUp(Scenario.PeerIncarnation));
        a.Feed(new RoleInput.ResyncStarting(Scenario.BaseOne));
        a.Saved();
        a.Feed(new RoleInput.PeerCaughtUp(Scenario.BaseOne));
    }

    internal static Scenario StartPair()
    {
        var a = new Scenario(LocalState.Fresh);
        StartAlone(a);
        CatchUp(a);
        a.Answer();
        a.Saved();
        a.WaitLooking(400, AloneRecord);
        a.Granted(Pair);
        a.Saved();
        a.Answer();
        a.Hear(a.PeerBeacon(Role.Second, Pair));
        return a;
    }

    private static void BeginSwap(Scenario a)
    {
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Swap));
        a.Looked(Pair);
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        a.Feed(new RoleInput.Quiesced());
    }
}
