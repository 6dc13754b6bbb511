using System.Globalization;
using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>One pair with one served module for all outside suites. A suite asks for a folder of its own in it and finds both hosts on and in
/// sync.</summary>
public sealed class SuiteStage : IAsyncLifetime
{
    /// <summary>Longer than a stressor keeps the one disk of both hosts busy; a takeover waits for it.</summary>
    private const int DetectionSeconds = 6;
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(90);

    private PolluxPair? _pair;
    private ServedModule? _module;

    /// <summary>How much longer than usual the suites run: POLLUX_SUITES_FACTOR, 1 by default.</summary>
    public static int Factor { get; } =
        int.TryParse(Environment.GetEnvironmentVariable("POLLUX_SUITES_FACTOR"), CultureInfo.InvariantCulture, out var factor) && factor > 0 ? factor : 1;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_pair is not null)
            await _pair.DisposeAsync();
        (_pair, _module) = (null, null);
    }

    /// <summary>An empty folder on the mount of the present primary.</summary>
    public async Task<SuiteScene> ReadyAsync(string suite)
    {
        if (_pair is null)
        {
            _pair = await PolluxPair.CreateAsync(DetectionSeconds);
            _module = await ServedModule.CreateAsync(_pair, "suites", "alpha");
        }
        foreach (var host in _pair.Machines.Hosts)
            if (!host.IsOn)
                await _pair.BootAsync(host);
        var status = await _module!.WaitUntilMirroredAsync(SyncMax);
        var primary = _pair.Machines[status.ReadyPrimary!];
        var folder = $"{_module.Folder}/{suite}";
        await primary.CheckAsync("rm", "-rf", folder);
        await primary.CheckAsync("mkdir", folder);
        return new SuiteScene(_pair, _module, primary, folder);
    }
}

/// <summary>What a suite works with.</summary>
/// <param name="Folder">On the mount; the same path on either host.</param>
public sealed record SuiteScene(PolluxPair Pair, ServedModule Module, LabHost Primary, string Folder)
{
    private static readonly TimeSpan TakeoverMax = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(90);

    public LabHost Secondary { get; } = Pair.Machines.Hosts.Single(host => host != Primary);

    /// <summary>A folder on no mount, which both hosts see and which outlives their power-off.</summary>
    public string Aside => Path.Combine(Pair.Machines.Folder, "aside");

    /// <summary>Runs a script on a host, in the suite's folder; any failing command fails it.</summary>
    /// <returns>What it printed.</returns>
    public async Task<string> RunAsync(string script, LabHost? host = null, TimeSpan? deadline = null) =>
        (await (host ?? Primary).ExecAsync(Script(script), (deadline ?? TimeSpan.FromSeconds(60)) * SuiteStage.Factor)).OrThrow().Output.Trim();

    /// <summary>Starts a script on the primary that goes on until the host dies or it ends by itself.</summary>
    public LabProcess Spawn(string name, string script) => Primary.Spawn(name, Script(script));

    /// <summary>Cuts the primary's power and waits until the other host serves.</summary>
    public async Task PowerOffAsync()
    {
        await Primary.PowerOffAsync();
        await Module.WaitForAsync("the survivor serves the module", TakeoverMax, status => status.ReadyPrimary == Secondary.Name);
    }

    /// <summary>Nobody works any more: both copies have to be equal, also after the dead host is back. The suite's folder then goes.</summary>
    public async Task EndAsync()
    {
        if (!Primary.IsOn)
            await Pair.BootAsync(Primary);
        var status = await Module.WaitUntilMirroredAsync(SyncMax);
        Assert.Empty(await Module.CompareAsync());
        await Pair.Machines[status.ReadyPrimary!].CheckAsync("rm", "-rf", Folder);
    }

    private string[] Script(string script) => ["bash", "-c", $"set -e -o pipefail; mkdir -p '{Aside}'; cd '{Folder}'\n{script}"];
}

[CollectionDefinition(Name)]
public sealed class SuiteCollection : ICollectionFixture<SuiteStage>
{
    public const string Name = "suites";
}

/// <summary>An outside suite in the lab; skipped with the reason where the lab or the suite's programs cannot be had.</summary>
public sealed class SuiteFactAttribute : FactAttribute
{
    public SuiteFactAttribute(params string[] programs) =>
        Skip = LabRequirements.MissingReason() ?? (LabRequirements.Missing(programs) is { Count: > 0 } missing
            ? $"These programs are missing: {string.Join(", ", missing)}; eng/setup --for test installs them."
            : null);
}
