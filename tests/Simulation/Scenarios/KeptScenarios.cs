using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>A process that restarts, with a volume whose users wait and the VM of the process before it.</summary>
public sealed class KeptScenarios
{
    private static readonly AuthorityRecord Pair = Scenario.Record(5, "a", "a", "b");
    private static readonly AuthorityRecord Alone = Scenario.Record(6, "a", "a");

    [Fact]
    public void The_vm_goes_on_when_this_host_is_primary_again_by_a_takeover_and_not_before()
    {
        var a = new Scenario(Scenario.Stored(Pair), kept: true);
        a.Looked(Pair);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
        Assert.True(a.View.WorkloadRuns);
        Assert.Empty(a.Effects.OfType<RoleEffect.Serve>());
        a.Granted(Alone);
        Assert.Empty(a.Effects.OfType<RoleEffect.Serve>()); // S1: stored first.
        a.Saved();
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.Serve>()).PeerIsMember);
        Assert.Empty(a.Effects.OfType<RoleEffect.ResumeWorkload>());
        a.Feed(new RoleInput.Serving(6));
        Assert.Equal(long.MaxValue, Assert.Single(a.Effects.OfType<RoleEffect.ExtendLease>()).UntilMs);
        Assert.Single(a.Effects.OfType<RoleEffect.ResumeWorkload>());
        a.Wait(1_000);
        Assert.True(a.View is { Role: Role.Alone, Ready: true });
        Assert.Empty(a.Effects.OfType<RoleEffect.StartWorkload>());
        Assert.Empty(a.Effects.OfType<RoleEffect.StopWorkload>());
        Assert.Empty(a.Effects.OfType<RoleEffect.Release>());
        a.Check();
    }

    [Fact]
    public void When_the_peer_has_taken_over_vm_and_volume_end_before_this_host_follows()
    {
        var a = new Scenario(Scenario.Stored(Pair), kept: true);
        var taken = Scenario.Record(6, "b", "b");
        a.Hear(a.PeerBeacon(Role.Alone, taken));
        Assert.Equal(0, Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>()).GraceMs);
        Assert.Single(a.Effects.OfType<RoleEffect.Release>());
        a.Saved();
        a.Feed(new RoleInput.Released());
        Assert.Empty(a.Effects.OfType<RoleEffect.Follow>()); // Not while the VM may execute.
        a.Feed(new RoleInput.WorkloadStopped(true, "by command"));
        Assert.Single(a.Effects.OfType<RoleEffect.Follow>());
        Assert.Empty(a.Effects.OfType<RoleEffect.ResumeWorkload>());
        a.Check();
    }

    [Fact]
    public void A_refused_takeover_ends_vm_and_volume()
    {
        var a = new Scenario(Scenario.Stored(Pair), kept: true);
        a.Looked(Pair);
        a.Refused(Scenario.Record(6, "b", "b"));
        Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>());
        Assert.Single(a.Effects.OfType<RoleEffect.Release>());
        Assert.Empty(a.Effects.OfType<RoleEffect.Serve>());
    }

    [Fact]
    public void While_the_arbiter_is_away_everything_waits_and_the_guard_alone_watches_the_lease()
    {
        var a = new Scenario(Scenario.Stored(Pair), kept: true);
        a.Wait(20_000);
        Assert.True(a.View is { Role: Role.Wait, WorkloadRuns: true });
        Assert.Empty(a.Effects.OfType<RoleEffect.ExtendLease>());
        Assert.Empty(a.Effects.OfType<RoleEffect.StopWorkload>());
        Assert.Empty(a.Effects.OfType<RoleEffect.Release>());
    }

    [Fact]
    public void A_vm_that_ended_meanwhile_is_started_anew_and_the_users_go_on()
    {
        var a = new Scenario(Scenario.Stored(Pair), kept: true);
        a.Feed(new RoleInput.WorkloadStopped(false, "the guard gave it up"));
        a.Looked(Pair);
        a.Granted(Alone);
        a.Saved();
        a.Feed(new RoleInput.Serving(6));
        a.Wait(1_500);
        Assert.Single(a.Effects.OfType<RoleEffect.StartWorkload>());
        Assert.Empty(a.Effects.OfType<RoleEffect.ResumeWorkload>());
    }

    [Fact]
    public void A_module_that_was_stopped_meanwhile_ends_vm_and_volume()
    {
        var a = new Scenario(Scenario.Stored(Pair), kept: true);
        a.Feed(new RoleInput.Desired(false));
        Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>());
        a.Saved();
        a.Feed(new RoleInput.Released());
        a.Feed(new RoleInput.WorkloadStopped(true, "by command"));
        Assert.True(a.View is { Role: Role.Stop, Ready: true, WorkloadRuns: false });
    }
}
