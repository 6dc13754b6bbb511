namespace Pollux.Silo.Storage;

/// <summary>Which database holds the control plane's state.</summary>
public enum SiloDatabase
{
    /// <summary>A file; one silo.</summary>
    Sqlite,

    /// <summary>A server; one silo or many.</summary>
    PostgreSql,
}

/// <summary>Where the control plane's state is kept.</summary>
/// <param name="Database">The kind of database.</param>
/// <param name="ConnectionString">For <see cref="SiloDatabase.PostgreSql"/> Npgsql's connection string; for SQLite <c>Data Source=…</c>.</param>
/// <param name="ServiceId">Separates installations in one database; part of the key of every row. Never changed later.</param>
public sealed record SiloStorageOptions(SiloDatabase Database, string ConnectionString, string ServiceId = SiloStorageOptions.DefaultServiceId)
{
    /// <summary>The database was restored from a backup, or is new because the former one is lost: the start declares it.</summary>
    public bool Restored { get; init; }

    public const string DefaultServiceId = "pollux";

    public static SiloStorageOptions Sqlite(string path, string serviceId = DefaultServiceId)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        var builder = new Microsoft.Data.Sqlite.SqliteConnectionStringBuilder { DataSource = Path.GetFullPath(path) };
        return new SiloStorageOptions(SiloDatabase.Sqlite, builder.ToString(), serviceId);
    }

    public static SiloStorageOptions PostgreSql(string connectionString, string serviceId = DefaultServiceId)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(connectionString);
        return new SiloStorageOptions(SiloDatabase.PostgreSql, connectionString, serviceId);
    }
}
