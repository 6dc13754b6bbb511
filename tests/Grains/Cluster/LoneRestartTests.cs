using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using Orleans;
using Orleans.Runtime;
using Pollux.Silo;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Cluster;

/// <summary>The silo as `pollux silo` composes it, on a database of its own.</summary>
public sealed class LoneRestartTests
{
    // Orleans' own limit is 300 s, after which the silo gives up; the composition promises 15 s, a busy machine gets some more.
    private static readonly TimeSpan StartMax = TimeSpan.FromSeconds(120);

    /// <summary>All silos were killed at once; the rows of those that do not come back still look alive.</summary>
    [PostgreSqlFact]
    public async Task A_silo_that_restarts_alone_after_all_were_killed_does_not_wait_for_the_dead_one()
    {
        await using var database = await ScratchDatabase.CreateAsync();
        using (var first = await StartAsync(database.ConnectionString))
            await first.StopAsync();
        await database.ExecuteAsync(
            """
            INSERT INTO OrleansMembershipTable (DeploymentId, Address, Port, Generation, SiloName, HostName, Status, ProxyPort, StartTime, IAmAliveTime)
            SELECT DeploymentId, '127.0.0.1', 9, 1, 'killed', 'killed', 3, 0, now(), now() FROM OrleansMembershipVersionTable;
            UPDATE OrleansMembershipVersionTable SET Version = Version + 1;
            """);

        var watch = Stopwatch.StartNew();
        using var silo = await StartAsync(database.ConnectionString);
        Assert.True(watch.Elapsed < StartMax, $"The silo needed {watch.Elapsed}.");
        var active = await silo.Services.GetRequiredService<IGrainFactory>().GetGrain<IManagementGrain>(0).GetHosts(onlyActive: true);
        Assert.NotEmpty(active);
        await silo.StopAsync();
    }

    private static async Task<IHost> StartAsync(string connectionString)
    {
        var ports = HostUnderTest.FreePorts();
        var builder = Host.CreateEmptyApplicationBuilder(settings: null);
        builder.Logging.SetMinimumLevel(LogLevel.Error).AddSimpleConsole();
        builder.Services.AddSingleton(new Probe());
        builder.AddPolluxSilo(new PolluxSiloOptions
        {
            PostgreSql = connectionString,
            Clustered = true,
            SiloPort = ports.Silo,
            ClientPort = ports.Gateway,
        });
        var host = builder.Build();
        await host.StartAsync();
        return host;
    }

    private sealed class ScratchDatabase(string server, string name) : IAsyncDisposable
    {
        public string ConnectionString { get; } = new NpgsqlConnectionStringBuilder(server) { Database = name }.ToString();

        public static async Task<ScratchDatabase> CreateAsync()
        {
            var server = await PostgreSql.ServerAsync();
            var database = new ScratchDatabase(server, $"pollux_test_{Guid.NewGuid():N}");
            await RunAsync(server, $"CREATE DATABASE {database.Name}");
            return database;
        }

        private string Name => name;

        public Task ExecuteAsync(string sql) => RunAsync(ConnectionString, sql);

        public async ValueTask DisposeAsync() => await RunAsync(server, $"DROP DATABASE {name} WITH (FORCE)");

        private static async Task RunAsync(string connectionString, string sql)
        {
            await using var connection = new NpgsqlConnection(connectionString);
            await connection.OpenAsync();
            await using var command = new NpgsqlCommand(sql, connection);
            await command.ExecuteNonQueryAsync();
        }
    }
}
