namespace Pollux.Tests.Grains.Hosting;

/// <summary>Where tests that need PostgreSQL find one: the server that the environment names, on which then all grain tests run, or one of their own, made when
/// the first of them asks and gone with the process.</summary>
public static class PostgreSql
{
    /// <summary>The variable that holds an Npgsql connection string to an empty or scratch database.</summary>
    public const string Variable = "POLLUX_TEST_POSTGRESQL";

    private static readonly Lazy<Task<string>> OwnServer = new(async () =>
    {
        var server = await PostgreSqlServer.StartAsync();
        AppDomain.CurrentDomain.ProcessExit += (_, _) => server.Abandon();
        return server.ConnectionString;
    });

    /// <summary>Of the environment's server; null if it names none.</summary>
    public static string? ConnectionString { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } value ? value : null;

    /// <summary>Why there is none, or null.</summary>
    public static string? Missing { get; } = ConnectionString is not null || PostgreSqlServer.Programs is not null ? null
        : $"No PostgreSQL: {Variable} is not set, and this process is not root or the package postgresql is not installed (eng/setup --for test).";

    public static Task<string> ServerAsync() => ConnectionString is { } named ? Task.FromResult(named) : OwnServer.Value;
}

/// <summary>A test that needs a server, and is skipped with the reason where there is none.</summary>
public sealed class PostgreSqlFactAttribute : FactAttribute
{
    public PostgreSqlFactAttribute() => Skip = PostgreSql.Missing;
}

/// <summary>A test that kills its server, which so must be its own.</summary>
public sealed class OwnPostgreSqlFactAttribute : FactAttribute
{
    public OwnPostgreSqlFactAttribute()
    {
        if (PostgreSqlServer.Programs is null)
            Skip = "No PostgreSQL of its own: this process is not root or the package postgresql is not installed (eng/setup --for test).";
    }
}

/// <summary>A test of reminders that outlive the host: Orleans keeps them in memory on SQLite.</summary>
public sealed class DurableRemindersFactAttribute : FactAttribute
{
    public DurableRemindersFactAttribute()
    {
        if (!HostUnderTest.HasDurableRemindersOnSqlite)
            Skip = PostgreSql.Missing;
    }
}

/// <summary>A test of two servers on one SQLite file.</summary>
public sealed class SecondServerFactAttribute : FactAttribute
{
    public SecondServerFactAttribute()
    {
        if (!HostUnderTest.AdmitsSecondServerOnSqlite)
            Skip = "The embedded host locks its SQLite file: there is no second server.";
    }
}
