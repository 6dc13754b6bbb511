using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>What follows when a checker finds the VM unwell: a restart or a move, as often as the limit of restarts allows; and when nothing does.</summary>
public sealed class CheckScenarios
{
    private static readonly RoleInput.Unwell Restart = new("web", CheckAction.Restart, "no answer on port 80");
    private static readonly RoleInput.Unwell Move = Restart with { Action = CheckAction.Move };

    [Fact]
    public void A_failed_checker_restarts_the_vm_on_the_same_host_and_the_record_stays()
    {
        var a = PrimaryScenarios.StartPair();
        var record = a.State.Record;
        a.WaitAnswered(4_000);
        a.Feed(Restart);
        a.Saved();
        Assert.Equal(5_000, Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>()).GraceMs);
        Assert.Equal(RoleCodes.Unwell.Code, a.View.Code);
        Assert.Contains("no answer on port 80", a.View.Cause, StringComparison.Ordinal);
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        a.Saved();
        a.Feed(new RoleInput.WorkloadStarted());
        a.Saved();
        Assert.Equal([CheckAnswer.Begun, CheckAnswer.Done], Answers(a));
        Assert.Equal(0, a.Count<RoleEffect.CommandDone>());
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
        Assert.Equal(record, a.State.Record);
        Assert.Single(a.State.CrashAgesMs);
    }

    [Fact]
    public void Restarts_of_a_checker_count_with_crashes_and_past_the_limit_the_vm_stays_down_until_an_operator_restarts_it()
    {
        var a = new Scenario(LocalState.Fresh with { Policy = new ModulePolicy { RestartsMax = 2 } });
        PrimaryScenarios.StartAlone(a);
        a.Feed(new RoleInput.WorkloadStopped(false, "QEMU crashed"));
        a.Saved();
        a.Wait(1_000);
        a.Feed(new RoleInput.WorkloadStarted());
        RestartOnce(a);
        Assert.Equal(3, a.Count<RoleEffect.StartWorkload>());
        RestartOnce(a);
        Assert.Equal(3, a.Count<RoleEffect.StartWorkload>());
        Assert.Equal(RoleCodes.WorkloadFailed.Code, a.View.Code);
        Assert.Equal([CheckAnswer.Begun, CheckAnswer.Done, CheckAnswer.Begun, CheckAnswer.GivenUp], Answers(a));
        a.Feed(Restart); // Nothing runs: nothing is done.
        Assert.Equal(CheckAnswer.Noted, Answers(a)[^1]);
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Restart));
        a.Saved();
        Assert.Equal(4, a.Count<RoleEffect.StartWorkload>());
    }

    [Fact]
    public void A_failed_checker_that_moves_swaps_the_module_to_a_ready_secondary()
    {
        var a = Ready();
        BeginMove(a);
        Assert.Equal(RecordChange.Handover, a.Change!.Change);
        a.Granted(Scenario.Record(4, "b", "a", "b"));
        a.Saved();
        a.Feed(new RoleInput.Released());
        Assert.Equal([CheckAnswer.Begun, CheckAnswer.Done], Answers(a));
        Assert.Single(a.State.CrashAgesMs); // It may not come back by checkers for ever.
    }

    [Fact]
    public void A_move_while_the_peer_dies_is_given_up_and_the_vm_runs_on_alone()
    {
        var a = Ready();
        a.Feed(Move);
        a.Saved();
        a.Looked(a.State.Record);
        a.Feed(new RoleInput.SessionLost("reset"));
        Assert.Equal([CheckAnswer.Begun, CheckAnswer.GivenUp], Answers(a));
        Assert.Equal(RecordChange.Exclude, a.Change!.Change);
        a.Granted(Scenario.Record(4, "a", "a"));
        a.Saved();
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        a.Saved();
        a.Feed(new RoleInput.WorkloadStarted());
        Assert.True(a.View is { Role: Role.Alone, Ready: true });
    }

    [Fact]
    public void A_move_without_a_ready_peer_is_only_noted_and_the_vm_runs_on()
    {
        var a = new Scenario(LocalState.Fresh);
        PrimaryScenarios.StartAlone(a);
        a.Feed(Move);
        Assert.Equal([CheckAnswer.Noted], Answers(a));
        Assert.Equal(0, a.Count<RoleEffect.StopWorkload>());
        Assert.Empty(a.State.CrashAgesMs);
    }

    [Fact]
    public void A_module_that_was_moved_as_often_as_the_limit_allows_stays_and_runs_on()
    {
        var a = Ready(new ModulePolicy { RestartsMax = 0 });
        a.Feed(Move);
        Assert.Equal([CheckAnswer.Noted], Answers(a));
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
    }

    [Theory]
    [InlineData(CheckAction.Restart)]
    [InlineData(CheckAction.Move)]
    public void With_the_checkers_off_nothing_follows(CheckAction action)
    {
        var a = Ready(new ModulePolicy { ChecksOff = true });
        a.Feed(Restart with { Action = action });
        Assert.Equal([CheckAnswer.Noted], Answers(a));
        Assert.Equal(0, a.Count<RoleEffect.StopWorkload>());
    }

    [Fact]
    public void A_checker_does_nothing_while_a_command_is_under_way_or_the_host_does_not_serve()
    {
        var a = PrimaryScenarios.StartPair();
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Restart));
        a.Feed(Restart);
        Assert.Equal([CheckAnswer.Noted], Answers(a));
        Assert.Equal(1, a.Count<RoleEffect.StopWorkload>());

        var second = new Scenario(Scenario.Stored(Scenario.Record(5, "b", "a", "b")));
        second.Feed(Move);
        Assert.Equal([CheckAnswer.Noted], Answers(second));
    }

    [Fact]
    public void A_guest_that_was_paused_without_a_lease_is_not_blamed_for_it()
    {
        var a = PrimaryScenarios.StartPair();
        a.Wait(1_600);
        Assert.Equal(RoleCodes.LeaseExpired.Code, a.View.Code);
        a.Feed(Restart);
        a.Answer();
        a.Feed(Restart);
        Assert.DoesNotContain(CheckAnswer.Begun, Answers(a));
        Assert.Equal(0, a.Count<RoleEffect.StopWorkload>());
    }

    private static List<CheckAnswer> Answers(Scenario a) => [.. a.Effects.OfType<RoleEffect.CheckAnswered>().Select(effect => effect.Answer)];

    private static Scenario Ready(ModulePolicy? policy = null)
    {
        var a = PrimaryScenarios.StartPair();
        if (policy is not null)
            a.Feed(new RoleInput.Desired(true) { Policy = policy });
        a.Saved();
        a.WaitAnswered(1_000);
        a.Hear(a.PeerBeacon(Role.Second, a.State.Record));
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
        return a;
    }

    private static void BeginMove(Scenario a)
    {
        a.Feed(Move);
        a.Saved();
        a.Looked(a.State.Record);
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        a.Looked(a.State.Record);
        a.Feed(new RoleInput.Quiesced());
        a.Saved();
    }

    private static void RestartOnce(Scenario a)
    {
        a.Feed(Restart);
        a.Saved();
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        a.Saved();
        if (a.View.Code != RoleCodes.WorkloadFailed.Code)
            a.Feed(new RoleInput.WorkloadStarted());
    }
}
