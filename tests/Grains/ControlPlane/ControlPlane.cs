using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.ControlPlane;

/// <summary>Shared by the tests of a class; each makes clusters of its own.</summary>
public sealed class ControlPlaneHost : GrainHostFixture
{
    public Task<Pair> PairAsync(ClusterPolicy? policy = null) => Pair.CreateAsync(() => Grains, policy);
}

/// <summary>A cluster of two joined and connected hosts, played by the test.</summary>
public sealed class Pair
{
    private static int _number;

    private readonly Func<Orleans.IGrainFactory> _grains;

    private Pair(Func<Orleans.IGrainFactory> grains, string name)
    {
        _grains = grains;
        Name = name;
        A = new PlayedHost(grains, GrainKey.Of(name, "a"));
        B = new PlayedHost(grains, GrainKey.Of(name, "b"));
    }

    public string Name { get; }

    public PlayedHost A { get; }

    public PlayedHost B { get; }

    public IClusterGrain Cluster => _grains().GetGrain<IClusterGrain>(Name);

    public static string NewName() => $"pair-{Interlocked.Increment(ref _number)}";

    public static async Task<Pair> CreateAsync(Func<Orleans.IGrainFactory> grains, ClusterPolicy? policy = null)
    {
        var pair = new Pair(grains, NewName());
        Assert.Null((await pair.Cluster.CreateAsync(policy ?? ClusterPolicy.Default)).Problem);
        await pair.A.JoinAsync(await pair.Cluster.AddHostAsync("a"));
        await pair.B.JoinAsync(await pair.Cluster.AddHostAsync("b"));
        await pair.A.ConnectAsync();
        await pair.B.ConnectAsync();
        return pair;
    }

    public IMirrorModuleGrain Module(string name) => _grains().GetGrain<IMirrorModuleGrain>(GrainKey.Of(Name, name));

    public static ModuleSpec Spec(string directory = "/vms/web", string? domain = "web") =>
        new(directory, "a", domain is null ? null : new VmDefinition(domain, domain + ".xml"));

    /// <summary>Creates a module that both hosts accept.</summary>
    public async Task<IMirrorModuleGrain> ModuleAsync(string name = "web", ModuleSpec? spec = null)
    {
        var module = Module(name);
        var operation = Guid.NewGuid();
        Assert.Null((await module.CreateAsync(spec ?? Spec(), operation)).Problem);
        await A.SayAsync(PlayedHost.Accepts);
        await B.SayAsync(PlayedHost.Accepts);
        Assert.Null((await CreationEndAsync(module, operation)).Problem);
        return module;
    }

    public static Task<CreationView> CreationEndAsync(IMirrorModuleGrain module, Guid operation) => Until.FoundAsync(
        async () => (await module.ReadAsync()).Creation is { Ended: true } creation && creation.OperationId == operation ? creation : null,
        "the creation ended");

    public ArbitrationCall Call(PlayedHost by, string change, RecordView record, Guid? operation = null) => new(
        operation ?? Guid.NewGuid(), record.Incarnation, record.Epoch, change, by.Key, (by == A ? B : A).Key, null);
}

/// <summary>What a gateway session does for a host.</summary>
public sealed class PlayedHost(Func<Orleans.IGrainFactory> grains, string key) : IHostSessionObserver
{
    private IHostSessionObserver? _reference;
    private Guid _session;

    /// <summary>Of the desired state that the host has.</summary>
    public long DesiredVersion { get; set; }

    public string Key => key;

    public string PublicKeyHash { get; } = $"key-of-{key}";

    public IHostGrain Grain => grains().GetGrain<IHostGrain>(key);

    /// <summary>Completes with the first hint after it was set.</summary>
    public TaskCompletionSource Hinted { get; set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public static ModuleReport Accepts(ModuleOrder order) => Report(order) with { Preparation = new PreparationReport(true, null) };

    public static ModuleReport Report(ModuleOrder order) => new(
        order.Module, "STOP", true, "UpToDate", order.Record, "stop.command", "Stopped by command.", 1, "stopped",
        new ReplicationReport(false, false, false, 0, 0, 0, 0, 0, null), null, [], [], []);

    public Task DesiredChangedAsync()
    {
        Hinted.TrySetResult();
        return Task.CompletedTask;
    }

    public async Task JoinAsync(JoinTokenIssued token)
    {
        Assert.Null(token.Problem);
        Assert.Null((await Grain.JoinAsync(token.Secret!, PublicKeyHash)).Problem);
    }

    /// <summary>Whether it says that its peer answers.</summary>
    public bool HearsPeer { get; set; } = true;

    public async Task<Guid> ConnectAsync()
    {
        var outcome = await OpenAsync(PublicKeyHash);
        Assert.Null(outcome.Problem);
        return _session;
    }

    public Task<Outcome> OpenAsync(string publicKeyHash)
    {
        _reference = grains().CreateObjectReference<IHostSessionObserver>(this);
        _session = Guid.NewGuid();
        return Grain.OpenSessionAsync(
            new HostSession(_session, Guid.NewGuid(), publicKeyHash, "0.1", $"{key}:7410", $"{key}:7411", 2, 1 << 30, null)
            {
                DesiredVersion = DesiredVersion,
            }, _reference);
    }

    /// <summary>What the gateway does when the host is asked for what it knows.</summary>
    public async Task RecoverAsync(string? peer, params ModuleMemory[] modules)
    {
        var answer = await Grain.DesiredAsync(_session);
        Assert.Null(answer.Desired);
        await RecallAsync(answer.Recover!.Value, peer, modules);
    }

    public Task RecallAsync(long generation, string? peer, params ModuleMemory[] modules) => grains().GetGrain<IClusterGrain>(GrainKey.ClusterOf(key))
        .RecoveredAsync(GrainKey.NameOf(key), new HostMemory(generation, peer, ClusterPolicy.Default with { DetectionMs = 4_000 }, [.. modules]));

    public Task<DesiredAnswer> AnswerAsync() => Grain.DesiredAsync(_session);

    public async Task<DesiredHost> DesiredAsync()
    {
        var answer = await Grain.DesiredAsync(_session);
        Assert.Equal(SessionStanding.Current, answer.Standing);
        return answer.Desired!;
    }

    /// <summary>Looks at the desired state and reports on each module in it.</summary>
    public async Task SayAsync(Func<ModuleOrder, ModuleReport> say)
    {
        var desired = await DesiredAsync();
        await ReportAsync(new HostReport(desired.Version, HearsPeer, [.. desired.Modules.Select(say)]));
    }

    public async Task ReportAsync(HostReport report) => Assert.Equal(SessionStanding.Current, await Grain.ReportAsync(_session, report));

    public Task CloseAsync() => Grain.CloseSessionAsync(_session);
}

/// <summary>Waits for what a grain does by its timer.</summary>
internal static class Until
{
    private static readonly TimeSpan WaitMax = TimeSpan.FromSeconds(30);

    public static async Task<T> FoundAsync<T>(Func<Task<T?>> look, string what)
        where T : class
    {
        using var deadline = new CancellationTokenSource(WaitMax);
        using var pause = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        while (true)
        {
            if (await look() is { } found) return found;
            Assert.False(deadline.IsCancellationRequested, $"Not within {WaitMax}: {what}.");
            await pause.WaitForNextTickAsync(CancellationToken.None);
        }
    }
}
