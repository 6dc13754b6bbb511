using System.Net;

namespace Pollux.Silo;

/// <summary>Where a silo keeps its state and how it finds others.</summary>
public sealed record PolluxSiloOptions
{
    public const int SiloPortDefault = 11111;
    public const int ClientPortDefault = 30000;

    /// <summary>SQLite file of a silo that is alone. Ignored with <see cref="PostgreSql"/>.</summary>
    public string SqliteFile { get; init; } = "/var/lib/pollux/pollux.db";

    /// <summary>Npgsql connection string; null for one silo on SQLite.</summary>
    public string? PostgreSql { get; init; }

    /// <summary>The database was restored from a backup, or is new in place of a lost one: nothing is granted until hosts have reported.</summary>
    public bool Restored { get; init; }

    /// <summary>Several silos share the database. Needs <see cref="PostgreSql"/> and a build with Orleans.</summary>
    public bool Clustered { get; init; }

    /// <summary>Where other silos and gateways reach this one; null for the machine's first address. Give it on a machine with several.</summary>
    public IPAddress? Address { get; init; }

    /// <summary>TCP port between silos; in a cluster reachable by the others.</summary>
    public int SiloPort { get; init; } = SiloPortDefault;

    /// <summary>TCP port for gateways apart from the silo.</summary>
    public int ClientPort { get; init; } = ClientPortDefault;
}

/// <summary>The options cannot be met by this build or contradict each other. The message says what to do.</summary>
public sealed class SiloConfigurationException(string message) : Exception(message);
