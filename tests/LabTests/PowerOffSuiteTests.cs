using System.Globalization;
using Pollux.Lab;
using Pollux.Lab.Machines;

namespace Pollux.Tests.Lab;

/// <summary>The primary loses its power in the middle of a suite's work; the suite itself judges what the survivor has. What the client was told
/// is done must be there.</summary>
[Collection(SuiteCollection.Name)]
public sealed class PowerOffSuiteTests(SuiteStage stage)
{
    private static readonly TimeSpan WorkMax = TimeSpan.FromSeconds(60);

    private static string PostgreSqlPrograms =>
        Directory.Exists("/usr/lib/postgresql") ? Directory.GetDirectories("/usr/lib/postgresql").Order(StringComparer.Ordinal).Last() + "/bin" : "";

    [SuiteFact("fio")]
    public async Task Every_write_that_fio_saw_completed_is_on_the_survivor()
    {
        var scene = await stage.ReadyAsync("fio-power-off");
        var trigger = $"{scene.Aside}/trigger";
        string Fio(string more) =>
            $"fio --output-format=terse --aux-path='{scene.Aside}' --randseed=7 --verify=crc32c --verify_fatal=1 --fallocate=none {more} --directory=."
            + $" --name=direct --filename=direct --size={64 * SuiteStage.Factor}m --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=8 --rate_iops=2000"
            + $" --name=flushed --filename=flushed --size={256 * SuiteStage.Factor}m --rw=write --bs=64k --fdatasync=8 --rate_iops=200";
        // fio would make files of another length anew, also when it only verifies.
        await scene.RunAsync($"truncate -s {64 * SuiteStage.Factor}M direct && truncate -s {256 * SuiteStage.Factor}M flushed");
        // Other writers are in the middle of their work when the power goes.
        scene.Spawn("fio-noise", "fio --output-format=terse --directory=. --name=noise --size=32m --rw=randwrite --bsrange=512-64k --time_based --runtime=600 --numjobs=2 --fsync=32");
        var writer = scene.Spawn("fio", Fio($"--do_verify=0 --verify_state_save=1 --trigger-file='{trigger}' --trigger=/bin/true"));
        await Eventually.TrueAsync("fio has written for a while", WorkMax,
            async () => 512 * long.Parse(await scene.RunAsync("stat -c %b flushed 2>/dev/null || echo 0"), CultureInfo.InvariantCulture) > 20L * SuiteStage.Factor << 20,
            () => writer.LastWords());
        await File.WriteAllTextAsync(trigger, "");
        await Eventually.TrueAsync("fio has stored what was completed", WorkMax, () => Directory.GetFiles(scene.Aside, "*verify.state").Length == 2, () => writer.LastWords());

        await scene.PowerOffAsync();

        await scene.RunAsync(Fio("--verify_only=1 --verify_state_load=1"), scene.Secondary);
        await scene.EndAsync();
    }

