using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <param name="Violation">The first broken promise, or null.</param>
internal sealed record SimulationOutcome(ulong Seed, string? Violation, IReadOnlyList<string> Trace,
    IReadOnlySet<string> CodesSeen, long Acknowledged, long Flushes, long Failed, long WorkloadStarts, long Epoch, long Resyncs,
    long Verified, long LinkFaults, long Continued, long Declarations);

/// <summary>One seeded run: a start, a time of faults, healing, and the pair must be whole again within a bound.</summary>
internal static class SimulationRun
{
    private const long FaultsMs = 60_000;

    /// <summary>After the faults, in detection times: a host that lost power or a local fault is let pass (two), silence (one), S8's times
    /// (one), a stop with its grace, the start, the resync and the join. Measured over 10,000 seeds it takes under half of that. Besides, a minute,
    /// and two pauses after a local fault for a disk with errors that nobody has been told yet: a flush hears one, the opening after it the others.</summary>
    private const long WholeAgainDetectionTimes = 30;

    /// <summary>What waits for an operator, by its action text.</summary>
    private static readonly string[] NeedsOperator = [RoleCodes.WorkloadFailed.Code, RoleCodes.WorkloadShutDown.Code];

    /// <param name="prepare">Called before the first event; to add faults of its own.</param>
    public static SimulationOutcome Run(ulong seed, Sabotage sabotage = Sabotage.None, Action<World>? prepare = null)
    {
        var world = new World(seed, sabotage);
        var faults = new FaultPlan(world);
        string? violation = null;
        try
        {
            prepare?.Invoke(world);
            foreach (var host in world.Hosts)
                host.Start();
            world.Desire(true);
            world.Schedule.RunUntil(5_000);
            faults.Begin(FaultsMs);
            world.Schedule.RunUntil(5_000 + FaultsMs);
            faults.Heal();
            BecomeWhole(world);
        }
        catch (SafetyViolation broken)
        {
            violation = broken.Message;
        }
        catch (InvalidOperationException broken)
        {
            violation = broken.ToString();
        }

        return new SimulationOutcome(
            seed, violation, [.. world.Trace], world.CodesSeen, world.Truth.Acknowledged, world.Truth.Flushes, world.Truth.Failed, world.Truth.Takeovers,
            world.Arbiter.Record.Epoch, world.Resyncs, world.Verified, world.LinkFaults, world.Truth.Continued, world.Arbiter.Declarations);
    }

    /// <summary>Everything is healed: the pair becomes whole within the bound, and its copies are equal.</summary>
    /// <returns>When it was whole.</returns>
    /// <exception cref="SafetyViolation">Not within the bound, or the copies differ then.</exception>
    public static long BecomeWhole(World world)
    {
        var healedMs = world.Schedule.NowMs;
        var boundMs = healedMs + WholeAgainDetectionTimes * world.DetectionMs + 60_000 + RoleMachine.FaultPauseMs * world.Hosts.Sum(host => Math.Min(2, host.Disk.UntoldErrors));
        var restarted = false;
        // What the kernel failed to write back shortly before is told by a flush only, and by none yet: the copies may differ until then.
        while (!Whole(world) || world.Truth.FlushedAllMs < healedMs)
        {
            if (world.Schedule.NowMs > boundMs)
                throw new SafetyViolation("Not whole again in time: " + string.Join("; ", world.Hosts.Select(Tell)));
            world.Schedule.RunUntil(world.Schedule.NowMs + 500);
            if (restarted || !world.Hosts.Any(host => host.Machine?.View.Code is { } code && NeedsOperator.Contains(code)))
                continue;
            restarted = true; // What its action text tells the operator to do.
            world.Desire(false);
            world.Schedule.RunUntil(world.Schedule.NowMs + 10_000);
            world.Desire(true);
        }

        var wholeMs = world.Schedule.NowMs;
        world.GuestWrites = false;
        world.Schedule.RunUntil(world.Schedule.NowMs + 2_000);
        world.Truth.CheckEqual("At the end");
        return wholeMs;
    }

    public static bool Whole(World world) =>
        world.Hosts.Any(host => host.Machine?.View is { Role: Role.Prim, Ready: true } && host.Vm.Executes)
        && world.Hosts.Any(host => host.Machine?.View is { Role: Role.Second, Ready: true });

    public static string Tell(SimHost host) => host.Machine is { } machine
        ? $"{host.Name} is {machine.View.Role} {machine.View.Code}, {machine.View.Record}, {machine.View.DataState}, waits for {machine.View.WaitsFor}, VM executes: {host.Vm.Executes}"
        : $"{host.Name} is down";
}
