using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Pollux.Silo.Storage;

namespace Pollux.Tests.Grains.Hosting;

/// <summary>
/// A grain host on whichever Orleans host this build has (see <see cref="HostUnderTest"/>), on a SQLite file of its own;
/// or on PostgreSQL under a service id of its own, if <see cref="PostgreSql"/> offers a server.
/// Tests speak to grains through <see cref="Grains"/>; <see cref="RestartAsync"/> is a clean stop and a new process's
/// start on the same database.
/// </summary>
public sealed class TestGrainHost : IAsyncDisposable
{
    private readonly TestGrainHostOptions _options;
    private readonly DirectoryInfo _directory;
    private readonly SiloStorageOptions _storage;
    private IHost _host;

    private TestGrainHost(TestGrainHostOptions options, DirectoryInfo directory, SiloStorageOptions storage, IHost host)
    {
        _options = options;
        _directory = directory;
        _storage = storage;
        _host = host;
    }

    public IGrainFactory Grains => _host.Services.GetRequiredService<IGrainFactory>();

    public IServiceProvider Services => _host.Services;

    /// <summary>The file, of a host that <see cref="TestGrainHostOptions.NeedsFile"/>.</summary>
    public string DatabasePath => PathIn(_directory);

    public static async Task<TestGrainHost> StartAsync(Action<TestGrainHostOptions>? configure = null)
    {
        var options = new TestGrainHostOptions();
        configure?.Invoke(options);
        var directory = Directory.CreateTempSubdirectory("pollux-grains-");
        var storage = (options.PostgreSql ?? PostgreSql.ConnectionString) is { } server && !options.NeedsFile
            ? SiloStorageOptions.PostgreSql(server, $"test-{Guid.NewGuid():N}")
            : SiloStorageOptions.Sqlite(PathIn(directory));
        var host = await StartHostAsync(options, storage);
        return new TestGrainHost(options, directory, storage, host);
    }

    /// <param name="restored">The start declares the database restored.</param>
    public async Task RestartAsync(bool restored = false)
    {
        await StopHostAsync(_host);
        _host = await StartHostAsync(_options, _storage with { Restored = restored });
    }

    /// <summary>Another host on the same database declares it restored, while this one runs on.</summary>
    public async Task DeclareElsewhereAsync() => await StopHostAsync(await StartHostAsync(_options, _storage with { Restored = true }));

    /// <summary>The host stops, its file is lost, and it starts anew declaring so. Needs <see cref="TestGrainHostOptions.NeedsFile"/>.</summary>
    public async Task LoseDatabaseAsync()
    {
        await StopHostAsync(_host);
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        foreach (var file in _directory.EnumerateFiles()) file.Delete();
        _host = await StartHostAsync(_options, _storage with { Restored = true });
    }

    /// <summary>The host stops, its file becomes what <see cref="BackUpAsync"/> has kept, and it starts declaring so, or not.</summary>
    public async Task RestoreAsync(string backup, bool declared = true)
    {
        await StopHostAsync(_host);
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        foreach (var file in _directory.EnumerateFiles()) file.Delete();
        File.Copy(backup, DatabasePath);
        _host = await StartHostAsync(_options, _storage with { Restored = declared });
        File.Delete(backup);
    }

    /// <summary>A copy of the file as it is now.</summary>
    public async Task<string> BackUpAsync()
    {
        var backup = Path.Combine(Path.GetTempPath(), $"pollux-backup-{Guid.NewGuid():N}.db");
        await using var source = new Microsoft.Data.Sqlite.SqliteConnection($"Data Source={DatabasePath};Pooling=False");
        await source.OpenAsync();
        await using var command = source.CreateCommand();
        command.CommandText = $"VACUUM INTO '{backup}'";
        await command.ExecuteNonQueryAsync();
        return backup;
    }

    /// <summary>Stops the host cleanly; <see cref="RestartAsync"/> may follow.</summary>
    public Task StopAsync() => _host.StopAsync();

    public async ValueTask DisposeAsync()
    {
        await StopHostAsync(_host);
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        _directory.Delete(recursive: true);
    }

    private static string PathIn(DirectoryInfo directory) => Path.Combine(directory.FullName, "state.db");

    private static async Task<IHost> StartHostAsync(TestGrainHostOptions options, SiloStorageOptions storage)
    {
        var builder = Host.CreateEmptyApplicationBuilder(settings: null);
        builder.Logging.SetMinimumLevel(LogLevel.Warning).AddSimpleConsole();
        options.Services(builder.Services);
        HostUnderTest.Configure(builder, storage, options);
        var host = builder.Build();
        await host.StartAsync();
        return host;
    }

    private static async Task StopHostAsync(IHost host)
    {
        await host.StopAsync();
        if (host is IAsyncDisposable disposable)
            await disposable.DisposeAsync();
        else
            host.Dispose();
    }
}

/// <summary>One host for all tests of a class.</summary>
public class GrainHostFixture : IAsyncLifetime
{
    private TestGrainHost? _host;

    public TestGrainHost Host => _host ?? throw new InvalidOperationException("The host has not started.");

    public IGrainFactory Grains => Host.Grains;

    public async Task InitializeAsync() => _host = await TestGrainHost.StartAsync(Configure);

    public async Task DisposeAsync()
    {
        if (_host is not null)
            await _host.DisposeAsync();
    }

    protected virtual void Configure(TestGrainHostOptions options)
    {
    }
}
