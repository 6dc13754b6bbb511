using System.Data.Common;
using Npgsql;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>The tables in a PostgreSQL database, by the driver's connection pool.</summary>
internal sealed class PostgreSqlStore(string connectionString, EmbeddedHostOptions options) : EmbeddedStore(options)
{
    private readonly NpgsqlDataSource _database = NpgsqlDataSource.Create(connectionString);

    public override ValueTask DisposeAsync() => _database.DisposeAsync();

    protected override async Task<T> WithConnectionAsync<T>(Func<DbConnection, Task<T>> operation)
    {
        using var deadline = new CancellationTokenSource(Timeout);
        await using var connection = await _database.OpenConnectionAsync(deadline.Token);
        return await operation(connection);
    }
}
