using System.Data.Common;
using Microsoft.Data.Sqlite;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// The tables in a SQLite file. One connection, one statement at a time: SQLite has one writer anyway. Write-ahead log
/// with synchronous=FULL, so that a write that has returned survives a power loss. The driver blocks, so statements run
/// on the thread pool and never on an activation's turn. A lock on the file beside it, which the kernel drops with the
/// process, keeps a second host out: two would be two activations of each grain.
/// </summary>
internal sealed class SqliteStore(string path, EmbeddedHostOptions options) : EmbeddedStore(options)
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly SqliteConnection _connection = new(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString());
    private FileStream? _lock;

    public override async Task InitializeAsync(CancellationToken cancellationToken)
    {
        if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } directory)
            Directory.CreateDirectory(directory);
        _lock = Lock(path + ".lock");
        await _connection.OpenAsync(cancellationToken);
        await using (var command = _connection.CreateCommand())
        {
            command.CommandText = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
            await command.ExecuteNonQueryAsync(cancellationToken);
        }

        await base.InitializeAsync(cancellationToken);
    }

    public override async ValueTask DisposeAsync()
    {
        await _connection.DisposeAsync();
        if (_lock is not null)
            await _lock.DisposeAsync();
    }

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

    private FileStream Lock(string lockPath)
    {
        try
        {
            return new FileStream(lockPath, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException exception)
        {
            throw new OrleansConfigurationException($"The database {path} is in use by another control-plane process, or its lock cannot be taken.", exception);
        }
    }
}
