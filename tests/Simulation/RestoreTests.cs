using System.Diagnostics;
using System.Globalization;
using Pollux.Tests.Simulation.Model;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>The arbiter's database is restored from older copies, or lost, one to four times in the middle of all other faults (S10). Hosts report at different
/// times; nobody confirms anything.</summary>
public sealed class RestoreTests(ITestOutputHelper output)
{
    private static readonly ulong Seeds = ulong.Parse(Environment.GetEnvironmentVariable("POLLUX_SEEDS") ?? "100", CultureInfo.InvariantCulture);

    [Fact]
    public void No_rule_is_broken_when_the_database_is_restored_or_lost_and_the_pair_becomes_whole_again()
    {
        var clock = Stopwatch.StartNew();
        long recoveries = 0;
        ulong seed = 0;
        while (seed < Seeds)
        {
            World? world = null;
            var outcome = Run(++seed, believes: false, one => world = one);
            Assert.True(outcome.Violation is null, $"seed {seed}: {outcome.Violation}\n{string.Join('\n', outcome.Trace.TakeLast(400))}");
            recoveries += world!.Arbiter.Recoveries;
        }
        output.WriteLine($"{seed} seeds in {clock.Elapsed.TotalSeconds:F1} s, {recoveries} recoveries");
        Assert.True(recoveries > (long)seed, $"{recoveries} recoveries in {seed} seeds");
    }

    /// <summary>Why a restore is declared: acknowledged writes are lost, or two hosts write.</summary>
    [Fact]
    public void A_restore_that_is_believed_is_caught()
    {
        for (ulong seed = 1; seed <= 300; seed++)
            if (Run(seed, believes: true, _ => { }).Violation is { } violation && !violation.StartsWith("Not whole", StringComparison.Ordinal))
            {
                output.WriteLine($"seed {seed}: {violation}");
                return;
            }
        Assert.Fail("300 seeds have broken no rule but that the pair becomes whole.");
    }

    private static SimulationOutcome Run(ulong seed, bool believes, Action<World> seen) => SimulationRun.Run(seed, prepare: world =>
    {
        seen(world);
        (world.Arbiter.IsRestored, world.Arbiter.BelievesTheDatabase) = (true, believes);
        // Its own, so that the other faults are those of the same seed.
        var random = new SeededRandom(seed ^ 0x5265_7374_6F72_6564);
        for (var times = random.Between(1, 4); times > 0; times--)
            world.Schedule.After(random.Between(6_000, 60_000), () => world.Arbiter.Restore(
                possibilities => (int)random.Between(0, possibilities - 1), () => random.Between(10, 8_000)));
    });
}
