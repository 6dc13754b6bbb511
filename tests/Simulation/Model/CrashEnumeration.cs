using System.Collections.Immutable;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>One thing that happens in an enumerated sequence.</summary>
internal enum CrashStep
{
    Write,

    /// <summary>Overlaps <see cref="Write"/> by half.</summary>
    Overwrite,
    Flush,
    Truncate,
    Create,
    Punch,
}

internal enum CrashKind
{
    SourceProcess,
    TargetProcess,
    BothProcesses,
    SourcePower,
    TargetPower,
    BothPower,
}

/// <summary>Where a sequence happens.</summary>
internal enum CrashSetting
{
    /// <summary>PRIM and SECOND.</summary>
    InSync,

    /// <summary>The peer has just come back, marks are to be copied, a resync begins with the first operation.</summary>
    Resyncing,
}

/// <summary>A crash at every step of short sequences of operations, with every outcome of what a disk may keep: no seed, no chance.</summary>
/// <remarks>A step is a call of a disk that ends or bytes that arrive. The crash comes before the step; then both hosts start again, and the
/// pair must be whole, equal, and hold what was acknowledged.</remarks>
internal static class CrashEnumeration
{
    /// <summary>Outcomes of one loss of power that are tried. More than most have; the rest is left to the seeds.</summary>
    public const int OutcomesMax = 16;

    private const long WholeWithinMs = 90_000;

    public static IEnumerable<ImmutableArray<CrashStep>> Sequences(int lengthMax)
    {
        var last = new List<ImmutableArray<CrashStep>> { ImmutableArray<CrashStep>.Empty };
        for (var length = 1; length <= lengthMax; length++)
        {
            last = [.. last.SelectMany(sequence => Enum.GetValues<CrashStep>().Select(sequence.Add))];
            foreach (var sequence in last)
                yield return sequence;
        }
    }

    /// <returns>How many crashes were tried.</returns>
    public static long Run(CrashSetting setting, ImmutableArray<CrashStep> sequence, bool together, Sabotage sabotage = Sabotage.None)
    {
        var steps = Try(setting, sequence, together, sabotage, long.MaxValue, default, []).Steps;
        var tried = 1L;
        for (var at = 0L; at < steps; at++)
        {
            foreach (var kind in Enum.GetValues<CrashKind>())
            {
                var choices = new List<int>();
                for (var outcome = 0; outcome < OutcomesMax; outcome++)
                {
                    var asked = Try(setting, sequence, together, sabotage, at, kind, choices).Asked;
                    tried++;
                    if (!Next(choices, asked))
                        break;
                }
            }
        }

        return tried;
    }

    /// <summary>The next of all combinations, like an odometer.</summary>
    private static bool Next(List<int> choices, List<int> asked)
    {
        while (choices.Count < asked.Count)
            choices.Add(0);
        choices.RemoveRange(asked.Count, choices.Count - asked.Count);
        for (var i = choices.Count - 1; i >= 0; i--)
        {
            if (++choices[i] < asked[i])
                return true;
            choices.RemoveAt(i);
        }

        return false;
    }

    private static (long Steps, List<int> Asked) Try(
        CrashSetting setting, ImmutableArray<CrashStep> sequence, bool together, Sabotage sabotage, long crashAt, CrashKind kind, List<int> choices)
    {
        var world = new World(1, sabotage, quiet: true);
        var asked = new List<int>();
        try
        {
            var steps = Play(world, setting, sequence, together, crashAt, kind, choices, asked);
            return (steps, asked);
        }
        catch (Exception broken) when (broken is SafetyViolation or InvalidOperationException)
        {
            throw new SafetyViolation(
                $"{setting}: {string.Join(", ", sequence)}{(together ? " together" : " in turn")}; {kind} before step {crashAt}, outcome [{string.Join(" ", choices)}]: "
                + $"{broken.Message}\n{string.Join("\n", world.Trace)}\n{(broken is SafetyViolation ? "" : broken.ToString())}");
        }
    }

    private static long Play(
        World world, CrashSetting setting, ImmutableArray<CrashStep> sequence, bool together, long crashAt, CrashKind kind, List<int> choices, List<int> asked)
    {
        foreach (var host in world.Hosts)
            host.Start();
        world.Desire(true);
        BecomeWhole(world);
        var primary = world.Hosts.First(host => host.Machine!.View.Role is Role.Prim);
        if (setting == CrashSetting.Resyncing)
            Part(world, primary);

        var steps = 0L;
        var crashed = false;
        var script = new Script(world, primary, sequence, together);
        world.BeforeEngineStep = _ =>
        {
            if (steps++ != crashAt || crashed)
                return;
            crashed = true;
            world.Choose = possibilities =>
            {
                asked.Add(possibilities);
                return asked.Count <= choices.Count ? choices[asked.Count - 1] : 0;
            };
            Crash(world, primary, kind);
        };
        script.Begin();
        var endMs = world.Schedule.NowMs + 3_000;
        while (!(script.Ended && SimulationRun.Whole(world)) && !crashed && world.Schedule.NowMs < endMs)
            world.Schedule.RunUntil(world.Schedule.NowMs + 10);
        if (!crashed)
            SafetyRequire(script.Ended, "The sequence did not end.");
        world.BeforeEngineStep = null;
        world.Schedule.RunUntil(world.Schedule.NowMs + 100);
        foreach (var host in world.Hosts)
        {
            host.RestorePower();
            host.Start();
        }

        BecomeWhole(world);
        world.Schedule.RunUntil(world.Schedule.NowMs + 300);
        world.Truth.CheckEqual("At the end");
        foreach (var host in world.Hosts.Where(host => host.Vm.Executes))
            world.Truth.WorkloadBegins(host);
        return steps;
    }

