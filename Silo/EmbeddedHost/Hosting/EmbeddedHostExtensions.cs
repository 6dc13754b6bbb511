using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Hosting;
using Orleans.Runtime;
using Orleans.Storage;
using Orleans.Timers;
using Pollux.EmbeddedHost.Runtime;

namespace Pollux.EmbeddedHost;

/// <summary>Runs grains in this process, without Orleans' runtime.</summary>
public static class EmbeddedHostExtensions
{
    /// <summary>Registers the grain factory, the storage, reminders and the hosted service that starts and drains them.</summary>
    /// <exception cref="OrleansConfigurationException">No storage or no grain assembly is named, or clustering is configured.</exception>
    public static ISiloBuilder UseEmbeddedHost(this ISiloBuilder builder, Action<EmbeddedHostOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        var options = new EmbeddedHostOptions();
        configure(options);
        Verify(builder, options);

        var services = builder.Services;
        services.AddLogging();
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton(options);
        services.AddSingleton(_ => options.StoreFactory!(options));
        services.AddSingleton(provider => new EmbeddedRuntime(
            provider, options, provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILogger<EmbeddedRuntime>>()));
        services.AddSingleton<IClusterClient>(provider => provider.GetRequiredService<EmbeddedRuntime>().References);
        services.AddSingleton<IGrainFactory>(provider => provider.GetRequiredService<EmbeddedRuntime>().References);
        services.AddSingleton<ReminderService>();
        services.AddSingleton<IReminderRegistry>(provider => provider.GetRequiredService<ReminderService>());
        services.TryAddSingleton<IGrainStorageSerializer, PlainJsonSerializer>();
        services.AddSingleton<IGrainStorage>(provider => Storage(provider, null));
        foreach (var name in options.StorageNames)
            services.AddKeyedSingleton<IGrainStorage>(name, (provider, _) => Storage(provider, name));
        services.AddHostedService<EmbeddedSilo>();
        return builder;
    }

    /// <summary>Changes the options of a host that <see cref="UseEmbeddedHost"/> has added.</summary>
    public static ISiloBuilder ConfigureEmbeddedHost(this ISiloBuilder builder, Action<EmbeddedHostOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        var added = builder.Services.LastOrDefault(service => service.ServiceType == typeof(EmbeddedHostOptions))
            ?? throw new OrleansConfigurationException("Call UseEmbeddedHost first.");
        configure((EmbeddedHostOptions)added.ImplementationInstance!);
        return builder;
    }

    private static EmbeddedGrainStorage Storage(IServiceProvider provider, string? name) => new(
        provider.GetRequiredService<EmbeddedStore>(),
        (name is null ? null : provider.GetKeyedService<IGrainStorageSerializer>(name)) ?? provider.GetRequiredService<IGrainStorageSerializer>());

    private static void Verify(ISiloBuilder builder, EmbeddedHostOptions options)
    {
        if (builder.Configuration.GetSection("Orleans:Clustering").GetChildren().Any())
            throw new OrleansConfigurationException($"Orleans:Clustering is configured. {RefusedClustering.Reason}");
        if (options.StoreFactory is null)
            throw new OrleansConfigurationException("The embedded host needs a storage: call UseSqlite(path) or UsePostgreSql(connectionString).");
        if (options.GrainAssemblies.Count == 0)
            throw new OrleansConfigurationException("The embedded host needs at least one grain assembly: add it to GrainAssemblies.");
    }
}
