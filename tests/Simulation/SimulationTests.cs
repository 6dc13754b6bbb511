using System.Diagnostics;
using System.Globalization;
using Pollux.DataPlane.Core.Roles;
using Pollux.Tests.Simulation.Model;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>The production role machine and arbiter under faults. Replay one seed: POLLUX_FIRST_SEED=n POLLUX_SEEDS=1.</summary>
public sealed class SimulationTests(ITestOutputHelper output)
{
    private const ulong FirstSeedDefault = 1;
    private const int SeedsDefault = 1_500;

    /// <summary>Several times the seeds after which every code of the role machine has been seen.</summary>
    private const ulong SeedsForEveryCode = 500;
    private const int TraceLinesShownMax = 400;

    /// <summary>The suite's share of the time of eng/test; fewer seeds run on a slow machine, and the count is printed.</summary>
    private static readonly TimeSpan TimeBox = TimeSpan.FromSeconds(60);

    [Fact]
    public void No_rule_is_broken_under_random_faults_and_the_pair_becomes_whole_again()
    {
        var first = Setting("POLLUX_FIRST_SEED") ?? FirstSeedDefault;
        var asked = Setting("POLLUX_SEEDS");
        var seeds = asked ?? SeedsDefault;
        var clock = Stopwatch.StartNew();
        ulong run = 0;
        var unseen = RoleCodes.All.Select(problem => problem.Code).ToHashSet();
        long acknowledged = 0, flushes = 0, starts = 0, epochs = 0;
        for (; run < seeds && (asked is not null || clock.Elapsed < TimeBox); run++)
        {
            var outcome = SimulationRun.Run(first + run);
            acknowledged += outcome.Acknowledged;
            flushes += outcome.Flushes;
            starts += outcome.WorkloadStarts;
            epochs += outcome.Epoch;
            unseen.ExceptWith(outcome.CodesSeen);
            if (outcome.Violation is null)
                continue;
            foreach (var line in outcome.Trace.TakeLast(TraceLinesShownMax))
                output.WriteLine(line);
            Assert.Fail($"seed {outcome.Seed}: {outcome.Violation}\nReplay: POLLUX_FIRST_SEED={outcome.Seed} POLLUX_SEEDS=1 eng/test simulation");
        }

        output.WriteLine($"{run} seeds from {first} in {clock.Elapsed.TotalSeconds:F1} s: {acknowledged} writes and {flushes} flushes acknowledged, {starts} VM starts, {epochs} epochs.");
        output.WriteLine($"Codes never reached: {string.Join(", ", unseen)}");
        if (run >= SeedsForEveryCode)
            Assert.Empty(unseen); // A flow that the faults never reach is not checked.
        Assert.True(run > 0 && acknowledged > 0 && flushes > 0 && starts > (long)run);
    }

    [Fact]
    public void A_seed_replays_to_the_same_trace() =>
        Assert.Equal(SimulationRun.Run(7).Trace, SimulationRun.Run(7).Trace);

    private static ulong? Setting(string name) =>
        ulong.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out var value) ? value : null;
}
