using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>A full resync by command: the base changes durably, then the peer leaves the set, then it is resynced anew. The VM runs on.</summary>
public sealed class FullResyncScenarios
{
    [Fact]
    public void A_full_resync_changes_the_base_durably_before_the_peer_is_excluded()
    {
        var a = PrimaryScenarios.StartPair();
        var before = a.State;
        a.Looked(before.Record);
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.FullResync));
        a.WaitAnswered(1_200);
        a.Looked(before.Record);
        Assert.NotEqual(before.SyncBase, a.State.SyncBase);
        Assert.Equal(Guid.Empty, a.State.PendingSyncBase);
        Assert.NotEqual(RecordChange.Exclude, a.Change?.Change);
        a.Saved();
        Assert.Equal(RecordChange.Exclude, a.Change!.Change);
        Assert.Equal(0, a.Count<RoleEffect.DetachPeer>());

        var attaches = a.Count<RoleEffect.AttachPeer>();
        a.Granted(Scenario.Record(before.Record.Epoch + 1, "a", "a"));
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.DetachPeer>());
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        a.Hear(a.PeerBeacon(Role.Second, a.State.Record, DataState.Outdated));
        Assert.Equal(attaches + 1, a.Count<RoleEffect.AttachPeer>());
        Assert.False(a.Effects.OfType<RoleEffect.AttachPeer>().Last().InSync);
        Assert.Equal(0, a.Count<RoleEffect.StopWorkload>());
        Assert.Equal(0, a.Count<RoleEffect.Freeze>());
    }

    [Fact]
    public void A_member_is_kept_when_the_arbiter_is_away()
    {
        var a = PrimaryScenarios.StartPair();
        var before = a.State;
        a.WaitAnswered(3_000); // The last look is old.
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.FullResync));
        a.WaitAnswered(3_500);
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        Assert.Equal((before.Record, before.SyncBase), (a.State.Record, a.State.SyncBase));
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
    }

    [Fact]
    public void A_resync_that_runs_is_ended_and_its_end_proves_nothing_any_more()
    {
        var a = new Scenario(LocalState.Fresh);
        PrimaryScenarios.StartAlone(a);
        var record = a.State.Record;
        a.Hear(a.PeerBeacon(Role.Second, record, DataState.Outdated));
        a.Feed(new RoleInput.SessionUp(Scenario.PeerIncarnation));
        a.Feed(new RoleInput.ResyncStarting(Scenario.BaseOne));
        a.Saved();
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.FullResync));
        a.Feed(new RoleInput.PeerCaughtUp(Scenario.BaseOne));
        Assert.NotEqual(Scenario.BaseOne, a.State.SyncBase);
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.DetachPeer>());
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
    }

    [Fact]
    public void With_the_peer_away_its_next_resync_is_a_full_one()
    {
        var a = new Scenario(LocalState.Fresh);
        PrimaryScenarios.StartAlone(a);
        var before = a.State.SyncBase;
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.FullResync));
        Assert.Equal(0, a.Count<RoleEffect.CommandDone>());
        a.Saved();
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        Assert.NotEqual(before, a.State.SyncBase);
    }

    [Fact]
    public void A_host_that_does_not_serve_refuses()
    {
        var a = new Scenario(Scenario.Stored(Scenario.Record(5, "b", "a", "b")));
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.FullResync));
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        a.Wait(100);
        Assert.Equal(Scenario.BaseOne, a.State.SyncBase);
    }
}
