using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>The VM is started again: by command, and by itself after crashes, up to a limit that outlives the process.</summary>
public sealed class RestartScenarios
{
    [Fact]
    public void A_restart_ends_the_vm_in_order_and_starts_it_again_on_the_same_host()
    {
        var a = PrimaryScenarios.StartPair();
        var record = a.State.Record;
        var operation = Guid.NewGuid();
        a.Feed(new RoleInput.Command(operation, RoleCommand.Restart));
        Assert.Equal(5_000, Assert.Single(a.Effects.OfType<RoleEffect.StopWorkload>()).GraceMs);
        Assert.True(a.View is { Role: Role.Prim, Ready: false } && a.View.Code == RoleCodes.Restarting.Code);
        a.WaitAnswered(1_000);
        a.Feed(new RoleInput.WorkloadStopped(true, "shut down"));
        Assert.Equal(2, a.Count<RoleEffect.StartWorkload>());
        Assert.Equal(0, a.Count<RoleEffect.CommandDone>());
        a.Feed(new RoleInput.WorkloadStarted());
        a.Feed(new RoleInput.Command(operation, RoleCommand.Restart)); // Repeated: not done again.
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        Assert.True(a.View is { Role: Role.Prim, Ready: true });
        Assert.Equal(record, a.State.Record);
        Assert.Equal(1, a.Count<RoleEffect.StopWorkload>());
        Assert.Equal(1, a.Count<RoleEffect.Serve>());
        a.Check();
    }

    [Fact]
    public void A_restart_starts_a_vm_that_stays_down_after_crashes_and_gives_it_new_tries()
    {
        var a = new Scenario(LocalState.Fresh);
        PrimaryScenarios.StartAlone(a);
        CrashUntilDown(a);
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Restart));
        Assert.Empty(a.State.CrashAgesMs);
        a.Saved();
        Assert.Equal(5, a.Count<RoleEffect.StartWorkload>());
        a.Feed(new RoleInput.WorkloadStarted());
        Assert.True(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        a.Feed(new RoleInput.WorkloadStopped(false, "QEMU crashed"));
        a.Saved();
        a.Wait(1_000);
        Assert.Equal(6, a.Count<RoleEffect.StartWorkload>());
        a.Check();
    }

    [Fact]
    public void A_restart_ends_with_its_reason_when_this_host_is_deposed_meanwhile()
    {
        var a = PrimaryScenarios.StartPair();
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Restart));
        a.Hear(a.PeerBeacon(Role.Alone, Scenario.Record(4, "b", "b")));
        Assert.False(Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>()).Succeeded);
        a.Saved();
        a.Feed(new RoleInput.WorkloadStopped(true, "killed"));
        a.Feed(new RoleInput.Released());
        Assert.Equal(1, a.Count<RoleEffect.StartWorkload>());
        a.Check();
    }

    [Fact]
    public void A_swap_and_a_restart_exclude_each_other()
    {
        var a = PrimaryScenarios.StartPair();
        a.Feed(new RoleInput.Command(Guid.NewGuid(), RoleCommand.Restart));
        var swap = Guid.NewGuid();
        a.Feed(new RoleInput.Command(swap, RoleCommand.Swap));
        var refused = Assert.Single(a.Effects.OfType<RoleEffect.CommandDone>());
        Assert.Equal((swap, false), (refused.OperationId, refused.Succeeded));
        a.Check();
    }

    [Fact]
    public void A_crashing_vm_is_started_again_three_times_and_then_stays_down()
    {
        var a = new Scenario(LocalState.Fresh);
        PrimaryScenarios.StartAlone(a);
        CrashUntilDown(a);
        Assert.Equal(4, a.Count<RoleEffect.StartWorkload>());
        Assert.Equal(RoleCodes.WorkloadFailed.Code, a.View.Code);
        a.Check();
    }

    [Fact]
    public void Crashes_are_stored_and_count_in_the_next_process_for_a_day()
    {
        var a = new Scenario(LocalState.Fresh);
        PrimaryScenarios.StartAlone(a);
        CrashUntilDown(a);
        var stored = a.State;
        Assert.Equal([3_000L, 2_000, 1_000, 0], stored.CrashAgesMs.ToArray());

        Assert.Equal(RoleCodes.WorkloadFailed.Code, StartAgain(stored.Aged(23 * 3_600_000)).View.Code);
        var nextDay = StartAgain(stored.Aged(24 * 3_600_000));
        Assert.Equal(1, nextDay.Count<RoleEffect.StartWorkload>());
        // The newest of the four is not a day old yet.
        Assert.Single(nextDay.State.CrashAgesMs);
    }

    [Fact]
    public void A_vm_that_stayed_down_here_gets_one_try_when_the_peer_hands_the_module_back()
    {
        var record = Scenario.Record(5, "b", "a", "b");
        var a = new Scenario(Scenario.Stored(record) with { CrashAgesMs = [4_000, 3_000, 2_000, 1_000] });
        a.Looked(record);
        a.Hear(a.PeerBeacon(Role.Prim, record));
        a.Hear(a.PeerBeacon(Role.Second, Scenario.Record(6, "a", "a", "b")));
        a.Saved();
        a.Feed(new RoleInput.FollowingStopped());
        a.Feed(new RoleInput.Serving(6));
        a.WaitAnswered(200);
        Assert.Equal(1, a.Count<RoleEffect.StartWorkload>());
        a.Feed(new RoleInput.WorkloadStarted());
        a.Feed(new RoleInput.WorkloadStopped(false, "QEMU crashed"));
        a.Saved();
        a.WaitAnswered(2_000);
        Assert.Equal(1, a.Count<RoleEffect.StartWorkload>());
        Assert.Equal(RoleCodes.WorkloadFailed.Code, a.View.Code);
    }

    /// <summary>Another process of this host, primary again if the record says so.</summary>
    private static Scenario StartAgain(LocalState stored)
    {
        var a = new Scenario(stored);
        a.Saved();
        a.Looked(stored.Record);
        if (a.Change is null)
            return a;
        var epoch = stored.Record.Epoch + 1;
        a.Granted(Scenario.Record(epoch, "a", "a"));
        a.Saved();
        a.Feed(new RoleInput.Serving(epoch));
        return a;
    }

    private static void CrashUntilDown(Scenario a)
    {
        for (var crash = 0; crash < 4; crash++)
        {
            a.Feed(new RoleInput.WorkloadStopped(false, "QEMU crashed"));
            a.Saved();
            a.Wait(1_000);
            a.Feed(new RoleInput.WorkloadStarted());
        }
    }
}
