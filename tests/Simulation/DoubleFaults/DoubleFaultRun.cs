using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.DoubleFaults;

/// <summary>What became of the module.</summary>
/// <param name="ServedBy">The host whose VM is told of writes at the end; null: none.</param>
/// <param name="PauseMs">The longest time without an acknowledgement since the second fault, if it is served.</param>
/// <param name="DetectionMs">Of this run.</param>
/// <param name="WholeAfterMs">From the end of the faults to PRIM and SECOND.</param>
internal sealed record DoubleFaultOutcome(string? ServedBy, long PauseMs, long DetectionMs, long WholeAfterMs);

/// <summary>One pair of faults on the production machines in the quiet simulation: a settled pair whose guest writes, the first fault, time to
/// settle, the second, time to settle.</summary>
internal sealed class DoubleFaultRun
{
    /// <summary>After a fault, in detection times, until nothing changes any more; a disk that failed is tried again later than that.</summary>
    private const int SettleDetectionTimes = 6;

    /// <summary>What has not acknowledged anything for so many detection times does not serve.</summary>
    private const int SilenceDetectionTimes = 2;
    private const long RetryOfDiskMs = 40_000;
    private const long LookMs = 20;

    private readonly World world;
    private long acknowledged;
    private long acknowledgedMs;
    private long pauseMs;

    private DoubleFaultRun(ulong seed)
    {
        world = new World(seed, Sabotage.None, quiet: true) { GuestWrites = true };
        foreach (var host in world.Hosts)
            host.Start();
        world.Desire(true);
        for (var steps = 0; !SimulationRun.Whole(world) || world.Host("a").Machine!.View.Record.Primary != "a"; steps++)
        {
            if (steps > 1_000)
                throw new SafetyViolation("The pair does not settle: " + string.Join("; ", world.Hosts.Select(SimulationRun.Tell)));
            Pass(100);
        }

        Pass(2 * world.DetectionMs);
    }

    /// <exception cref="SafetyViolation">A rule is broken, or the pair is not whole again within the bound of the random simulation.</exception>
    public static DoubleFaultOutcome Run(ulong seed, PairFault? first, PairFault second)
    {
        var run = new DoubleFaultRun(seed);
        run.Strike(first, second);
        var (served, pause) = (run.ServedBy(), run.pauseMs);
        first?.End(run.world);
        second.End(run.world);
        return new DoubleFaultOutcome(served, pause, run.world.DetectionMs, run.BecomeWhole());
    }

    /// <summary>The same, and then only one of the faults ends.</summary>
    /// <returns>Whether that brings the service back.</returns>
    public static bool ServedAfter(ulong seed, PairFault first, PairFault second, PairFault ends)
    {
        var run = new DoubleFaultRun(seed);
        run.Strike(first, second);
        ends.End(run.world);
        run.Pass(SettleDetectionTimes * run.world.DetectionMs + RetryOfDiskMs);
        return run.ServedBy() is not null;
    }

    private void Strike(PairFault? first, PairFault second)
    {
        if (first is not null)
        {
            first.Begin(world);
            Pass(SettleDetectionTimes * world.DetectionMs);
        }

        (pauseMs, acknowledgedMs) = (0, world.Schedule.NowMs);
        second.Begin(world);
        Pass(SettleDetectionTimes * world.DetectionMs + RetryOfDiskMs);
    }

    private string? ServedBy() => world.Schedule.NowMs - acknowledgedMs < SilenceDetectionTimes * world.DetectionMs
        ? world.Hosts.FirstOrDefault(host => host.Vm.Executes)?.Name
        : null;

    private void Pass(long forMs)
    {
        var endMs = world.Schedule.NowMs + forMs;
        while (world.Schedule.NowMs < endMs)
        {
            world.Schedule.RunUntil(Math.Min(endMs, world.Schedule.NowMs + LookMs));
            if (world.Truth.Acknowledged + world.Truth.Flushes is var now && now == acknowledged)
                continue;
            pauseMs = Math.Max(pauseMs, world.Schedule.NowMs - acknowledgedMs);
            (acknowledged, acknowledgedMs) = (now, world.Schedule.NowMs);
        }
    }

    private long BecomeWhole()
    {
        var endedMs = world.Schedule.NowMs;
        var wholeMs = SimulationRun.BecomeWhole(world);
        return wholeMs - endedMs;
    }
}