    /// <summary>The target leaves; the source writes alone; the target comes back and a session begins.</summary>
    private static void Part(World world, SimHost primary)
    {
        primary.Peer.Crash("leaves");
        RunUntil(world, () => primary.Machine!.View is { Role: Role.Alone, Ready: true });
        var script = new Script(world, primary, [CrashStep.Write, CrashStep.Punch], together: false);
        script.Begin();
        RunUntil(world, () => script.Ended);
        primary.Peer.Start();
        RunUntil(world, () => primary.Engine!.HasSession);
    }

    private static void Crash(World world, SimHost primary, CrashKind kind)
    {
        if (kind is CrashKind.SourceProcess or CrashKind.BothProcesses)
            primary.Crash("source crashes");
        if (kind is CrashKind.TargetProcess or CrashKind.BothProcesses)
            primary.Peer.Crash("target crashes");
        if (kind is CrashKind.SourcePower or CrashKind.BothPower)
            primary.LosePower();
        if (kind is CrashKind.TargetPower or CrashKind.BothPower)
            primary.Peer.LosePower();
    }

    private static void BecomeWhole(World world) => RunUntil(world, () => SimulationRun.Whole(world) && world.Hosts.Any(host => host.Vm.Executes));

    private static void RunUntil(World world, Func<bool> condition)
    {
        var endMs = world.Schedule.NowMs + WholeWithinMs;
        while (!condition())
        {
            SafetyRequire(world.Schedule.NowMs < endMs, "Not whole again in time: " + string.Join("; ", world.Hosts.Select(SimulationRun.Tell)));
            world.Schedule.RunUntil(world.Schedule.NowMs + 20);
        }
    }

    private static void SafetyRequire(bool holds, string message) => Truth.Require(holds, message);

    /// <summary>Submits the operations, all at once or each when the one before it has ended.</summary>
    private sealed class Script(World world, SimHost host, ImmutableArray<CrashStep> sequence, bool together)
    {
        private readonly Func<Action, bool> hears = host.Vm.Hears();
        private int next;
        private int ended;

        public bool Ended => ended == sequence.Length;

        public void Begin()
        {
            do
                Submit();
            while (together && next < sequence.Length);
        }

        private void Submit()
        {
            if (next == sequence.Length || host.Engine is not { } engine)
                return;
            var step = sequence[next++];
            var number = world.NextWrite();
            var layout = world.Layout;
            var spot = layout.Spots[1];
            IEnumerable<Cell> first = spot.Cells.Take(4), second = spot.Cells.Skip(2).Take(4);
            GuestOperation Make(GuestOperationKind kind, long offsetBytes, long lengthBytes, IEnumerable<Cell> cells, long value) => new()
            {
                Kind = kind, Number = kind == GuestOperationKind.Flush ? 0 : number, Object = kind is GuestOperationKind.Flush or GuestOperationKind.Create ? 0 : spot.Object,
                OffsetBytes = offsetBytes, LengthBytes = lengthBytes, BegunMs = world.Schedule.NowMs, Changes = [.. cells.Select(cell => (cell, value))],
                MakesStable = kind == GuestOperationKind.Flush ? world.Truth.FlushBegins(0) : [], Name = layout.Names[0],
                Ends = errno =>
                {
                    ended++;
                    if (!together)
                        Submit();
                    return hears(static () => { });
                },
            };
            engine.Submit(step switch
            {
                CrashStep.Write => Make(GuestOperationKind.Write, spot.OffsetBytes, 4 * Cell.Bytes, first, number),
                CrashStep.Overwrite => Make(GuestOperationKind.Write, spot.OffsetBytes + 2 * Cell.Bytes, 4 * Cell.Bytes, second, number),
                CrashStep.Flush => Make(GuestOperationKind.Flush, 0, 0, [], 0),
                CrashStep.Truncate => Make(GuestOperationKind.Truncate, spot.OffsetBytes + 3 * Cell.Bytes, long.MaxValue - spot.OffsetBytes - 3 * Cell.Bytes,
                    layout.ContentFrom(spot.Object, spot.OffsetBytes + 3 * Cell.Bytes, long.MaxValue), 0),
                CrashStep.Create => Make(GuestOperationKind.Create, 0, 0, [layout.NameCells[0]], number),
                _ => Make(GuestOperationKind.Punch, spot.OffsetBytes + Cell.Bytes, 4 * Cell.Bytes, spot.Cells.Skip(1).Take(4), 0),
            });
        }
    }
}
