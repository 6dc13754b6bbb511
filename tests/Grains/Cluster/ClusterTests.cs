using System.Net;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;
using Pollux.Silo.Storage;
using Pollux.Tests.Grains.Hosting;
using Pollux.Tests.Grains.Semantics;

namespace Pollux.Tests.Grains.Cluster;

/// <summary>Several silos on one PostgreSQL: Orleans' clustering, reminders and persistence with the tables of this project.</summary>
public sealed class ClusterTests : IAsyncLifetime
{
    private SiloStorageOptions _storage = SiloStorageOptions.PostgreSql("none");
    private readonly List<IHost> _silos = [];
    private readonly Probe _probe = new();

    public async Task InitializeAsync() => _storage = SiloStorageOptions.PostgreSql(await PostgreSql.ServerAsync(), $"test-{Guid.NewGuid():N}");

    public async Task DisposeAsync()
    {
        foreach (var silo in _silos)
        {
            await silo.StopAsync();
            silo.Dispose();
        }
    }

    [PostgreSqlFact]
    public async Task Two_silos_form_a_cluster_and_share_grains_and_state()
    {
        var (first, second) = (await StartSiloAsync(), await StartSiloAsync());
        var hosts = await Grains(first).GetGrain<IManagementGrain>(0).GetHosts(onlyActive: true);
        Assert.Equal(2, hosts.Count);

        var keys = Enumerable.Range(0, 20).Select(i => $"shared-{i}").ToArray();
        var written = await Task.WhenAll(keys.Select(key => Grains(first).GetGrain<ICounterGrain>(key).AddAsync(3)));
        var read = await Task.WhenAll(keys.Select(key => Grains(second).GetGrain<ICounterGrain>(key).LookAsync()));
        Assert.Equal(written.Select(view => view.Activation), read.Select(view => view.Activation));
        Assert.All(read, view => Assert.Equal(3, view.Value));
    }

    [PostgreSqlFact]
    public async Task When_a_silo_leaves_its_grains_answer_on_the_other_with_their_state()
    {
        var (stays, leaves) = (await StartSiloAsync(), await StartSiloAsync());
        var keys = Enumerable.Range(0, 20).Select(i => $"moved-{i}").ToArray();
        await Task.WhenAll(keys.Select(key => Grains(leaves).GetGrain<ICounterGrain>(key).AddAsync(4)));
        await leaves.StopAsync();
        var read = await Task.WhenAll(keys.Select(key => Grains(stays).GetGrain<ICounterGrain>(key).LookAsync()));
        Assert.All(read, view => Assert.Equal(4, view.Value));
    }

    [PostgreSqlFact]
    public async Task Reminders_are_durable_and_can_be_removed()
    {
        var first = await StartSiloAsync();
        await Grains(first).GetGrain<IRemindersGrain>("kept").RegisterAsync("later", TimeSpan.FromHours(1), TimeSpan.FromHours(1));
        await Grains(first).GetGrain<IRemindersGrain>("kept").RegisterAsync("soon", TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1));
        await _probe.WaitAsync("kept soon");
        await first.StopAsync();

        var second = await StartSiloAsync();
        var grain = Grains(second).GetGrain<IRemindersGrain>("kept");
        Assert.True(await grain.ExistsAsync("later"));
        Assert.True(await grain.UnregisterAsync("later"));
        Assert.False(await grain.ExistsAsync("later"));
    }

    private static IGrainFactory Grains(IHost silo) => silo.Services.GetRequiredService<IGrainFactory>();

    private async Task<IHost> StartSiloAsync()
    {
        var builder = Host.CreateEmptyApplicationBuilder(settings: null);
        builder.Logging.SetMinimumLevel(LogLevel.Error).AddSimpleConsole();
        builder.Services.AddSingleton(_probe);
        builder.UseOrleans(silo =>
        {
            var ports = HostUnderTest.FreePorts();
            silo.ConfigureEndpoints(IPAddress.Loopback, ports.Silo, ports.Gateway);
            silo.Services.Configure<ClusterOptions>(cluster => cluster.ClusterId = _storage.ServiceId);
            silo.AddPolluxStorage(_storage);
            silo.UseAdoNetClustering(clustering =>
            {
                clustering.Invariant = "Npgsql";
                clustering.ConnectionString = _storage.ConnectionString;
            });
        });
        var host = builder.Build();
        _silos.Add(host);
        await host.StartAsync();
        return host;
    }
}
