using System.Reflection;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Hosting;
using Orleans.Storage;
using Pollux.EmbeddedHost;

namespace Pollux.Silo.Storage;

/// <summary>The storage of an embedded build.</summary>
internal static class StorageComposition
{
    public static ISiloBuilder Add(ISiloBuilder builder, SiloStorageOptions options, Assembly[] grainAssemblies)
    {
        builder.Services.AddSingleton<IGrainStorageSerializer, JsonGrainStorageSerializer>();
        builder.UseEmbeddedHost(host =>
        {
            host.ServiceId = options.ServiceId;
            host.StorageNames.Clear();
            host.StorageNames.Add(SiloStorage.Name);
            host.GrainAssemblies.UnionWith(grainAssemblies);
            if (options.Database == SiloDatabase.PostgreSql)
                host.UsePostgreSql(options.ConnectionString);
            else
                host.UseSqlite(new SqliteConnectionStringBuilder(options.ConnectionString).DataSource);
        });
        builder.Services.AddHostedService<GenerationStage>();
        return builder;
    }
}
