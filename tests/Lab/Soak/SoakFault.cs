using Pollux.Lab.Machines;
using Pollux.Lab.Product;

namespace Pollux.Lab.Soak;

/// <summary>Something that goes wrong, or that an operator does, on the pair. How it is healed is the same for all: <see cref="SoakStage.HealAsync"/>.</summary>
/// <param name="Name">As the report names it; "{0}" is the host.</param>
/// <param name="Strike">What happens to a host.</param>
public sealed record SoakFault(string Name, Func<SoakStage, LabHost, Task> Strike)
{
    public static readonly IReadOnlyList<SoakFault> All =
    [
        new("power-off", static async (_, host) =>
        {
            if (host.IsOn)
                await host.PowerOffAsync();
        }),
        new("power-off of both", static async (stage, host) =>
        {
            foreach (var one in new[] { host, stage.PeerOf(host) })
                if (one.IsOn)
                    await one.PowerOffAsync();
        }),
        new("data plane killed", static (stage, host) => stage.Running(host) is { } process ? process.KillAsync() : Task.CompletedTask),
        new("data plane frozen", static (stage, host) => stage.FreezeAsync(stage.Running(host))),
        new("VM killed", static (stage, host) =>
        {
            foreach (var module in stage.Modules)
                if (ExecutionObserver.ProcessOf(host, module.Name) is { } id)
                    Signals.Send(id, Signals.Kill);
            return Task.CompletedTask;
        }),
        new("link cut", static (stage, host) => stage.Network.CutBetweenAsync(host.Name, stage.PeerOf(host).Name)),
        new("link cut one way", static (stage, host) => stage.Network.CutOneWayAsync(host.Name, stage.PeerOf(host).Name)),
        new("cable out", static (stage, host) => host.IsOn ? stage.Network.CutCableAsync(host.Name) : Task.CompletedTask),
        new("everybody parted", static (stage, host) =>
            stage.Network.CutAllBetweenAsync(host.Name, stage.PeerOf(host).Name, VirtualLab.ControlName)),
        new("replication cut", static (stage, host) => stage.Network.CutTcpAsync(host.Name, stage.PeerOf(host).Name, PolluxPair.ReplicationPort)),
        new("beacons cut", static (stage, host) => stage.Network.CutTcpAsync(host.Name, stage.PeerOf(host).Name, PolluxPair.BeaconPort)),
        new("control plane killed", static (stage, _) => stage.Pair.Server.HasExited ? Task.CompletedTask : stage.Pair.Server.KillAsync()),
        new("control plane frozen", static (stage, _) => stage.FreezeAsync(stage.Pair.Server)),
        new("disk full", static (stage, _) => stage.FillDiskAsync()),
        new("swap", static (stage, _) => stage.SwapAsync()),
    ];
}
