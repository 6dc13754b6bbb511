using System.Reflection;
using Pollux.EmbeddedHost.Runtime;

namespace Pollux.EmbeddedHost;

/// <summary>Options of the single-process host. Every limit has a reason; at the limit calls are rejected, nothing grows.</summary>
public sealed class EmbeddedHostOptions
{
    /// <summary>Separates several installations in one database; part of the key of every row.</summary>
    public string ServiceId { get; set; } = "pollux";

    /// <summary>The storage names that <c>[PersistentState]</c> may use; all of them mean the one database.</summary>
    public IList<string> StorageNames { get; } = ["pollux"];

    /// <summary>Where grain classes, and contracts derived from other contracts, are looked for.</summary>
    public ISet<Assembly> GrainAssemblies { get; } = new HashSet<Assembly>();

    /// <summary>How long a caller waits for an answer. 30 s is the default of Orleans.</summary>
    public TimeSpan ResponseTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How long OnActivateAsync and OnDeactivateAsync may take. 30 s is the default of Orleans.</summary>
    public TimeSpan ActivationTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Idle time after which an activation is collected. 15 min is the default of Orleans.</summary>
    public TimeSpan CollectionAge { get; set; } = TimeSpan.FromMinutes(15);

    /// <summary>The shortest period of a reminder. 1 min is the default of Orleans.</summary>
    public TimeSpan ReminderPeriodMin { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How long a stop waits for activations to end.</summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>How long a storage operation may wait for the database.</summary>
    public TimeSpan StorageTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Calls waiting at one grain or observer: room for one report from each host of a large fleet, about 8 MB.</summary>
    public int MailboxMax { get; set; } = 10_000;

    /// <summary>Activations at a time: ten times what one process is meant to carry; about 1.2 KB each beside the state.</summary>
    public int ActivationsMax { get; set; } = 100_000;

    /// <summary>Timers of one activation: more than a grain has use for, so that a leak shows.</summary>
    public int TimersPerActivationMax { get; set; } = 64;

    internal Func<EmbeddedHostOptions, EmbeddedStore>? StoreFactory { get; private set; }

    /// <summary>Keeps states and reminders in a SQLite file, which is made when missing.</summary>
    public void UseSqlite(string path)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        StoreFactory = options => new SqliteStore(path, options);
    }

    /// <summary>Keeps states and reminders in a PostgreSQL database; tables are made when missing.</summary>
    public void UsePostgreSql(string connectionString)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(connectionString);
        StoreFactory = options => new PostgreSqlStore(connectionString, options);
    }
}
