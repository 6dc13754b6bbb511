using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Hosting;

namespace Pollux.Tests.Grains.Hosting;

/// <summary>What a test may choose about its grain host; the same for both hosts.</summary>
public sealed class TestGrainHostOptions
{
    /// <summary>Services for grains and tests: probes, clocks, clients. The same instances after a restart.</summary>
    public Action<IServiceCollection> Services { get; set; } = _ => { };

    /// <summary>Changes the silo after the fixture has configured it.</summary>
    public Action<ISiloBuilder> Silo { get; set; } = _ => { };

    /// <summary>Grain assemblies besides that of the tests and that of the product's grains.</summary>
    public IList<Assembly> GrainAssemblies { get; } = [];

    /// <summary>Whether the test looks into the database file, so that it is SQLite even where PostgreSQL is offered.</summary>
    public bool NeedsFile { get; set; }

    /// <summary>Connection string of the server to run on; null: that of the environment, or SQLite.</summary>
    public string? PostgreSql { get; set; }

    /// <summary>How long a caller waits for an answer; long enough for a busy machine.</summary>
    public TimeSpan ResponseTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Idle time after which activations are collected; null for the host's default.</summary>
    public TimeSpan? CollectionAge { get; set; }
}
