using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class RestartTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Fact]
    public async Task A_restart_is_offered_to_the_primary_and_ends_as_it_says()
    {
        var (pair, module, _) = await RunningAsync();
        var operation = Guid.NewGuid();
        Assert.Null((await module.RestartAsync(operation)).Problem);
        Assert.Equal(new CommandOrder(operation, RestartCommand.Kind), Assert.Single((await pair.A.DesiredAsync()).Modules).Command);
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { CommandResults = [new CommandReport(operation, true, "Started again.")] });
        Assert.True((await EndAsync(module, operation)).Succeeded);
        Assert.Null(Assert.Single((await pair.A.DesiredAsync()).Modules).Command);
    }

    [Fact]
    public async Task A_restart_fails_with_its_reason_when_the_peer_takes_over_meanwhile()
    {
        var (pair, module, record) = await RunningAsync();
        var joined = (await module.ArbitrateAsync(pair.Call(pair.A, "join", record))).Record!;
        var operation = Guid.NewGuid();
        await module.RestartAsync(operation);
        Assert.True((await module.ArbitrateAsync(pair.Call(pair.B, "takeover", joined))).Granted);
        var end = await EndAsync(module, operation);
        Assert.False(end.Succeeded);
        Assert.Contains(pair.B.Key, end.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stopped_module_and_one_without_a_primary_are_not_restarted()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        Assert.Equal("module.not-running", (await module.RestartAsync(Guid.NewGuid())).Problem!.Code);
        Assert.Equal("module.not-running", (await module.StopStartAsync(Guid.NewGuid())).Problem!.Code);
        await module.SetRunAsync(true);
        Assert.Equal("module.no-primary", (await module.RestartAsync(Guid.NewGuid())).Problem!.Code);
    }

    [Fact]
    public async Task A_stop_and_start_wants_the_module_to_run_again_only_after_both_hosts_have_stopped()
    {
        var (pair, module, _) = await RunningAsync();
        var operation = Guid.NewGuid();
        Assert.Null((await module.StopStartAsync(operation)).Problem);
        Assert.Equal("module.command-open", (await module.SwapAsync(Guid.NewGuid())).Problem!.Code);
        foreach (var played in new[] { pair.A, pair.B })
        {
            var order = Assert.Single((await played.DesiredAsync()).Modules);
            Assert.False(order.Run);
            Assert.Null(order.Command); // To the hosts it is a stop like any other.
        }

        await pair.B.SayAsync(PlayedHost.Report);
        Assert.Null((await module.ReadAsync()).CommandEnds.FirstOrDefault());
        await pair.A.SayAsync(PlayedHost.Report);
        Assert.True((await EndAsync(module, operation)).Succeeded);
        Assert.True((await module.ReadAsync()).Run);
    }

    [Fact]
    public async Task An_operators_stop_ends_a_stop_and_start_that_is_half_done()
    {
        var (_, module, _) = await RunningAsync();
        var operation = Guid.NewGuid();
        await module.StopStartAsync(operation);
        await module.SetRunAsync(false);
        Assert.False((await EndAsync(module, operation)).Succeeded);
        Assert.False((await module.ReadAsync()).Run);
    }

    [Fact]
    public async Task The_history_says_what_the_operator_asked_for()
    {
        var (_, module, record) = await RunningAsync();
        await module.RestartAsync(Guid.NewGuid());
        await module.SetRunAsync(false);
        var asked = (await module.ReadAsync()).History.Where(entry => entry.By == "operator").ToList();
        Assert.Equal(["created", "start", "restart", "stop"], asked.Select(entry => entry.Change));
        Assert.Equal(record.Epoch, asked[^1].Epoch);
    }

    /// <summary>A runs it, alone; both hosts have said so.</summary>
    private async Task<(Pair, IMirrorModuleGrain, RecordView)> RunningAsync()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        await module.SetRunAsync(true);
        var alone = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { Role = "ALONE" });
        await pair.B.SayAsync(order => PlayedHost.Report(order) with { Role = "SECOND", Ready = false });
        return (pair, module, alone.Record!);
    }

    private static Task<CommandEnd> EndAsync(IMirrorModuleGrain module, Guid operation) => Until.FoundAsync(
        async () => (await module.ReadAsync()).CommandEnds.FirstOrDefault(end => end.OperationId == operation), "the command ended");
}
