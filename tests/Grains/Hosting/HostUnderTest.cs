// The only file that knows which Orleans host a build has.

using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Hosting;
using Pollux.Silo.Storage;
#if ORLEANS_EMBEDDED
using Pollux.EmbeddedHost;
#else
using System.Net;
using System.Net.Sockets;
using Orleans.Configuration;
#endif

namespace Pollux.Tests.Grains.Hosting;

internal static class HostUnderTest
{
    /// <summary>Orleans has no reminder table for SQLite, and does not lock the file against a second server.</summary>
#if ORLEANS_EMBEDDED
    public static bool HasDurableRemindersOnSqlite => true;
    public static bool AdmitsSecondServerOnSqlite => false;
#else
    public static bool HasDurableRemindersOnSqlite => false;
    public static bool AdmitsSecondServerOnSqlite => true;
#endif

    public static void Configure(HostApplicationBuilder builder, SiloStorageOptions storage, TestGrainHostOptions options)
    {
        var assemblies = options.GrainAssemblies.Append(typeof(HostUnderTest).Assembly).Append(typeof(Pollux.Grains.Core.Arbiter).Assembly).ToArray();
        builder.UseOrleans(silo =>
        {
#if ORLEANS_EMBEDDED
            silo.AddPolluxStorage(storage, assemblies);
            silo.ConfigureEmbeddedHost(host =>
            {
                host.ResponseTimeout = options.ResponseTimeout;
                host.CollectionAge = options.CollectionAge ?? host.CollectionAge;
            });
#else
            var ports = FreePorts();
            silo.UseLocalhostClustering(ports.Silo, ports.Gateway, serviceId: storage.ServiceId);
            silo.AddPolluxStorage(storage, assemblies);
            silo.AddActivityPropagation();
            silo.Services.Configure<SiloMessagingOptions>(messaging => messaging.ResponseTimeout = options.ResponseTimeout);
            silo.Services.Configure<ClientMessagingOptions>(messaging => messaging.ResponseTimeout = options.ResponseTimeout);
            if (options.CollectionAge is { } age)
            {
                silo.Services.Configure<GrainCollectionOptions>(collection =>
                {
                    collection.CollectionQuantum = age / 2;
                    collection.CollectionAge = age;
                });
            }
#endif
            options.Silo(silo);
        });
    }

#if !ORLEANS_EMBEDDED
    // Both listeners are open at the same time, so that the ports differ.
    public static (int Silo, int Gateway) FreePorts()
    {
        using var first = new TcpListener(IPAddress.Loopback, 0);
        using var second = new TcpListener(IPAddress.Loopback, 0);
        first.Start();
        second.Start();
        return (((IPEndPoint)first.LocalEndpoint).Port, ((IPEndPoint)second.LocalEndpoint).Port);
    }
#endif
}
