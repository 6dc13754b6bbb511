using System.Data.Common;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>A row of a state. The payload is null after a clear: the row stays, so that versions never repeat.</summary>
internal sealed record StoredState(string? Payload, long Version);

/// <summary>A row of a reminder. Times in UTC.</summary>
internal sealed record StoredReminder(GrainId Grain, string Name, DateTime FirstTick, TimeSpan Period);

/// <summary>
/// The tables of the host: states keyed by service id, state name and grain key, changed by compare-and-set on a
/// version; reminders keyed by service id, grain and name. The statements are common to SQLite and PostgreSQL.
/// </summary>
internal abstract class EmbeddedStore(EmbeddedHostOptions options) : IAsyncDisposable
{
    private const string Schema = """
        CREATE TABLE IF NOT EXISTS embedded_state (
            service_id TEXT NOT NULL, state_name TEXT NOT NULL, grain_key TEXT NOT NULL,
            version BIGINT NOT NULL, payload TEXT NULL,
            PRIMARY KEY (service_id, state_name, grain_key));
        CREATE TABLE IF NOT EXISTS embedded_reminder (
            service_id TEXT NOT NULL, grain_type TEXT NOT NULL, grain_key TEXT NOT NULL, name TEXT NOT NULL,
            first_tick_unix_ms BIGINT NOT NULL, period_ms BIGINT NOT NULL,
            PRIMARY KEY (service_id, grain_type, grain_key, name));
        """;

    private readonly string _serviceId = options.ServiceId;

    protected TimeSpan Timeout { get; } = options.StorageTimeout;

    public virtual Task InitializeAsync(CancellationToken cancellationToken) => ExecuteAsync(Schema);

    public Task<StoredState?> ReadAsync(string stateName, string grainKey) => QueryAsync(
        "SELECT payload, version FROM embedded_state WHERE service_id = @service AND state_name = @name AND grain_key = @key",
        row => new StoredState(row.IsDBNull(0) ? null : row.GetString(0), row.GetInt64(1)),
        rows => rows.SingleOrDefault(),
        ("@service", _serviceId),
        ("@name", stateName),
        ("@key", grainKey));

    /// <summary>Writes the payload if the version is <paramref name="expected"/> (null: no row); null payload clears.</summary>
    /// <returns>The new version, or null if another version is stored.</returns>
    public async Task<long?> CompareAndSetAsync(string stateName, string grainKey, long? expected, string? payload)
    {
        var sql = expected is null
            ? """
              INSERT INTO embedded_state (service_id, state_name, grain_key, version, payload)
              VALUES (@service, @name, @key, @next, @payload) ON CONFLICT DO NOTHING
              """
            : """
              UPDATE embedded_state SET version = @next, payload = @payload
              WHERE service_id = @service AND state_name = @name AND grain_key = @key AND version = @next - 1
              """;
        var next = (expected ?? 0) + 1;
        var changed = await ExecuteAsync(
            sql,
            ("@service", _serviceId),
            ("@name", stateName),
            ("@key", grainKey),
            ("@next", next),
            ("@payload", (object?)payload ?? DBNull.Value));
        return changed == 1 ? next : null;
    }

    public Task<IReadOnlyList<StoredReminder>> ReadRemindersAsync() => QueryAsync(
        "SELECT grain_type, grain_key, name, first_tick_unix_ms, period_ms FROM embedded_reminder WHERE service_id = @service",
        row => new StoredReminder(
            GrainId.Create(row.GetString(0), row.GetString(1)),
            row.GetString(2),
            DateTimeOffset.FromUnixTimeMilliseconds(row.GetInt64(3)).UtcDateTime,
            TimeSpan.FromMilliseconds(row.GetInt64(4))),
        rows => (IReadOnlyList<StoredReminder>)rows,
        ("@service", _serviceId));

    public Task PutReminderAsync(StoredReminder reminder) => ExecuteAsync(
        """
        INSERT INTO embedded_reminder (service_id, grain_type, grain_key, name, first_tick_unix_ms, period_ms)
        VALUES (@service, @type, @key, @name, @first, @period)
        ON CONFLICT (service_id, grain_type, grain_key, name)
        DO UPDATE SET first_tick_unix_ms = excluded.first_tick_unix_ms, period_ms = excluded.period_ms
        """,
        ("@service", _serviceId),
        ("@type", reminder.Grain.Type.Value),
        ("@key", reminder.Grain.Key.Value),
        ("@name", reminder.Name),
        ("@first", new DateTimeOffset(reminder.FirstTick).ToUnixTimeMilliseconds()),
        ("@period", (long)reminder.Period.TotalMilliseconds));

    public Task DeleteReminderAsync(GrainId grain, string name) => ExecuteAsync(
        "DELETE FROM embedded_reminder WHERE service_id = @service AND grain_type = @type AND grain_key = @key AND name = @name",
        ("@service", _serviceId),
        ("@type", grain.Type.Value),
        ("@key", grain.Key.Value),
        ("@name", name));

    public abstract ValueTask DisposeAsync();

    /// <summary>Runs one statement on a connection of the database, within <see cref="Timeout"/>.</summary>
    protected abstract Task<T> WithConnectionAsync<T>(Func<DbConnection, Task<T>> operation);

    private Task<int> ExecuteAsync(string sql, params (string Name, object Value)[] parameters) => WithConnectionAsync(async connection =>
    {
        await using var command = Command(connection, sql, parameters);
        return await command.ExecuteNonQueryAsync();
    });

    private Task<TResult> QueryAsync<TRow, TResult>(
        string sql,
        Func<DbDataReader, TRow> read,
        Func<List<TRow>, TResult> finish,
        params (string Name, object Value)[] parameters) => WithConnectionAsync(async connection =>
    {
        await using var command = Command(connection, sql, parameters);
        await using var reader = await command.ExecuteReaderAsync();
        var rows = new List<TRow>();
        while (await reader.ReadAsync())
            rows.Add(read(reader));
        return finish(rows);
    });

    private DbCommand Command(DbConnection connection, string sql, (string Name, object Value)[] parameters)
    {
        var command = connection.CreateCommand();
        command.CommandText = sql;
        command.CommandTimeout = Math.Max(1, (int)Timeout.TotalSeconds);
        foreach (var (name, value) in parameters)
        {
            var parameter = command.CreateParameter();
            parameter.ParameterName = name;
            parameter.Value = value;
            command.Parameters.Add(parameter);
        }

        return command;
    }
}
