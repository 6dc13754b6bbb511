using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class PlacementTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Fact]
    public async Task A_start_on_a_named_host_is_wanted_until_the_record_moves_on()
    {
        var (pair, module, record) = await MirroredAsync();
        await module.SetRunAsync(false);
        await SayAsync(pair, "STOP", "STOP");
        Assert.Equal("start", (await module.PlaceAsync(Guid.NewGuid(), "b")).Begun);
        var order = Assert.Single((await pair.A.DesiredAsync()).Modules);
        Assert.Equal((true, new WantedPrimary(pair.B.Key, record.Epoch)), (order.Run, order.Wanted));
        Assert.True((await module.ArbitrateAsync(pair.Call(pair.B, "takeover", record))).Granted);
        Assert.Null(Assert.Single((await pair.A.DesiredAsync()).Modules).Wanted);
        Assert.Equal("nothing", (await module.PlaceAsync(Guid.NewGuid(), "b")).Begun);
        Assert.Equal("place.not-in-sync", (await module.PlaceAsync(Guid.NewGuid(), "a")).Problem!.Code);
        Assert.Equal("place.foreign", (await module.PlaceAsync(Guid.NewGuid(), "c")).Problem!.Code);
    }

    [Fact]
    public async Task A_plain_start_lets_either_host_run_it_again()
    {
        var (pair, module, _) = await MirroredAsync();
        await module.SetRunAsync(false);
        await SayAsync(pair, "STOP", "STOP");
        await module.PlaceAsync(Guid.NewGuid(), "b");
        var before = Assert.Single((await pair.A.DesiredAsync()).Modules).Starts;
        await module.SetRunAsync(true);
        var order = Assert.Single((await pair.A.DesiredAsync()).Modules);
        Assert.Null(order.Wanted);
        Assert.True(order.Starts > before && order.Starts >= DateTimeOffset.UtcNow.AddMinutes(-1).ToUnixTimeMilliseconds());
    }

    [Fact]
    public async Task A_primary_wanted_elsewhere_is_swapped_while_it_serves()
    {
        var (pair, module, record) = await MirroredAsync();
        await SayAsync(pair, "PRIM", "SECOND");
        var operation = Guid.NewGuid();
        Assert.Equal("swap", (await module.PlaceAsync(operation, "b")).Begun);
        Assert.Equal("swap", (await module.PlaceAsync(operation, "b")).Begun); // Repeated: the same.
        Assert.Equal(new CommandOrder(operation, SwapCommand.Kind), Assert.Single((await pair.A.DesiredAsync()).Modules).Command);
        await module.ArbitrateAsync(pair.Call(pair.A, "handover", record));
        Assert.True((await EndAsync(module, operation)).Succeeded);
    }

    [Fact]
    public async Task A_full_resync_is_offered_to_the_primary_and_ends_with_its_word()
    {
        var (pair, module, _) = await MirroredAsync();
        var operation = Guid.NewGuid();
        Assert.Null((await module.FullResyncAsync(operation)).Problem);
        Assert.Equal(FullResyncCommand.Kind, Assert.Single((await pair.A.DesiredAsync()).Modules).Command!.Kind);
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { CommandResults = [new CommandReport(operation, true, "b is out.")] });
        Assert.Equal((true, "b is out."), (await EndAsync(module, operation)) is var end ? (end.Succeeded, end.Reason) : default);
    }

    [Fact]
    public async Task Refused_and_failed_commands_stand_in_the_history_once()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        await module.SwapAsync(Guid.NewGuid());
        await module.SwapAsync(Guid.NewGuid());
        var refused = Assert.Single((await module.ReadAsync()).History, entry => entry.Change == "swap.refused");
        Assert.Equal("operator", refused.By);

        var (second, mirrored, _) = await MirroredAsync();
        var operation = Guid.NewGuid();
        await mirrored.SwapAsync(operation);
        await second.A.SayAsync(order => PlayedHost.Report(order) with { CommandResults = [new CommandReport(operation, false, "The guest did not stop.")] });
        await EndAsync(mirrored, operation);
        Assert.Contains("The guest did not stop.", Assert.Single((await mirrored.ReadAsync()).History, entry => entry.Change == "swap.failed").Cause, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_asker_that_the_call_names_stands_in_the_history()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        OperatorContext.Set("alice");
        await module.SetRunAsync(true);
        var entry = Assert.Single((await module.ReadAsync()).History, entry => entry.Change == "start");
        Assert.Equal(("alice", "Operator alice wants the module to run."), (entry.By, entry.Cause));
    }

    [Fact]
    public async Task A_policy_is_kept_changed_in_parts_and_told_to_hosts()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        Assert.Null((await module.SetPolicyAsync(new PolicyChange(FailoverOff: true, RestartsMax: 0))).Problem);
        Assert.Null((await module.SetPolicyAsync(new PolicyChange(StaysDownAtBoot: true))).Problem);
        var policy = Assert.Single((await pair.B.DesiredAsync()).Modules).Spec.PolicyInForce;
        Assert.Equal(ModulePolicy.Default with { FailoverOff = true, RestartsMax = 0, StaysDownAtBoot = true }, policy);
        Assert.Equal("policy.preferred", (await module.SetPolicyAsync(new PolicyChange(Preferred: "z"))).Problem!.Code);
        Assert.Equal("policy.range", (await module.SetPolicyAsync(new PolicyChange(RestartsMax: -1))).Problem!.Code);
        Assert.Equal(2, (await module.ReadAsync()).History.Count(entry => entry.Change == "policy"));
    }

    [Fact]
    public async Task Checkers_are_part_of_the_spec_added_changed_removed_and_bounded()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var web = new Checker("web", "tcp", "192.0.2.1:80", 10_000, 3_000, 3, 60_000, Checker.Restart);
        var bare = await (await host.PairAsync()).ModuleAsync(spec: Pair.Spec(domain: null));
        Assert.Equal("checker.no-vm", (await bare.SetCheckerAsync(web)).Problem!.Code);
        Assert.Null((await module.SetCheckerAsync(web)).Problem);
        Assert.Null((await module.SetCheckerAsync(web)).Problem); // Repeated: the same.
        Assert.Null((await module.SetCheckerAsync(web with { Name = "agent", Kind = "guest", Target = "" })).Problem);
        Assert.Null((await module.SetCheckerAsync(web with { Then = Checker.Move })).Problem);
        Assert.Equal(["web", "agent"], Assert.Single((await pair.B.DesiredAsync()).Modules).Spec.CheckersInForce.Select(checker => checker.Name));
        Assert.Equal(Checker.Move, (await module.ReadAsync()).Spec!.CheckersInForce[0].Then);
        foreach (var (wrong, code) in new[]
        {
            (web with { Name = "Not a name" }, "name.invalid"), (web with { Kind = "http" }, "checker.word"), (web with { Then = "reboot" }, "checker.word"),
            (web with { Target = "192.0.2.1" }, "checker.target"), (web with { Kind = "script", Target = "/bin/sh" }, "checker.target"),
            (web with { Kind = "ping", Target = "-f x" }, "checker.target"), (web with { EveryMs = 1 }, "checker.range"), (web with { Failures = 0 }, "checker.range"),
        })
            Assert.Equal(code, (await module.SetCheckerAsync(wrong)).Problem!.Code);
        for (var number = 2; number < CheckerCommand.CountMax; number++)
            Assert.Null((await module.SetCheckerAsync(web with { Name = $"web{number}" })).Problem);
        Assert.Equal("checker.limit", (await module.SetCheckerAsync(web with { Name = "one-more" })).Problem!.Code);
        Assert.Null((await module.RemoveCheckerAsync("web")).Problem);
        Assert.Equal("checker.unknown", (await module.RemoveCheckerAsync("web")).Problem!.Code);
        Assert.Equal(10, (await module.ReadAsync()).History.Count(entry => entry.Change == "checker"));
    }

    [Fact]
    public async Task A_module_goes_back_to_its_preferred_primary_once_the_pair_was_whole_for_the_hold_time()
    {
        var (pair, module, record) = await MirroredAsync();
        // The hold time counts from the last change of the record; the shortest is ten seconds.
        Assert.Null((await module.SetPolicyAsync(new PolicyChange(Preferred: "b", FailbackHoldMs: PolicyCommand.FailbackHoldMsMin))).Problem);
        await SayAsync(pair, "PRIM", "SECOND");
        Assert.NotNull(await Until.FoundAsync(async () => (await module.ReadAsync()).FailbackWaits, "why it waits"));
        var command = await Until.FoundAsync(async () =>
        {
            await SayAsync(pair, "PRIM", "SECOND");
            return (await module.ReadAsync()).Command;
        }, "the failback began");
        Assert.Equal(SwapCommand.Kind, command.Kind);
        Assert.Equal(Failback.By, Assert.Single((await module.ReadAsync()).History, entry => entry.Change == "swap").By);
        await module.ArbitrateAsync(pair.Call(pair.A, "handover", record));
        Assert.True((await EndAsync(module, command.OperationId)).Succeeded);
    }

    [Fact]
    public async Task A_failback_that_was_not_done_is_not_tried_again_before_the_policy_is_set_anew()
    {
        var (pair, module, record) = await MirroredAsync();
        Assert.Null((await module.SetPolicyAsync(new PolicyChange(Preferred: "b", FailbackHoldMs: PolicyCommand.FailbackHoldMsMin))).Problem);
        var command = await Until.FoundAsync(async () =>
        {
            await SayAsync(pair, "PRIM", "SECOND");
            return (await module.ReadAsync()).Command;
        }, "the failback began");
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { Role = "PRIM", CommandResults = [new CommandReport(command.OperationId, false, "The guest did not stop.")] });
        Assert.False((await EndAsync(module, command.OperationId)).Succeeded);
        Assert.Equal(record.Epoch, (await module.ReadAsync()).Record!.Epoch);
        var waits = await Until.FoundAsync(async () =>
        {
            await SayAsync(pair, "PRIM", "SECOND");
            return (await module.ReadAsync()).FailbackWaits is { } why && why.Contains("not tried again", StringComparison.Ordinal) ? why : null;
        }, "why there is none");
        Assert.Contains("The guest did not stop.", waits);
        Assert.Null((await module.SetPolicyAsync(new PolicyChange(Preferred: "b"))).Problem);
        await Until.FoundAsync(async () =>
        {
            await SayAsync(pair, "PRIM", "SECOND");
            return (await module.ReadAsync()).FailbackWaits is { } why && why.StartsWith("The last failback was", StringComparison.Ordinal) ? why : null;
        }, "it is wanted again");
    }

    private static async Task SayAsync(Pair pair, string a, string b)
    {
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { Role = a });
        await pair.B.SayAsync(order => PlayedHost.Report(order) with { Role = b });
    }

    private async Task<(Pair, IMirrorModuleGrain, RecordView)> MirroredAsync()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        await module.SetRunAsync(true);
        var alone = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        return (pair, module, (await module.ArbitrateAsync(pair.Call(pair.A, "join", alone.Record!))).Record!);
    }

    private static Task<CommandEnd> EndAsync(IMirrorModuleGrain module, Guid operation) => Until.FoundAsync(
        async () => (await module.ReadAsync()).CommandEnds.FirstOrDefault(end => end.OperationId == operation), "the command ended");
}
