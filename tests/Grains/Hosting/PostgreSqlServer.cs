using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Npgsql;

namespace Pollux.Tests.Grains.Hosting;

/// <summary>A PostgreSQL of Debian's package in a folder of its own, reached by a Unix socket only; as user postgres, since it refuses root. It dies
/// with the processes that tests kill: its files need not survive the machine.</summary>
public sealed class PostgreSqlServer : IAsyncDisposable
{
    private const string Folders = "/var/tmp/pollux-tests-pg";
    private static readonly TimeSpan CommandMax = TimeSpan.FromSeconds(120);

    private readonly string _folder;

    private PostgreSqlServer(string folder) => _folder = folder;

    /// <summary>Folder of the programs of the newest version, or null: then there is no server to be had.</summary>
    public static string? Programs { get; } = Directory.Exists("/usr/lib/postgresql") && Environment.IsPrivilegedProcess
        ? Directory.GetDirectories("/usr/lib/postgresql").Select(version => Path.Combine(version, "bin")).Where(folder => File.Exists(Path.Combine(folder, "initdb")))
            .OrderByDescending(folder => int.TryParse(Path.GetFileName(Path.GetDirectoryName(folder)), out var number) ? number : 0).FirstOrDefault()
        : null;

    public string ConnectionString => $"Host={_folder};Username=postgres;Database=postgres;Timeout=5;Command Timeout=30";

    private string Data => Path.Combine(_folder, "data");

    public static async Task<PostgreSqlServer> StartAsync()
    {
        RemoveLeftOvers();
        var folder = $"{Folders}-{Environment.ProcessId}-{Guid.NewGuid().ToString("N")[..6]}";
        await RunAsync("install", "-d", "-o", "postgres", "-m", "700", folder);
        var server = new PostgreSqlServer(folder);
        await server.AsPostgresAsync("initdb", "-D", server.Data, "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync");
        await server.StartAgainAsync();
        return server;
    }

    /// <summary>Starts it on the same data.</summary>
    /// <param name="standbys">Synchronous ones, for which each commit waits.</param>
    public Task StartAgainAsync(string standbys = "") => AsPostgresAsync("pg_ctl", "-D", Data, "-w", "-t", "100", "-l", Path.Combine(_folder, "log"), "start",
        "-o", $"-k {_folder} -c listen_addresses='' -c fsync=off -c max_connections=200 -c synchronous_standby_names='{standbys}'");

    /// <summary>SIGKILL of the server, at once; returns when none of its processes is left.</summary>
    public async Task KillAsync()
    {
        var postmaster = Postmaster(_folder) ?? throw new InvalidOperationException("The server does not run.");
        using var process = Process.GetProcessById(postmaster);
        process.Kill();
        using var deadline = new CancellationTokenSource(CommandMax);
        using var pause = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        // Its children find its end by themselves; while one is attached the next server refuses to start.
        while (Directory.Exists($"/proc/{postmaster}") && !IsZombie(postmaster) || Children().Any()) await pause.WaitForNextTickAsync(deadline.Token);
        // Where nobody waits for orphans the dead process stays a name, by which the next server takes it for alive.
        File.Delete(Path.Combine(Data, "postmaster.pid"));
        File.Delete(Path.Combine(_folder, ".s.PGSQL.5432.lock"));
        NpgsqlConnection.ClearAllPools();
    }

    public async Task<T> AskAsync<T>(string sql)
    {
        await using var connection = new NpgsqlConnection(ConnectionString + ";Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        return (T)(await command.ExecuteScalarAsync())!;
    }

    public async ValueTask DisposeAsync()
    {
        if (Postmaster(_folder) is { } postmaster && CurrentFolder(postmaster) == Data) await KillAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>For the end of the process, where nothing can be awaited.</summary>
    public void Abandon() => Remove(_folder);

    private IEnumerable<int> Children() => Directory.GetDirectories("/proc").Select(Path.GetFileName)
        .Where(name => int.TryParse(name, out _)).Select(name => int.Parse(name!, CultureInfo.InvariantCulture)).Where(id => CurrentFolder(id) == Data);

    private static string? CurrentFolder(int process)
    {
        try
        {
            return new FileInfo($"/proc/{process}/cwd").LinkTarget;
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static bool IsZombie(int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/stat").Contains(") Z ", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return true;
        }
    }

    /// <summary>Of runs that were killed: the folder names the process that made it.</summary>
    private static void RemoveLeftOvers()
    {
        foreach (var folder in Directory.GetDirectories(Path.GetDirectoryName(Folders)!, Path.GetFileName(Folders) + "-*"))
            if (!Directory.Exists($"/proc/{folder[(Folders.Length + 1)..].Split('-')[0]}"))
                Remove(folder);
    }

    private static void Remove(string folder)
    {
        if (Postmaster(folder) is { } postmaster && CurrentFolder(postmaster) == Path.Combine(folder, "data")) Kill(postmaster, 9);
        Directory.Delete(folder, recursive: true);
    }

    private static int? Postmaster(string folder) =>
        File.Exists(Path.Combine(folder, "data", "postmaster.pid")) && File.ReadLines(Path.Combine(folder, "data", "postmaster.pid")).FirstOrDefault() is { } line
            && int.TryParse(line, out var id) ? id : null;

    private Task AsPostgresAsync(string program, params string[] arguments) => RunAsync(
        "setpriv", ["--reuid", "postgres", "--regid", "postgres", "--clear-groups", Path.Combine(Programs!, program), .. arguments]);

    private static async Task RunAsync(string program, params string[] arguments)
    {
        // Output goes nowhere: a server that a command leaves behind would hold a pipe open.
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$@\" >/dev/null 2>&1 </dev/null", "sh", program, .. arguments]) { WorkingDirectory = "/" };
        using var process = Process.Start(start)!;
        using var deadline = new CancellationTokenSource(CommandMax);
        await process.WaitForExitAsync(deadline.Token);
        var log = arguments.LastOrDefault(File.Exists);
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: exit code {process.ExitCode}{(log is null ? "" : "\n" + File.ReadAllText(log))}");
    }

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int Kill(int process, int signal);
}
