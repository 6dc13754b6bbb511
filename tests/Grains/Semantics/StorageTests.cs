using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Storage;
using Pollux.Silo.Storage;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

public sealed class StorageTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    [Fact]
    public async Task State_survives_a_restart_of_the_host()
    {
        var probe = new Probe();
        await using var own = await OwnHost.StartAsync(probe);
        var before = await own.Grains.GetGrain<ICounterGrain>("kept").AddAsync(7);
        await own.RestartAsync();
        var after = await own.Grains.GetGrain<ICounterGrain>("kept").LookAsync();
        Assert.Equal((7, true, before.Etag), (after.Value, after.RecordExists, after.Etag));
        Assert.NotEqual(before.Activation, after.Activation);
        Assert.Contains("kept ShuttingDown", probe.Log);
    }

    [Fact]
    public async Task A_grain_without_a_row_has_an_empty_state()
    {
        var view = await host.Grains.GetGrain<ICounterGrain>(SemanticsHost.NewKey()).LookAsync();
        Assert.Equal((0, false, null), (view.Value, view.RecordExists, view.Etag));
    }

    [Fact]
    public async Task A_duplicate_writer_makes_the_stale_activation_lose_and_read_again()
    {
        var grain = host.Grains.GetGrain<ICounterGrain>(SemanticsHost.NewKey());
        var stale = await grain.AddAsync(1);
        await WriteBesideAsync(grain, 100);

        await Assert.ThrowsAsync<InconsistentStateException>(() => grain.AddAsync(1));

        var fresh = await grain.LookAsync();
        Assert.Equal(100, fresh.Value);
        Assert.NotEqual(stale.Activation, fresh.Activation);
        Assert.Equal(101, (await grain.AddAsync(1)).Value);
    }

    [Fact]
    public async Task Two_first_writers_do_not_both_win()
    {
        var grain = host.Grains.GetGrain<ICounterGrain>(SemanticsHost.NewKey());
        await grain.LookAsync();
        await WriteBesideAsync(grain, 5);
        await Assert.ThrowsAsync<InconsistentStateException>(() => grain.AddAsync(1));
        Assert.Equal(5, (await grain.LookAsync()).Value);
    }

    [Fact]
    public async Task A_conflict_that_the_grain_handles_keeps_its_activation()
    {
        var grain = host.Grains.GetGrain<ICounterGrain>(SemanticsHost.NewKey());
        var before = await grain.AddAsync(1);
        await WriteBesideAsync(grain, 10);
        Assert.Null(await grain.TryAddAsync(1));
        var reread = await grain.RereadAsync();
        Assert.Equal((10, before.Activation), (reread.Value, reread.Activation));
        Assert.Equal(11, (await grain.AddAsync(1)).Value);
    }

    [Fact]
    public async Task A_cleared_state_is_empty_and_its_old_version_never_comes_back()
    {
        var grain = host.Grains.GetGrain<ICounterGrain>(SemanticsHost.NewKey());
        await grain.AddAsync(1);
        var storage = Storage();
        var stale = new GrainState<CounterState>();
        await storage.ReadStateAsync(CounterGrain.StateName, grain.GetGrainId(), stale);

        var cleared = await grain.ClearAsync();
        Assert.Equal((0, false), (cleared.Value, cleared.RecordExists));
        await grain.AddAsync(2);
        await Assert.ThrowsAsync<InconsistentStateException>(
            () => storage.WriteStateAsync(CounterGrain.StateName, grain.GetGrainId(), stale));
        Assert.Equal(2, (await grain.LookAsync()).Value);
    }

    [Fact]
    public async Task Many_grains_write_at_the_same_time()
    {
        var grains = Enumerable.Range(0, 64).Select(_ => host.Grains.GetGrain<ICounterGrain>(SemanticsHost.NewKey())).ToArray();
        for (var round = 1; round <= 3; round++)
        {
            var views = await Task.WhenAll(grains.Select(grain => grain.AddAsync(1)));
            Assert.All(views, view => Assert.Equal(round, view.Value));
        }
    }

    [Fact]
    public async Task Rows_are_JSON_without_type_names()
    {
        await using var own = await OwnHost.StartAsync(new Probe(), options => options.NeedsFile = true);
        await own.Grains.GetGrain<ICounterGrain>("row").AddAsync(42);
        await own.StopAsync();
        var file = await File.ReadAllBytesAsync(own.DatabasePath);
        var wal = own.DatabasePath + "-wal";
        var text = System.Text.Encoding.Latin1.GetString(File.Exists(wal) ? [.. file, .. await File.ReadAllBytesAsync(wal)] : file);
        Assert.Contains("""{"value":42,"day":"Sunday"}""", text, StringComparison.Ordinal);
        Assert.DoesNotContain("CounterState", text, StringComparison.Ordinal);
    }

    private IGrainStorage Storage() => host.Host.Services.GetRequiredKeyedService<IGrainStorage>(SiloStorage.Name);

    // What a second activation of the same grain would do.
    private async Task WriteBesideAsync(ICounterGrain grain, int value)
    {
        var other = new GrainState<CounterState>();
        await Storage().ReadStateAsync(CounterGrain.StateName, grain.GetGrainId(), other);
        other.State = new CounterState { Value = value };
        await Storage().WriteStateAsync(CounterGrain.StateName, grain.GetGrainId(), other);
    }
}
