using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>A copy that an operator has declared to be the module, whatever it lacks (S3).</summary>
public sealed class ForceScenarios
{
    private static readonly AuthorityRecord OfPeerAlone = Scenario.Record(5, "b", "b");
    private static readonly AuthorityRecord Declared = Scenario.Record(6, "a", "a") with { Declared = "a" };

    [Fact]
    public void A_declared_copy_takes_over_when_no_lease_of_the_peer_can_be_left()
    {
        var a = Start(DataState.Outdated);
        Assert.Equal("wait.not-in-sync", a.View.Code);
        a.WaitLooking(1_100, Declared);
        a.Saved();
        Assert.Equal((DataState.UpToDate, 6L), (a.State.DataState, a.State.Record.Epoch));
        Assert.Null(a.Change); // S8: lease and margin from its own start.
        a.WaitLooking(1_500, Declared);
        Assert.Equal((RecordChange.Takeover, 6L), (a.Change!.Change, a.Change.ExpectedEpoch));
        a.Granted(Scenario.Record(7, "a", "a"));
        a.Saved();
        Assert.Equal(1, a.Count<RoleEffect.Serve>());
        a.Check();
    }

    [Theory]
    [InlineData(DataState.Inconsistent)]
    [InlineData(DataState.Unknown)]
    public void The_half_of_a_resync_is_never_the_module(DataState data)
    {
        var a = Start(data);
        a.WaitLooking(10_000, Declared);
        a.Saved();
        a.WaitLooking(10_000, Declared);
        Assert.Equal((data, "wait.not-in-sync"), (a.State.DataState, a.View.Code));
        Assert.Null(a.Change);
    }

    [Fact]
    public void The_word_ends_a_promise_to_leave()
    {
        var a = new Scenario(Scenario.Stored(Scenario.Record(5, "b", "a", "b")) with { PromisedEpoch = 5 });
        a.Feed(new RoleInput.Desired(true));
        a.WaitLooking(5_000, Scenario.Record(5, "b", "a", "b"));
        Assert.Equal("wait.left", a.View.Code);
        a.WaitLooking(3_000, Declared);
        a.Saved();
        a.WaitLooking(3_000, Declared);
        Assert.Equal(0, a.State.PromisedEpoch);
        Assert.Equal(RecordChange.Takeover, a.Change!.Change);
    }

    [Fact]
    public void A_peer_that_is_not_off_is_told_and_ends_its_vm_first()
    {
        var a = Start(DataState.Outdated);
        a.WaitLooking(1_100, Declared);
        a.Saved();
        a.Pass(10_000, () =>
        {
            a.Hear(a.PeerBeacon(Role.Alone, OfPeerAlone));
            a.Looked(Declared);
        });
        Assert.Equal("wait.peer-first", a.View.Code);
        Assert.Null(a.Change);
        Assert.Equal(6, a.Effects.OfType<RoleEffect.SendBeacon>().Last().Beacon.Record.Epoch);
    }

    [Fact]
    public void The_host_whose_writes_are_given_up_ends_its_vm_and_is_no_member()
    {
        var a = PrimaryScenarios.StartPair();
        a.Hear(a.PeerBeacon(Role.Wait, Scenario.Record(9, "b", "b") with { Declared = "b" }));
        a.Saved();
        Assert.Equal(0, Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>()).GraceMs);
        Assert.Equal(DataState.Outdated, a.State.DataState);
    }

    private static Scenario Start(DataState data)
    {
        var a = new Scenario(Scenario.Stored(OfPeerAlone, data));
        a.Feed(new RoleInput.Desired(true));
        a.Looked(OfPeerAlone);
        return a;
    }
}
