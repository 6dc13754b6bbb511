using System.Runtime.CompilerServices;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans;
using Orleans.Hosting;
using Orleans.Runtime;
using Orleans.Serialization;
using Pollux.EmbeddedHost;
using Pollux.Silo.Storage;
using Pollux.Tests.Grains.Hosting;
using Pollux.Tests.Grains.Semantics;

namespace Pollux.Tests.Grains.Embedded;

/// <summary>What only the embedded host promises: limits, refusals and what its messages say.</summary>
public sealed class LimitTests
{
    private readonly Probe _probe = new();

    [Fact]
    public async Task A_full_mailbox_rejects_the_call_and_says_what_the_grain_is_doing()
    {
        await using var own = await OwnHost.StartAsync(_probe, options => options.Silo = silo =>
            silo.ConfigureEmbeddedHost(host => host.MailboxMax = 2));
        var grain = own.Grains.GetGrain<ITurnsGrain>("full");
        var running = grain.WorkAsync("work", "go");
        await _probe.WaitAsync("work starts");
        var waiting = new[] { grain.AddSlowlyAsync(), grain.AddSlowlyAsync() };
        var refusal = await Assert.ThrowsAsync<LimitExceededException>(grain.AddSlowlyAsync);
        Assert.Contains("mailbox of test.turns/full", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("ITurnsGrain.WorkAsync", refusal.Message, StringComparison.Ordinal);
        _probe.Signal("go");
        await running;
        var sums = await Task.WhenAll(waiting);
        Assert.Equal([1, 2], sums);
    }

    [Fact]
    public async Task A_timeout_names_caller_callee_and_the_call_that_is_waited_for()
    {
        await using var own = await OwnHost.StartAsync(_probe);
        var timeout = await Assert.ThrowsAsync<TimeoutException>(
            () => own.Grains.GetGrain<IChainGrain>("first").ThereAndBackAsync("second", allowReentrancy: false));
        Assert.Contains("test.chain/second called IChainGrain.NameAsync on test.chain/first", timeout.Message, StringComparison.Ordinal);
        Assert.Contains("running: IChainGrain.ThereAndBackAsync", timeout.Message, StringComparison.Ordinal);
        Assert.Contains("awaiting: IChainGrain.BackToAsync on test.chain/second", timeout.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_call_that_timed_out_while_it_waited_never_runs()
    {
        await using var own = await OwnHost.StartAsync(_probe, options => options.ResponseTimeout = TimeSpan.FromSeconds(3));
        var grain = own.Grains.GetGrain<ITurnsGrain>("late");
        var first = grain.WorkAsync("first", "go");
        await _probe.WaitAsync("first starts");
        await Assert.ThrowsAsync<TimeoutException>(() => grain.WorkAsync("second", "go"));
        _probe.Signal("go");
        await Assert.ThrowsAsync<TimeoutException>(() => first);
        await grain.PeekAsync();
        Assert.Equal(1, await grain.AddSlowlyAsync());
        Assert.DoesNotContain("second starts", _probe.Log);
    }

    [Fact]
    public async Task An_exception_without_a_serializer_never_crosses()
    {
        await using var own = await OwnHost.StartAsync(_probe);
        var failure = await Assert.ThrowsAsync<CodecNotFoundException>(() => own.Grains.GetGrain<IFailingGrain>("x").FailLocallyAsync("local"));
        Assert.Contains(nameof(LocalException), failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Calls_before_the_start_and_after_the_stop_are_refused()
    {
        await using var own = await OwnHost.StartAsync(_probe);
        var grain = own.Grains.GetGrain<IFailingGrain>("x");
        Assert.Equal(1, await grain.PingAsync(1));
        await own.StopAsync();
        await Assert.ThrowsAsync<SiloUnavailableException>(() => grain.PingAsync(2));
    }

    [Fact]
    public async Task A_call_to_a_deleted_observer_fails_at_once()
    {
        await using var own = await OwnHost.StartAsync(_probe);
        var grain = own.Grains.GetGrain<INewsGrain>("x");
        var observer = new Silent();
        var reference = own.Grains.CreateObjectReference<INewsObserver>(observer);
        await grain.SubscribeAsync(reference);
        own.Grains.DeleteObjectReference<INewsObserver>(reference);
        await Assert.ThrowsAsync<ClientNotAvailableException>(() => grain.PublishAsync(new News(1, [])));
        GC.KeepAlive(observer);
    }

    [Fact]
    public async Task An_observer_that_nobody_keeps_alive_is_gone_after_a_collection()
    {
        await using var own = await OwnHost.StartAsync(_probe);
        var grain = own.Grains.GetGrain<INewsGrain>("x");
        await grain.SubscribeAsync(ReferenceToForgotten(own.Grains));
        GC.Collect();
        GC.WaitForPendingFinalizers();
        await Assert.ThrowsAsync<ClientNotAvailableException>(() => grain.PublishAsync(new News(1, [])));
    }

    [Fact]
    public async Task A_second_process_on_the_same_file_is_refused()
    {
        await using var own = await OwnHost.StartAsync(_probe, options => options.NeedsFile = true);
        var builder = Host.CreateEmptyApplicationBuilder(settings: null);
        builder.Services.AddSingleton(_probe);
        HostUnderTest.Configure(builder, SiloStorageOptions.Sqlite(own.DatabasePath), new TestGrainHostOptions());
        using var second = builder.Build();
        var refusal = await Assert.ThrowsAsync<OrleansConfigurationException>(() => second.StartAsync());
        Assert.Contains(own.DatabasePath, refusal.Message, StringComparison.Ordinal);
        await own.RestartAsync();
    }

    [Fact]
    public void Clustering_in_the_configuration_is_refused_with_the_reason()
    {
        var builder = Host.CreateEmptyApplicationBuilder(settings: null);
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?> { ["Orleans:Clustering:ProviderType"] = "AdoNet" });
        var refusal = Assert.Throws<OrleansConfigurationException>(
            () => builder.UseOrleans(silo => silo.UseEmbeddedHost(host =>
            {
                host.UseSqlite("unused.db");
                host.GrainAssemblies.Add(typeof(LimitTests).Assembly);
            })));
        Assert.Contains("OrleansHost=Microsoft", refusal.Message, StringComparison.Ordinal);
    }

    // Not inlined, so that no frame of the test holds the object.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static INewsObserver ReferenceToForgotten(IGrainFactory grains) => grains.CreateObjectReference<INewsObserver>(new Silent());

    private sealed class Silent : INewsObserver
    {
        public Task OnNewsAsync(News news) => Task.CompletedTask;
    }
}