    [SuiteFact("pg_ctlcluster", "sqlite3")]
    public async Task Every_transaction_that_a_client_of_postgresql_or_sqlite_saw_committed_is_on_the_survivor()
    {
        const int transactionsMin = 150;
        var scene = await stage.ReadyAsync("databases");
        var psql = $"{PostgreSqlPrograms}/psql -h /run/pg -U postgres -qAtX -v ON_ERROR_STOP=1 bench";
        await scene.RunAsync("mkdir pg && chown postgres pg && " + AsPostgres("initdb -D pg -k -A trust --no-locale -E UTF8 > /dev/null"));
        await StartPostgreSqlAsync(scene, scene.Primary);
        await scene.RunAsync($"""
            {PostgreSqlPrograms}/psql -h /run/pg -U postgres -qAtX -c 'create database bench' postgres
            {PostgreSqlPrograms}/pgbench -h /run/pg -U postgres -i -q -s 2 bench 2>/dev/null
            {psql} -c 'create extension amcheck' -c 'create table acknowledged(client int, n int, payload text, primary key (client, n))'
            sqlite3 wal.db 'pragma journal_mode=wal; create table t(n integer primary key, payload text)' > /dev/null
            sqlite3 rollback.db 'pragma journal_mode=delete; create table t(n integer primary key, payload text)' > /dev/null
            """);
        var load = scene.Spawn("pgbench", $"{PostgreSqlPrograms}/pgbench -h /run/pg -U postgres -c 2 -n -T 600 bench");
        LabProcess[] clients =
        [
            .. Enumerable.Range(1, 2).Select(client => scene.Spawn($"psql-{client}",
                $"seq 1 9999999 | sed \"s/.*/insert into acknowledged values ({client}, &, md5('{client}:&')) returning n;/\" | stdbuf -oL {psql}")),
            .. new[] { "wal", "rollback" }.Select(name => scene.Spawn($"sqlite-{name}",
                $"(echo 'pragma synchronous=full;'; seq 1 9999999 | sed \"s/.*/insert into t values (&, 'p&'); select &;/\") | stdbuf -oL sqlite3 -batch -bail {name}.db")),
        ];
        await Eventually.TrueAsync("every client has committed for a while", WorkMax, () => clients.All(client => Last(client) >= transactionsMin * SuiteStage.Factor),
            () => string.Join('\n', clients.Append(load).Select(client => $"{client.Name}: {client.LastWords(5)}")));

        await scene.PowerOffAsync();

        var committed = clients.Select(Last).ToArray();
        var survivor = scene.Secondary;
        await StartPostgreSqlAsync(scene, survivor);
        for (var client = 1; client <= 2; client++)
        {
            var found = await scene.RunAsync($"{psql} -c \"select count(*) from acknowledged where client = {client} and n <= {committed[client - 1]} and payload = md5(client || ':' || n)\"", survivor);
            Assert.Equal(committed[client - 1].ToString(CultureInfo.InvariantCulture), found);
        }
        // pgbench keeps three sums equal in every transaction, and writes each into its history.
        var sums = await scene.RunAsync($"{psql} -c 'select count(distinct s) from (select sum(abalance) s from pgbench_accounts union all select sum(tbalance) from pgbench_tellers"
            + " union all select sum(bbalance) from pgbench_branches union all select coalesce(sum(delta), 0) from pgbench_history) sums'", survivor);
        Assert.Equal("1", sums);
        await scene.RunAsync($"{PostgreSqlPrograms}/pg_amcheck -h /run/pg -U postgres --heapallindexed --parent-check bench", survivor);
        await scene.RunAsync(AsPostgres("pg_ctl -D pg -m fast -w stop") + " > /dev/null && " + AsPostgres("pg_checksums --check -D pg") + " > /dev/null", survivor);
        foreach (var (name, last) in new[] { ("wal", committed[2]), ("rollback", committed[3]) })
        {
            Assert.Equal("ok", await scene.RunAsync($"sqlite3 {name}.db 'pragma integrity_check'", survivor));
            var found = await scene.RunAsync($"sqlite3 {name}.db \"select count(*) from t where n <= {last} and payload = 'p' || n\"", survivor);
            Assert.Equal(last.ToString(CultureInfo.InvariantCulture), found);
        }
        await scene.EndAsync();
    }

    /// <summary>The last number that a client printed: a transaction that it was told is committed.</summary>
    private static long Last(LabProcess client) =>
        client.Lines.Reverse().Select(line => long.TryParse(line.Text, CultureInfo.InvariantCulture, out var number) ? number : 0).FirstOrDefault(number => number > 0);

    private static string AsPostgres(string command) => $"setpriv --reuid=postgres --regid=postgres --init-groups {PostgreSqlPrograms}/{command}";

    private static async Task StartPostgreSqlAsync(SuiteScene scene, LabHost host)
    {
        await scene.RunAsync("mkdir -p /run/pg && chown postgres /run/pg", host);
        var server = host.Spawn("postgres", ["bash", "-c", $"cd {scene.Folder} && exec "
            + AsPostgres("postgres -D pg -c listen_addresses= -c unix_socket_directories=/run/pg -c shared_buffers=64MB -c full_page_writes=on -c checkpoint_timeout=30s")]);
        await Eventually.TrueAsync($"PostgreSQL on {host.Name} answers", WorkMax,
            async () => server.HasExited ? throw new LabException($"PostgreSQL has ended: {server.LastWords()}")
                : (await host.ExecAsync([$"{PostgreSqlPrograms}/pg_isready", "-q", "-h", "/run/pg"])).Succeeded,
            () => server.LastWords());
    }
}
