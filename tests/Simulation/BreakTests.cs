using Pollux.Tests.Simulation.Model;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>The simulation finds what it is there to find: each deliberate break is caught within a bounded number of seeds.</summary>
[Trait("Category", "Breaks")]
public sealed class BreakTests(ITestOutputHelper output)
{
    /// <summary>Several times the seeds that the hardest one to find needs.</summary>
    private const ulong SeedsMax = 3_000;

    public static TheoryData<string> Breaks => [.. Enum.GetNames<Sabotage>().Where(name => name != nameof(Sabotage.None))];

    [Theory]
    [MemberData(nameof(Breaks))]
    public void A_deliberate_break_is_caught(string name)
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
