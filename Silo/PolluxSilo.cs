using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Orleans.Hosting;
using Pollux.Grains;
using Pollux.Silo.Storage;
#if !ORLEANS_EMBEDDED
using Orleans.Configuration;
#endif

namespace Pollux.Silo;

/// <summary>Composition of the control plane's grains on the host that this build has: Orleans, or the embedded single process.</summary>
public static class PolluxSilo
{
    /// <summary>Name of the installation in the database.</summary>
    public const string ServiceId = SiloStorageOptions.DefaultServiceId;

    /// <exception cref="SiloConfigurationException">Clustering without PostgreSQL, or in an embedded build.</exception>
    public static IHostApplicationBuilder AddPolluxSilo(this IHostApplicationBuilder builder, PolluxSiloOptions options)
    {
        CheckClustering(options);
        builder.Services.TryAddSingleton(TimeProvider.System);
        return builder.UseOrleans(silo =>
        {
            ConfigureMembership(silo, options);
            var storage = options.PostgreSql is { } connection
                ? SiloStorageOptions.PostgreSql(connection, ServiceId)
                : SiloStorageOptions.Sqlite(options.SqliteFile, ServiceId);
            silo.AddPolluxStorage(
                storage with { Restored = options.Restored },
                typeof(MirrorModuleGrain).Assembly);
        });
    }

    /// <summary>A gateway apart from its silos: only the client of their cluster.</summary>
    /// <exception cref="SiloConfigurationException">As for a clustered silo.</exception>
    public static IHostApplicationBuilder AddPolluxClient(this IHostApplicationBuilder builder, PolluxSiloOptions options)
    {
        CheckClustering(options);
        builder.Services.TryAddSingleton(TimeProvider.System);
        ConfigureClient(builder, options);
        return builder;
    }

    private static void CheckClustering(PolluxSiloOptions options)
    {
        if (!options.Clustered) return;
        if (!CanCluster)
            throw new SiloConfigurationException(
                "This build has the embedded single-process host and cannot form a cluster. Run 'pollux server', or build with "
                + "OrleansHost=Microsoft where the package registry carries Orleans.");
        if (options.PostgreSql is null)
            throw new SiloConfigurationException(
                "Silos and gateways of a cluster find each other in PostgreSQL: give --postgres. One silo alone runs on SQLite: 'pollux server'.");
    }

#if ORLEANS_EMBEDDED
    private static bool CanCluster => false;

    private static void ConfigureMembership(ISiloBuilder silo, PolluxSiloOptions options)
    {
        // One process: there are no members.
    }

    private static void ConfigureClient(IHostApplicationBuilder builder, PolluxSiloOptions options) =>
        throw new SiloConfigurationException("An embedded build has no cluster that a gateway could be the client of.");
#else
    private static bool CanCluster => true;

    private static void ConfigureMembership(ISiloBuilder silo, PolluxSiloOptions options)
    {
        silo.Configure<ClusterOptions>(cluster => (cluster.ClusterId, cluster.ServiceId) = (ServiceId, ServiceId));
        silo.AddActivityPropagation();
        if (!options.Clustered)
        {
            // Membership in memory: a killed silo leaves no row that its successor would wait for.
            silo.UseLocalhostClustering(options.SiloPort, options.ClientPort, primarySiloEndpoint: null, ServiceId, ServiceId);
            return;
        }
        silo.UseAdoNetClustering(clustering => (clustering.Invariant, clustering.ConnectionString) = ("Npgsql", options.PostgreSql!));
        silo.WaitOutAbandonedSilos(options.PostgreSql!);
        if (options.Address is { } address) silo.ConfigureEndpoints(address, options.SiloPort, options.ClientPort, listenOnAnyHostAddress: true);
        else silo.ConfigureEndpoints(options.SiloPort, options.ClientPort);
        silo.Configure<ClusterMembershipOptions>(membership =>
        {
            // A dead silo is found within 2 s and its grains answer again after about 1 s more (measured; 12.6 s by default). One vote
            // is enough: with two silos there is only one that can vote. A wrong verdict costs a restart of the silo, never a record:
            // the ETag decides about those.
            membership.ProbeTimeout = TimeSpan.FromSeconds(1);
            membership.NumMissedProbesLimit = 2;
            membership.NumVotesForDeathDeclaration = 1;
            // A silo that starts first checks that it reaches every member whose row looks alive, for up to five minutes. When all were
            // killed at once nobody marked their rows dead; these settings make a row look dead 15 s after its silo stopped writing it,
            // and the one that restarts alone waits for that (AbandonedSilos).
            membership.IAmAliveTablePublishTimeout = TimeSpan.FromSeconds(5);
            membership.NumMissedTableIAmAliveLimit = 3;
            membership.DefunctSiloCleanupPeriod = TimeSpan.FromMinutes(10);
            membership.DefunctSiloExpiration = TimeSpan.FromDays(1);
        });
    }

    private static void ConfigureClient(IHostApplicationBuilder builder, PolluxSiloOptions options) => builder.UseOrleansClient(client =>
    {
        client.Configure<ClusterOptions>(cluster => (cluster.ClusterId, cluster.ServiceId) = (ServiceId, ServiceId));
        client.AddActivityPropagation();
        // After all silos were away the gateway finds the first that returns within 5 s; a minute by default.
        client.Configure<GatewayOptions>(gateways => gateways.GatewayListRefreshPeriod = TimeSpan.FromSeconds(5));
        client.UseAdoNetClustering(clustering => (clustering.Invariant, clustering.ConnectionString) = ("Npgsql", options.PostgreSql!));
    });
#endif
}
