using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>What the operator has set holds without the control plane: failover and start at boot switched off, the limit of restarts; and the host
/// that is wanted as primary.</summary>
public sealed class PolicyScenarios
{
    private static readonly AuthorityRecord OfPeer = Scenario.Record(5, "b", "a", "b");
    private static readonly ModulePolicy NoFailover = new() { FailoverOff = true };

    [Fact]
    public void With_failover_off_a_second_waits_for_its_silent_primary_until_it_is_switched_on()
    {
        var a = FollowInSync(NoFailover);
        a.WaitLooking(60_000, OfPeer);
        Assert.Null(a.Change);
        Assert.Equal((Role.Second, RoleCodes.FailoverOff.Code), (a.View.Role, a.View.Code));
        a.Feed(new RoleInput.Desired(true) { Policy = ModulePolicy.Default });
        a.Saved();
        a.WaitLooking(1_000, OfPeer);
        a.Feed(new RoleInput.FollowingStopped());
        a.WaitLooking(1_000, OfPeer);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    [Fact]
    public void Failover_off_is_remembered_by_a_process_that_was_not_told_again()
    {
        var a = new Scenario(Scenario.Stored(OfPeer) with { Policy = NoFailover });
        a.WaitLooking(60_000, OfPeer);
        Assert.Null(a.Change);
        Assert.Equal(RoleCodes.FailoverOff.Code, a.View.Code);
        Assert.Equal(NoFailover, a.View.Policy);
    }

    [Fact]
    public void With_failover_off_a_swap_still_moves_the_module()
    {
        var a = FollowInSync(NoFailover);
        a.Hear(a.PeerBeacon(Role.Second, Scenario.Record(6, "a", "a", "b")));
        a.Saved();
        a.Feed(new RoleInput.FollowingStopped());
        Assert.Equal(1, a.Count<RoleEffect.Serve>());
    }

    [Fact]
    public void With_failover_off_a_second_replaces_a_primary_that_is_back_and_has_lost_power()
    {
        var a = FollowInSync(NoFailover);
        a.Pass(3_000, () =>
        {
            a.Hear(a.PeerBeacon(Role.Wait, OfPeer, lostPower: true));
            a.Looked(OfPeer);
        });
        a.Feed(new RoleInput.FollowingStopped());
        a.WaitLooking(1_000, OfPeer);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    [Fact]
    public void A_host_that_has_booted_stays_down_until_the_next_start_by_command_even_when_its_process_starts_again()
    {
        var record = Scenario.Record(5, "a", "a");
        var stored = Scenario.Stored(record) with { Policy = new ModulePolicy { StaysDownAtBoot = true }, Starts = 7 };
        var booted = new Scenario(stored, lostPower: true);
        booted.Saved();
        Assert.True(booted.State.HeldAtBoot);

        var a = new Scenario(booted.State);
        a.Feed(new RoleInput.Desired(true) { Starts = 7 });
        a.WaitLooking(30_000, record);
        Assert.Equal((Role.Stop, RoleCodes.HeldAtBoot.Code), (a.View.Role, a.View.Code));
        a.Feed(new RoleInput.Desired(true) { Starts = 8 });
        a.Saved();
        a.WaitLooking(1_000, record);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
        Assert.Equal(8, a.State.Starts);
    }

    [Fact]
    public void Without_a_boot_a_process_that_starts_again_runs_its_module_whatever_is_said_of_boots()
    {
        var record = Scenario.Record(5, "a", "a");
        var a = new Scenario(Scenario.Stored(record) with { Policy = new ModulePolicy { StaysDownAtBoot = true } });
        a.WaitLooking(1_000, record);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    [Fact]
    public void The_limit_of_restarts_is_the_modules()
    {
        var a = new Scenario(LocalState.Fresh with { Policy = new ModulePolicy { RestartsMax = 1, RestartWindowMs = 10_000 } });
        PrimaryScenarios.StartAlone(a);
        Crash(a);
        Assert.Equal(2, a.Count<RoleEffect.StartWorkload>());
        a.Feed(new RoleInput.WorkloadStarted());
        a.Wait(11_000); // The first has left the window.
        Crash(a);
        Assert.Equal(3, a.Count<RoleEffect.StartWorkload>());
        a.Feed(new RoleInput.WorkloadStarted());
        Crash(a);
        Assert.Equal(3, a.Count<RoleEffect.StartWorkload>());
        Assert.Equal(RoleCodes.WorkloadFailed.Code, a.View.Code);
    }

    [Fact]
    public void A_primary_that_is_not_wanted_lets_the_wanted_host_start_and_only_for_this_epoch()
    {
        var record = Scenario.Record(5, "a", "a", "b");
        var a = new Scenario(Scenario.Stored(record));
        a.Feed(new RoleInput.Desired(true) { WantedPrimary = "b", WantedEpoch = 5 });
        a.Pass(30_000, () =>
        {
            a.Hear(a.PeerBeacon(Role.Wait, record));
            a.Looked(record);
        });
        Assert.Null(a.Change);
        Assert.Equal(RoleCodes.WaitOtherWanted.Code, a.View.Code);

        var later = Scenario.Record(6, "a", "a", "b");
        a.WaitLooking(1_000, later);
        a.Saved();
        a.WaitLooking(1_000, later);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    [Fact]
    public void A_wanted_host_starts_as_soon_as_its_peer_is_seen_to_wait()
    {
        var a = new Scenario(Scenario.Stored(OfPeer));
        a.Feed(new RoleInput.Desired(true) { WantedPrimary = "a", WantedEpoch = 5 });
        // Lease and margin after its own start (S8), not the detection time of 3 s.
        a.Pass(2_400, () =>
        {
            a.Hear(a.PeerBeacon(Role.Wait, OfPeer));
            a.Looked(OfPeer);
        });
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    [Fact]
    public void A_wanted_host_that_says_it_cannot_is_not_waited_for()
    {
        var record = Scenario.Record(5, "a", "a", "b");
        var a = new Scenario(Scenario.Stored(record));
        a.Feed(new RoleInput.Desired(true) { WantedPrimary = "b", WantedEpoch = 5 });
        a.Pass(1_000, () =>
        {
            a.Hear(a.PeerBeacon(Role.Wait, record, DataState.Outdated));
            a.Looked(record);
        });
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    private static Scenario FollowInSync(ModulePolicy policy)
    {
        var a = new Scenario(Scenario.Stored(OfPeer) with { Policy = policy });
        a.Looked(OfPeer);
        a.Hear(a.PeerBeacon(Role.Prim, OfPeer));
        Assert.Equal(1, a.Count<RoleEffect.Follow>());
        return a;
    }

    private static void Crash(Scenario a)
    {
        a.Feed(new RoleInput.WorkloadStopped(false, "QEMU crashed"));
        a.Saved();
        a.Wait(1_000);
    }
}
