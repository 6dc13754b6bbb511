using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Pollux.DataPlane.Core.Roles;
using Pollux.Tests.Simulation.Model;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>The production role machine, replication engine and arbiter under faults. Other seeds: eng/test simulation --seeds N --first-seed S.</summary>
public sealed class SimulationTests(ITestOutputHelper output)
{
    private const ulong FirstSeedDefault = 1;
    private const ulong SeedsDefault = 10_000;

    /// <summary>Several times the seeds after which every code of the role machine has been seen.</summary>
    private const long SeedsForEveryCode = 500;
    private const int TraceLinesShownMax = 400;

    /// <summary>The suite's share of the time of eng/test; fewer seeds run on a slow machine, and the count is printed.</summary>
    private const ulong SecondsDefault = 60;

    [Fact]
    public void No_rule_is_broken_under_random_faults_and_the_pair_becomes_whole_again()
    {
        var first = Setting("POLLUX_FIRST_SEED") ?? FirstSeedDefault;
        var seeds = Setting("POLLUX_SEEDS") ?? SeedsDefault;
        var timeBox = TimeSpan.FromSeconds(Setting("POLLUX_SIMULATION_SECONDS") ?? SecondsDefault);
        var clock = Stopwatch.StartNew();
        var totals = new RunTotals();
        var broken = new ConcurrentBag<SimulationOutcome>();
        long taken = -1;
        // Each run is one thread's alone; seeds are handed out in order, so that the lowest broken one is found.
        Parallel.For(0, Environment.ProcessorCount, _ =>
        {
            while (broken.IsEmpty && clock.Elapsed < timeBox && Interlocked.Increment(ref taken) is var next && (ulong)next < seeds)
            {
                var outcome = SimulationRun.Run(first + (ulong)next);
                totals.Add(outcome);
                if (outcome.Violation is not null)
                    broken.Add(outcome);
            }
        });

        output.WriteLine($"{totals.Runs} seeds from {first} in {clock.Elapsed.TotalSeconds:F1} s on {Environment.ProcessorCount} processors: {totals}");
        if (broken.MinBy(outcome => outcome.Seed) is { } worst)
        {
            foreach (var line in worst.Trace.TakeLast(TraceLinesShownMax))
                output.WriteLine(line);
            Assert.Fail($"seed {worst.Seed}: {worst.Violation}\nReplay: eng/test simulation --seeds 1 --first-seed {worst.Seed}");
        }

        var unseen = RoleCodes.All.Select(problem => problem.Code).Except(totals.CodesSeen).ToList();
        output.WriteLine($"Codes never reached: {string.Join(", ", unseen)}");
        // A flow that the faults never reach is not checked.
        if (totals.Runs >= SeedsForEveryCode)
        {
            Assert.Empty(unseen);
            Assert.True(totals is { Verified: > 0, Continued: > 0, Declarations: > 0 });
        }

        Assert.True(totals is { Runs: > 0, Acknowledged: > 0, Flushes: > 0 } && totals.WorkloadStarts > totals.Runs);
    }

    [Theory]
    [InlineData(7)]
    [InlineData(8)]
    public void A_seed_replays_to_the_same_trace(ulong seed) =>
        Assert.Equal(SimulationRun.Run(seed).Trace, SimulationRun.Run(seed).Trace);

    private static ulong? Setting(string name) =>
        ulong.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out var value) ? value : null;

    private sealed class RunTotals
    {
        private readonly Lock gate = new();

        public long Runs { get; private set; }

        public long Acknowledged { get; private set; }

        public long Flushes { get; private set; }

        public long WorkloadStarts { get; private set; }

        /// <summary>VMs that outlived the process that served them.</summary>
        public long Continued { get; private set; }

        /// <summary>Older copies that an operator has declared to be the module.</summary>
        public long Declarations { get; private set; }

        private long Failed { get; set; }

        private long Epochs { get; set; }

        private long Resyncs { get; set; }

        public long Verified { get; private set; }

        private long LinkFaults { get; set; }

        public HashSet<string> CodesSeen { get; } = [];

        public void Add(SimulationOutcome outcome)
        {
            lock (gate)
            {
                Runs++;
                Acknowledged += outcome.Acknowledged;
                Flushes += outcome.Flushes;
                Failed += outcome.Failed;
                WorkloadStarts += outcome.WorkloadStarts;
                Continued += outcome.Continued;
                Declarations += outcome.Declarations;
                Epochs += outcome.Epoch;
                Resyncs += outcome.Resyncs;
                Verified += outcome.Verified;
                LinkFaults += outcome.LinkFaults;
                CodesSeen.UnionWith(outcome.CodesSeen);
            }
        }

        public override string ToString() =>
            $"{Acknowledged} changes and {Flushes} flushes acknowledged, {Failed} failed, {WorkloadStarts} VM starts, {Continued} that outlived their process, {Declarations} older copies declared, {Epochs} epochs, {Resyncs} resyncs and {Verified} verifies finished, {LinkFaults} frames spoiled.";
    }
}
