namespace Pollux.Tests.Grains.Hosting;

/// <summary>The PostgreSQL server that the environment offers to the grain tests; without it they run on SQLite.</summary>
public static class PostgreSql
{
    /// <summary>The variable that holds an Npgsql connection string to an empty or scratch database.</summary>
    public const string Variable = "POLLUX_TEST_POSTGRESQL";

    public static string? ConnectionString { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } value ? value : null;
}

/// <summary>A test that needs the server, and is skipped with that reason where there is none.</summary>
public sealed class PostgreSqlFactAttribute : FactAttribute
{
    public PostgreSqlFactAttribute()
    {
        if (PostgreSql.ConnectionString is null)
            Skip = $"No PostgreSQL server: {PostgreSql.Variable} is not set.";
    }
}

/// <summary>A test of reminders that outlive the host.</summary>
public sealed class DurableRemindersFactAttribute : FactAttribute
{
    public DurableRemindersFactAttribute()
    {
        if (!HostUnderTest.HasDurableReminders)
            Skip = $"Orleans keeps reminders in memory on SQLite, and {PostgreSql.Variable} is not set.";
    }
}
