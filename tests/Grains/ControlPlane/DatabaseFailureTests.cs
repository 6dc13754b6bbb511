using Npgsql;
using Pollux.Grains.Abstractions;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.ControlPlane;

/// <summary>The database server is killed in the middle of a compare-and-set (rule S11): the host that asked sees an unknown outcome, asks again with the same
/// id, and the record has changed once.</summary>
public sealed class DatabaseFailureTests
{
    private static readonly TimeSpan AnswerMax = TimeSpan.FromSeconds(120);

    [OwnPostgreSqlFact]
    public async Task A_database_killed_before_or_after_it_has_committed_leaves_one_decision_which_the_repetition_learns()
    {
        await using var server = await PostgreSqlServer.StartAsync();
        await using var own = await TestGrainHost.StartAsync(options => options.PostgreSql = server.ConnectionString);
        var pair = await Pair.CreateAsync(() => own.Grains);
        var module = await pair.ModuleAsync();
        var record = (await module.ReadAsync()).Record!;

        // Not written yet: the statement waits for a lock.
        var takeover = pair.Call(pair.A, "takeover", record);
        Task<ArbitrationResult> asked;
        await using (var blocker = new NpgsqlConnection(server.ConnectionString + ";Pooling=false"))
        {
            await blocker.OpenAsync();
            await using (var command = new NpgsqlCommand($"BEGIN; LOCK TABLE {await TableAsync(server)} IN EXCLUSIVE MODE", blocker)) await command.ExecuteNonQueryAsync();
            asked = module.ArbitrateAsync(takeover);
            await WaitsAsync(server, "wait_event_type = 'Lock'");
            await server.KillAsync();
        }
        await Assert.ThrowsAnyAsync<Exception>(() => asked);
        await server.StartAgainAsync();
        var alone = await RepeatAsync(module, takeover);
        Assert.Equal((true, record.Epoch + 1, pair.A.Key), (alone.Granted, alone.Record!.Epoch, alone.Record.Primary));

        // Committed, and the server dies before it says so: it waits for a standby that does not exist.
        await server.KillAsync();
        await server.StartAgainAsync(standbys: "nobody");
        var join = pair.Call(pair.A, "join", alone.Record);
        asked = RepeatAsync(module, join);
        await WaitsAsync(server, "wait_event = 'SyncRep'");
        await server.KillAsync();
        await server.StartAgainAsync();
        var joined = await asked;
        Assert.Equal((true, alone.Record.Epoch + 1), (joined.Granted, joined.Record!.Epoch));
        Assert.Equal(joined.Record, (await RepeatAsync(module, join)).Record);
        var history = (await module.ReadAsync()).History;
        Assert.Equal(["created", "takeover", "join"], history.Select(entry => entry.Change));
    }

    /// <summary>As a host does: the same request until there is an answer.</summary>
    private static async Task<ArbitrationResult> RepeatAsync(IMirrorModuleGrain module, ArbitrationCall call)
    {
        using var deadline = new CancellationTokenSource(AnswerMax);
        using var pause = new PeriodicTimer(TimeSpan.FromMilliseconds(200));
        while (true)
        {
            try
            {
                return await module.ArbitrateAsync(call);
            }
            catch (Exception e) when (e is not OperationCanceledException && !deadline.IsCancellationRequested)
            {
                await pause.WaitForNextTickAsync(CancellationToken.None);
            }
        }
    }

    private static Task<string> TableAsync(PostgreSqlServer server) =>
        server.AskAsync<string>("SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname IN ('orleansstorage', 'embedded_state')");

    private static Task<string> WaitsAsync(PostgreSqlServer server, string condition) => Until.FoundAsync(async () =>
        await server.AskAsync<long>($"SELECT count(*) FROM pg_stat_activity WHERE {condition}") > 0 ? "" : null, $"a session with {condition}");
}
