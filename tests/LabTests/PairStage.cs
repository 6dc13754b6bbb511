using Pollux.Lab;
using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Tests.Lab;

/// <summary>
/// One lab for all tests that need the product: control plane, two hosts, a writing module. A test asks for the stage and
/// gets it whole: cuts healed, everything running, both copies in sync. If an earlier test left it beyond that, it is
/// built anew, so that one failure does not become many.
/// </summary>
public sealed class PairStage : IAsyncLifetime
{
    public const int DetectionSeconds = 3;
    public const string ModuleName = "vm1";

    /// <summary>Room of beta's module disk: enough for every test, little enough to be filled at once.</summary>
    public const long BetaDiskBytes = 2L << 30;

    /// <summary>Of the cluster: less than by default, so that the limit is soon reached.</summary>
    public const int ModulesMax = 6;

    private static readonly TimeSpan SyncMax = TimeSpan.FromSeconds(60);

    private PolluxPair? _pair;
    private WritingModule? _module;

    public PolluxPair Pair => _pair ?? throw new LabException("The stage was not asked for.");

    public WritingModule Module => _module ?? throw new LabException("The stage was not asked for.");

    public LimitedDisk? BetaDisk { get; private set; }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_module is not null)
            await _module.DisposeAsync();
        if (_pair is not null)
            await _pair.DisposeAsync();
        (_module, _pair) = (null, null);
    }

    /// <summary>The mirrored, writing module, its primary and its secondary.</summary>
    /// <param name="primary">Which host has to be primary; null: whichever it is.</param>
    public async Task<Scene> ReadyAsync(string? primary = null)
    {
        if (_pair is not null)
        {
            try
            {
                return await HealAsync(primary);
            }
            catch (LabException)
            {
                await DisposeAsync();
            }
        }
        await BuildAsync();
        return await HealAsync(primary);
    }

    /// <summary>Beta is switched off, its disk is mended, and it is switched on again.</summary>
    public async Task MendBetaAsync()
    {
        var beta = Pair.Machines["beta"];
        if (beta.IsOn)
            await beta.PowerOffAsync();
        await BetaDisk!.MendAsync(beta);
        await Pair.BootAsync(beta);
    }

    private async Task BuildAsync()
    {
        _pair = await PolluxPair.CreateAsync(DetectionSeconds,
            prepare: async machines => BetaDisk = await LimitedDisk.CreateAsync(machines["beta"], BetaDiskBytes),
            clusterOptions: ["--modules-max", $"{ModulesMax}"]);
        _module = await WritingModule.CreateAsync(_pair, ModuleName, "alpha");
    }

    private async Task<Scene> HealAsync(string? primary)
    {
        await Pair.Machines.Network.HealAllAsync();
        var since = DateTimeOffset.UtcNow;
        if (BetaDisk!.IsBroken)
            await MendBetaAsync();
        BetaDisk.Free();
        if (Pair.Server.HasExited)
            await Pair.StartServerAsync();
        foreach (var host in Pair.Machines.Hosts)
            if (!host.IsOn)
                await Pair.BootAsync(host);
            else if (Pair.DataPlanes[host.Name].HasExited)
                await Pair.StartDataPlaneAsync(host);
        if (await Module.TryGetStatusAsync() is not { Run: true })
            await Module.StartAsync();
        var status = await Module.WaitUntilMirroredAsync(SyncMax, since);
        if (primary is not null && status.ReadyPrimary != primary)
        {
            await Module.SwapAsync();
            status = await Module.WaitForAsync($"{primary} is primary and mirrored", SyncMax, one => one.IsMirrored && one.ReadyPrimary == primary);
        }
        var scene = new Scene(Pair, Module, Pair.Machines[status.ReadyPrimary!]);
        await Module.WaitForRecordsAsync(scene.Primary.Name, more: 50);
        return scene;
    }
}

/// <summary>The stage as a test finds it.</summary>
public sealed record Scene(PolluxPair Pair, WritingModule Module, LabHost Primary)
{
    public LabHost Secondary { get; } = Pair.Machines.Hosts.Single(host => host != Primary);

    public LabNetwork Network => Pair.Machines.Network;
}

[CollectionDefinition(Name)]
public sealed class PairCollection : ICollectionFixture<PairStage>
{
    public const string Name = "pair";
}
