using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Orleans.Hosting;
using Pollux.Grains.Core;

namespace Pollux.Silo.Storage;

/// <summary>
/// Puts grain state and reminders into the database. The same call serves both grain hosts: with Orleans it configures
/// the AdoNet providers and makes their tables; in an embedded build it configures the embedded host, whose one database
/// this is.
/// </summary>
/// <remarks>With Orleans on SQLite reminders are kept in memory: Orleans has no SQLite table for them. Grains register their
/// reminders when they activate, and the silo's start-up wakes those that must be awake.</remarks>
public static class SiloStorage
{
    /// <summary>The storage name in every <c>[PersistentState("…", SiloStorage.Name)]</c>.</summary>
    public const string Name = "pollux";

    /// <param name="builder">The silo.</param>
    /// <param name="options">The database.</param>
    /// <param name="grainAssemblies">Where grain classes are; Orleans finds them by its generated code.</param>
    public static ISiloBuilder AddPolluxStorage(this ISiloBuilder builder, SiloStorageOptions options, params Assembly[] grainAssemblies)
    {
        ArgumentNullException.ThrowIfNull(options);
        builder.Services.TryAddSingleton<ControlGeneration>();
        builder.Services.AddSingleton(provider => ActivatorUtilities.CreateInstance<GenerationStep>(provider, options.Restored));
        return StorageComposition.Add(builder, options, grainAssemblies);
    }
}
