using System.Data.Common;
using Microsoft.Data.Sqlite;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// The tables in a SQLite file. One connection, one statement at a time: SQLite has one writer anyway. Write-ahead log
/// with synchronous=FULL, so that a write that has returned survives a power loss. The driver blocks, so statements run
/// on the thread pool and never on an activation's turn.
/// </summary>
internal sealed class SqliteStore(string path, EmbeddedHostOptions options) : EmbeddedStore(options)
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly SqliteConnection _connection = new(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString());

    public override async Task InitializeAsync(CancellationToken cancellationToken)
    {
        if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } directory)
            Directory.CreateDirectory(directory);
        await _connection.OpenAsync(cancellationToken);
        await using (var command = _connection.CreateCommand())
        {
            command.CommandText = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
            await command.ExecuteNonQueryAsync(cancellationToken);
        }

        await base.InitializeAsync(cancellationToken);
    }

    public override async ValueTask DisposeAsync() => await _connection.DisposeAsync();

    protected override async Task<T> WithConnectionAsync<T>(Func<DbConnection, Task<T>> operation)
    {
        if (!await _turn.WaitAsync(Timeout))
            throw new TimeoutException($"The database {path} was busy for {Timeout}.");
        try
        {
            return await Task.Run(() => operation(_connection));
        }
        finally
        {
            _turn.Release();
        }
    }
}
