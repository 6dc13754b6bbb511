using Pollux.Tests.Simulation.Exhaustive;
using Pollux.Tests.Simulation.Model;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>All interleavings within stated bounds, over the production role machine and arbiter. docs/model.md says what is abstracted.</summary>
[Trait("Category", "Model")]
public sealed class ModelTests(ITestOutputHelper output)
{
    /// <summary>States of one search; some kilobytes of memory are needed for each of those that are found and not yet expanded.</summary>
    private const long StatesMax = 30_000_000;

    public static TheoryData<string> Searches => [.. ModelSearches.Asked];

    [Theory]
    [MemberData(nameof(Searches))]
    public void No_rule_is_broken_within_bounds(string search)
    {
        var explored = new Explorer(StatesMax, ModelSearches.TimeMax).Run(Roots.Parse(search, Sabotage.None));
        output.WriteLine($"{search}: {explored}");
        Console.WriteLine($"model: {search}: {explored}");
        Assert.True(explored.Violation is null, explored.Violation);
        Assert.True(explored.Exhausted, $"{search}: {explored}");
    }
}

/// <summary>From every state that one fault leads to, with nothing else going wrong.</summary>
[Trait("Category", "Model")]
public sealed class ModelServiceTests(ITestOutputHelper output)
{
    /// <summary>Steps of time, a quarter of the detection time each: detection, and as much again to take over and start.</summary>
    private const int WithoutServiceMax = 8;

    public static TheoryData<string> Staying =>
    [
        "paired: faults=1 losses=1 prompt=1", "paired: faults=1 delays=1 prompt=1", "paired: faults=1 arbitercuts=1", "leaving:",
        .. ModelSearches.Thorough ? new[] { "paired: faults=1 crashes=1 prompt=1", "paired: faults=1 cuts=1 prompt=1" } : [],
    ];

    public static TheoryData<string> Ending =>
    [
        "paired: faults=1 swaps=1", "joining: writes=1", "leaving:",
        .. ModelSearches.Thorough ? new[] { "paired: faults=1 crashes=1 prompt=1", "paired: faults=1 cuts=1 prompt=1" } : [],
    ];

    [Theory]
    [MemberData(nameof(Staying))]
    public void A_single_fault_that_stays_leaves_a_bounded_time_without_service(string search) =>
        Follow(search, new Service(faultsEnd: false, pair => pair.SomeVmExecutes, WithoutServiceMax));

    [Theory]
    [MemberData(nameof(Ending))]
    public void After_the_faults_the_pair_is_whole_again_within_a_bound(string search) =>
        Follow(search, new Service(faultsEnd: true, pair => pair.Whole, 2 * WithoutServiceMax));

    private void Follow(string search, Service service)
    {
        var explored = new Explorer(statesMax: 5_000_000, ModelSearches.TimeMax) { Judge = service.Judge }.Run(Roots.Parse(search, Sabotage.None));
        var told = $"{search}: {explored}; at most {service.StepsSeenMax} quarters of the detection time";
        output.WriteLine(told);
        Console.WriteLine($"model: {told}");
        Assert.True(explored.Violation is null, explored.Violation);
        Assert.True(explored.Exhausted, told);
    }
}

/// <summary>A search that finds nothing in broken machinery is worth nothing: docs/breaks.md.</summary>
[Trait("Category", "Model")]
public sealed class ModelBreakTests(ITestOutputHelper output)
{
    public static TheoryData<string, string> Breaks
    {
        get
        {
            var breaks = new TheoryData<string, string>
            {
                { nameof(Sabotage.TakeOverWithoutWaiting), "paired: faults=1 losses=1" },
                { nameof(Sabotage.ConfirmUnstoredState), "fresh:" },
                { nameof(Sabotage.NoPause), "paired: faults=1 freezes=1 prompt=1" },
                { nameof(Sabotage.AcknowledgeBeforePeer), "paired: writes=1" },
                { nameof(Sabotage.ExcludeNotAsked), "paired: faults=1 cuts=1 writes=1" },
                { nameof(Sabotage.SkipActivityLog), "paired: writes=1" },
                { nameof(Sabotage.OverwrittenBeforeStored), "fresh:" },
                { nameof(Sabotage.PromiseForgotten), "leaving: faults=1 crashes=1 writes=1 prompt=1" },
            };
            if (ModelSearches.Thorough)
            {
                breaks.Add(nameof(Sabotage.PromoteOutdated), "paired: faults=2 crashes=2 writes=1 prompt=1");
                breaks.Add(nameof(Sabotage.AnswerWhileClaiming), "paired: faults=2 cuts=1 arbitercuts=1 prompt=1");
                breaks.Add(nameof(Sabotage.MarksNotUnited), "paired: faults=1 crashes=1 writes=1 prompt=1");
            }

            return breaks;
        }
    }

    [Theory]
    [MemberData(nameof(Breaks))]
    public void A_deliberate_break_is_caught(string name, string search)
    {
        var explored = new Explorer(statesMax: 5_000_000, ModelSearches.TimeMax).Run(Roots.Parse(search, Enum.Parse<Sabotage>(name)));
        output.WriteLine($"{name}, {search}: {explored}\n{explored.Violation}");
        Assert.True(explored.Violation is not null, $"{name} is not caught by {search}: {explored}");
    }
}
