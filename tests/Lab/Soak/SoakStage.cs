using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Lab.Soak;

/// <summary>Two modules with writing VMs that cross: each host is primary of one. Beta's disk is small enough to be filled.</summary>
public sealed class SoakStage : IAsyncDisposable
{
    public const int DetectionSeconds = 3;
    private const long BetaDiskBytes = 2L << 30;

    private static readonly TimeSpan WholeMax = TimeSpan.FromSeconds(150);
    private static readonly TimeSpan WriteMax = TimeSpan.FromSeconds(20);

    private readonly List<LabProcess> _frozen = [];
    private readonly LimitedDisk _betaDisk;

    private SoakStage(PolluxPair pair, LimitedDisk betaDisk, IReadOnlyList<WritingModule> modules)
    {
        (Pair, _betaDisk, Modules) = (pair, betaDisk, modules);
        Watches = [.. modules.Select(static module => new ServiceWatch(module))];
    }

    public PolluxPair Pair { get; }

    public LabNetwork Network => Pair.Machines.Network;

    public IReadOnlyList<WritingModule> Modules { get; }

    public IReadOnlyList<ServiceWatch> Watches { get; }

    public static async Task<SoakStage> CreateAsync(Action<string> report)
    {
        LimitedDisk? disk = null;
        var pair = await PolluxPair.CreateAsync(DetectionSeconds, report: report,
            prepare: async machines => disk = await LimitedDisk.CreateAsync(machines["beta"], BetaDiskBytes));
        try
        {
            List<WritingModule> modules = [await WritingModule.CreateAsync(pair, "vm1", "alpha"), await WritingModule.CreateAsync(pair, "vm2", "beta")];
            foreach (var module in modules)
                await module.StartAsync();
            var stage = new SoakStage(pair, disk!, modules);
            await stage.HealAsync();
            return stage;
        }
        catch
        {
            await pair.DisposeAsync();
            throw;
        }
    }

    public LabHost PeerOf(LabHost host) => Pair.Machines.Hosts.Single(one => one != host);

    /// <summary>The data plane of a host, if host and process are there.</summary>
    public LabProcess? Running(LabHost host) => host.IsOn && Pair.DataPlanes[host.Name] is { HasExited: false, ProcessId: not null } process ? process : null;

    public async Task FreezeAsync(LabProcess? process)
    {
        if (process is not { HasExited: false } || _frozen.Contains(process))
            return;
        await process.FreezeAsync();
        _frozen.Add(process);
    }

    /// <summary>What the primary of vm1 writes then finds no room on beta.</summary>
    public async Task FillDiskAsync()
    {
        await _betaDisk.FillAsync();
        var more = $"{Modules[0].Folder}/more";
        if (await Modules[0].TryGetStatusAsync() is { ReadyPrimary: { } primary } && Pair.Machines[primary] is { IsOn: true } host)
        {
            // On a host whose disk is full this is the writer's error, and no failure of the product.
            await host.ExecAsync(["timeout", "10", "dd", "if=/dev/urandom", $"of={more}", "bs=1M", "count=4", "conv=fsync", "status=none"], WriteMax);
        }
    }

    public Task SwapAsync() => Pair.CliAsync("module", "swap", Modules[0].Key);

    /// <summary>Everything that is cut, off, frozen, dead or full is healed, and both modules are mirrored and write again.</summary>
    /// <exception cref="LabException">They are not within the bound.</exception>
    public async Task HealAsync()
    {
        await Network.HealAllAsync();
        foreach (var process in _frozen.Where(static process => process is { HasExited: false, ProcessId: not null }))
            process.Thaw();
        _frozen.Clear();
        _betaDisk.Free();
        if (Pair.Server.HasExited)
            await Pair.StartServerAsync();
        var since = DateTimeOffset.UtcNow;
        foreach (var host in Pair.Machines.Hosts)
            if (!host.IsOn)
                await Pair.BootAsync(host);
            else if (Pair.DataPlanes[host.Name].HasExited)
                await Pair.StartDataPlaneAsync(host, waitUntilReady: false);
        foreach (var module in Modules)
        {
            var status = await module.WaitUntilMirroredAsync(WholeMax, since);
            await module.WaitForRecordsAsync(status.ReadyPrimary!, more: 30);
        }
    }

    /// <summary>Each host is primary of one module again.</summary>
    public async Task CrossAsync()
    {
        var (one, other) = (await Modules[0].TryGetStatusAsync(), await Modules[1].TryGetStatusAsync());
        if (one?.ReadyPrimary is null || one.ReadyPrimary != other?.ReadyPrimary)
            return;
        await Modules[1].SwapAsync();
        await HealAsync();
    }

    public async Task<IReadOnlyList<string>> PrimariesAsync()
    {
        var primaries = new List<string>();
        foreach (var module in Modules)
            primaries.Add((await module.TryGetStatusAsync())?.ReadyPrimary ?? "none");
        return primaries;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var watch in Watches)
            await watch.DisposeAsync();
        foreach (var module in Modules)
            await module.DisposeAsync();
        await Pair.DisposeAsync();
    }
}
