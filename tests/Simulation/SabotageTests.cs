using Pollux.Tests.Simulation.Model;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>The simulation finds what it is there to find: each deliberate defect breaks a rule within a bounded number of seeds.</summary>
public sealed class SabotageTests(ITestOutputHelper output)
{
    /// <summary>Several times the seeds that the hardest one to find needs.</summary>
    private const ulong SeedsMax = 3_000;

    [Theory]
    [InlineData(nameof(Sabotage.AcknowledgeBeforePeer))]
    [InlineData(nameof(Sabotage.TakeOverWithoutWaiting))]
    [InlineData(nameof(Sabotage.ExcludeNotAsked))]
    [InlineData(nameof(Sabotage.OlderEpochAccepted))]
    [InlineData(nameof(Sabotage.PromoteOutdated))]
    [InlineData(nameof(Sabotage.ConfirmUnstoredState))]
    [InlineData(nameof(Sabotage.ClearMarksWithoutFlush))]
    [InlineData(nameof(Sabotage.AnswerWhileClaiming))]
    [InlineData(nameof(Sabotage.NoPause))]
    public void A_deliberate_defect_is_caught(string name)
    {
        var sabotage = Enum.Parse<Sabotage>(name);
        for (ulong seed = 1; seed <= SeedsMax; seed++)
            if (SimulationRun.Run(seed, sabotage).Violation is { } violation)
            {
                output.WriteLine($"{name}: seed {seed}: {violation}");
                return;
            }

        Assert.Fail($"{name} was not caught in {SeedsMax} seeds.");
    }
}
