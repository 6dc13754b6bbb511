using System.Data.Common;
using Microsoft.Data.Sqlite;
using Npgsql;
using Orleans;
using Orleans.Runtime;

namespace Pollux.Silo.Storage;

/// <summary>
/// The tables of Orleans' AdoNet providers, made when missing before the silo's first stage. The providers run the
/// statements that they find by key in the table OrleansQuery; names and types of their parameters and columns are the
/// contract with Orleans, the statements are ours. They are written anew at each start, so an update changes them.
/// </summary>
internal sealed class OrleansTables(SiloStorageOptions options) : ILifecycleParticipant<ISiloLifecycle>
{
    private const string QueryMark = "-- query: ";

    // Any number that nobody else uses: two silos must not make the tables at the same time.
    private const long PostgreSqlLock = 0x506F6C6C7578;

    public void Participate(ISiloLifecycle observer) =>
        observer.Subscribe(nameof(OrleansTables), ServiceLifecycleStage.First, CreateAsync);

    public async Task CreateAsync(CancellationToken cancellationToken)
    {
        var sqlite = options.Database == SiloDatabase.Sqlite;
        await using DbConnection connection = sqlite ? new SqliteConnection(options.ConnectionString) : new NpgsqlConnection(options.ConnectionString);
        await connection.OpenAsync(cancellationToken);
        if (sqlite)
            await ExecuteAsync(connection, "PRAGMA journal_mode = WAL", cancellationToken);
        await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
        if (!sqlite)
            await ExecuteAsync(connection, $"SELECT pg_advisory_xact_lock({PostgreSqlLock})", cancellationToken);
        await ExecuteAsync(connection, ReadScript(sqlite ? "sqlite-tables.sql" : "postgresql-tables.sql"), cancellationToken);
        var queries = sqlite ? Queries("persistence.sql") : [.. Queries("persistence.sql"), .. Queries("reminders.sql"), .. Queries("clustering.sql")];
        foreach (var (key, text) in queries)
        {
            await ExecuteAsync(
                connection,
                "INSERT INTO OrleansQuery (QueryKey, QueryText) VALUES (@key, @text) ON CONFLICT (QueryKey) DO UPDATE SET QueryText = excluded.QueryText",
                cancellationToken,
                ("@key", key),
                ("@text", text));
        }

        await transaction.CommitAsync(cancellationToken);
    }

    private static List<(string Key, string Text)> Queries(string script) =>
        ReadScript(script).Split(QueryMark).Skip(1)
            .Select(part => (Key: part[..part.IndexOf('\n')].Trim(), Text: part[part.IndexOf('\n')..].Trim()))
            .ToList();

    private static string ReadScript(string name)
    {
        using var stream = typeof(OrleansTables).Assembly.GetManifestResourceStream($"Pollux.Silo.Storage.Sql.{name}")
            ?? throw new InvalidOperationException($"The script {name} is not part of this build.");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    private static async Task ExecuteAsync(
        DbConnection connection,
        string sql,
        CancellationToken cancellationToken,
        params (string Name, string Value)[] parameters)
    {
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        foreach (var (name, value) in parameters)
        {
            var parameter = command.CreateParameter();
            parameter.ParameterName = name;
            parameter.Value = value;
            command.Parameters.Add(parameter);
        }

        await command.ExecuteNonQueryAsync(cancellationToken);
    }
}
