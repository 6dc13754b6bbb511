using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Storage;
using Pollux.Grains;
using Pollux.Grains.Abstractions;
using Pollux.Grains.State;
using Pollux.Silo.Storage;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class ArbitrationTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Fact]
    public async Task A_new_module_has_its_source_in_sync_and_no_primary()
    {
        var pair = await host.PairAsync();
        var record = (await (await pair.ModuleAsync()).ReadAsync()).Record!;
        Assert.Equal((1L, null), (record.Epoch, record.Primary));
        Assert.Equal(pair.A.Key, Assert.Single(record.InSync));
    }

    [Fact]
    public async Task The_way_through_takeover_join_handover_and_exclude_is_granted_epoch_by_epoch()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var record = (await module.ReadAsync()).Record!;
        foreach (var (by, change, primary, inSync) in new[]
        {
            (pair.A, "takeover", pair.A.Key, new[] { pair.A.Key }),
            (pair.A, "join", pair.A.Key, [pair.A.Key, pair.B.Key]),
            (pair.A, "handover", pair.B.Key, [pair.A.Key, pair.B.Key]),
            (pair.B, "exclude", pair.B.Key, [pair.B.Key]),
        })
        {
            var result = await module.ArbitrateAsync(pair.Call(by, change, record));
            Assert.True(result.Granted, result.Reason);
            Assert.Equal((record.Epoch + 1, primary), (result.Record!.Epoch, result.Record.Primary));
            Assert.Equal(inSync, result.Record.InSync);
            record = result.Record;
        }
        var view = await module.ReadAsync();
        Assert.Equal(["created", "takeover", "join", "handover", "exclude"], view.History.Select(entry => entry.Change));
        Assert.Equal([1, 2, 3, 4, 5], view.History.Select(entry => entry.Epoch));
        Assert.All(view.History, entry => Assert.NotEqual("", entry.Cause));
    }

    [Fact]
    public async Task Of_two_hosts_that_ask_in_the_same_epoch_one_is_granted()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var record = await MirroredAsync(pair, module);
        var results = await Task.WhenAll(
            module.ArbitrateAsync(pair.Call(pair.A, "exclude", record)), module.ArbitrateAsync(pair.Call(pair.B, "takeover", record)));
        var granted = Assert.Single(results, result => result.Granted);
        var refused = Assert.Single(results, result => !result.Granted);
        Assert.Equal(granted.Record, refused.Record);
        Assert.Equal(record.Epoch + 1, granted.Record!.Epoch);
    }

    [Fact]
    public async Task Repeating_a_granted_request_gives_the_same_grant_and_changes_nothing()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var call = pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!);
        var first = await module.ArbitrateAsync(call);
        var second = await module.ArbitrateAsync(call);
        Assert.True(second.Granted);
        Assert.Equal(first.Record, second.Record);
        Assert.Equal(2, (await module.ReadAsync()).History.Length);
    }

    [Fact]
    public async Task A_grant_survives_a_restart_and_its_repetition_too()
    {
        await using var own = await TestGrainHost.StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        var call = pair.Call(pair.A, "takeover", (await (await pair.ModuleAsync()).ReadAsync()).Record!);
        var before = await pair.Module("web").ArbitrateAsync(call);
        await own.RestartAsync();
        var after = await pair.Module("web").ArbitrateAsync(call);
        Assert.True(after.Granted);
        Assert.Equal(before.Record, after.Record);
        Assert.Equal(before.Record, (await pair.Module("web").ReadAsync()).Record);
    }

    [Fact]
    public async Task A_duplicate_activation_loses_on_the_ETag_and_the_repetition_learns_what_holds()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var record = await MirroredAsync(pair, module);
        // Another activation grants B's takeover while this one still has the record before it in memory.
        await ChangeBesideAsync(module, state => state with
        {
            Record = state.Record! with { Epoch = record.Epoch + 1, Primary = pair.B.Key, InSync = [pair.B.Key] },
        });

        var call = pair.Call(pair.A, "exclude", record);
        await Assert.ThrowsAsync<InconsistentStateException>(() => module.ArbitrateAsync(call));

        var repeated = await module.ArbitrateAsync(call);
        Assert.False(repeated.Granted);
        Assert.Equal((record.Epoch + 1, pair.B.Key), (repeated.Record!.Epoch, repeated.Record.Primary));
    }

    [Fact]
    public async Task An_unknown_module_a_former_incarnation_and_a_foreign_host_are_refused()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var record = (await module.ReadAsync()).Record!;
        var unknown = await pair.Module("other").ArbitrateAsync(pair.Call(pair.A, "look", record));
        Assert.Equal((false, null), (unknown.Granted, unknown.Record));
        var former = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", record with { Incarnation = Guid.NewGuid() }));
        Assert.Equal((false, record), (former.Granted, former.Record));
        var foreign = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", record) with { By = "other/a" });
        Assert.Equal((false, record), (foreign.Granted, foreign.Record));
        var nonsense = await module.ArbitrateAsync(pair.Call(pair.A, "conquer", record));
        Assert.Equal((false, record), (nonsense.Granted, nonsense.Record));
    }

    [Fact]
    public async Task The_history_keeps_its_newest_entries()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var record = await MirroredAsync(pair, module);
        for (var round = 0; round < ModuleView.HistoryMax; round++)
            record = (await module.ArbitrateAsync(pair.Call(record.Primary == pair.A.Key ? pair.A : pair.B, "handover", record))).Record!;
        var history = (await module.ReadAsync()).History;
        Assert.Equal(ModuleView.HistoryMax, history.Length);
        Assert.Equal(record.Epoch, history[^1].Epoch);
    }

    private static async Task<RecordView> MirroredAsync(Pair pair, IMirrorModuleGrain module)
    {
        var alone = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        return (await module.ArbitrateAsync(pair.Call(pair.A, "join", alone.Record!))).Record!;
    }

    private async Task ChangeBesideAsync(IMirrorModuleGrain module, Func<MirrorModuleState, MirrorModuleState> change)
    {
        var storage = host.Host.Services.GetRequiredKeyedService<IGrainStorage>(SiloStorage.Name);
        var other = new GrainState<MirrorModuleState>();
        await storage.ReadStateAsync(GrainStateNames.MirrorModule, module.GetGrainId(), other);
        other.State = change(other.State!);
        await storage.WriteStateAsync(GrainStateNames.MirrorModule, module.GetGrainId(), other);
    }
}
