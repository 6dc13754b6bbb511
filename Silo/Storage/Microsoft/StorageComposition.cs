using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;

namespace Pollux.Silo.Storage;

/// <summary>The storage of a build on Orleans' own runtime: its AdoNet providers.</summary>
internal static class StorageComposition
{
    public static ISiloBuilder Add(ISiloBuilder builder, SiloStorageOptions options, Assembly[] grainAssemblies)
    {
        _ = grainAssemblies;
        builder.Services.Configure<ClusterOptions>(cluster => cluster.ServiceId = options.ServiceId);
        builder.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(new OrleansTables(options));
        builder.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>, GenerationStage>();
        builder.AddAdoNetGrainStorage(SiloStorage.Name, storage =>
        {
            storage.Invariant = Invariant(options.Database);
            storage.ConnectionString = options.ConnectionString;
            storage.GrainStorageSerializer = new JsonGrainStorageSerializer();
        });
        return options.Database == SiloDatabase.Sqlite
            ? builder.UseInMemoryReminderService()
            : builder.UseAdoNetReminderService(reminders =>
            {
                reminders.Invariant = Invariant(options.Database);
                reminders.ConnectionString = options.ConnectionString;
            });
    }

    /// <summary>Orleans' name for the driver. Its name for SQLite means Microsoft.Data.Sqlite.</summary>
    public static string Invariant(SiloDatabase database) => database == SiloDatabase.Sqlite ? "System.Data.SQLite" : "Npgsql";
}
