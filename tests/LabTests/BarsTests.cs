using Pollux.Lab;
using Pollux.Lab.Benchmarks;

namespace Pollux.Tests.Lab;

/// <summary>What the benchmark says of its figures.</summary>
public sealed class BarsTests
{
    [Fact]
    public void A_ratio_below_its_bar_is_missed_and_one_at_it_holds()
    {
        var bars = Bars.Of(
            new Dictionary<(string, string), BenchmarkFigures>
            {
                [("pollux", "w4k-q1")] = Iops(1599),
                [("pollux", "w4k-q32")] = Iops(4000),
                [("qemu-quorum", "w4k-q1")] = Iops(1000),
                [("qemu-quorum", "w4k-q32")] = Iops(1000),
            }, [], []);
        Assert.Equal([("w4k-q1: pollux / qemu-quorum", false), ("w4k-q32: pollux / qemu-quorum", true)], bars.Select(bar => (bar.Name, bar.Holds)));
    }

    [Fact]
    public void A_flushed_write_may_take_the_disk_and_two_round_trips()
    {
        BarsOfLatency(syncUs: 1.4 * (200 + 2 * 80), out var sync);
        Assert.True(sync.Holds);
        BarsOfLatency(syncUs: 1.41 * (200 + 2 * 80), out sync);
        Assert.False(sync.Holds);
    }

    [Fact]
    public void A_resync_is_held_against_the_slower_of_disk_and_link()
    {
        var figures = new Dictionary<(string, string), BenchmarkFigures>
        {
            [("raw-direct", "w1m-q8")] = new(0, 2000, 0, 0, 0, 0),
            [("link", "w1m-q8")] = new(0, 1000, 0, 0, 0, 0),
        };
        var bar = Assert.Single(Bars.Of(figures, [new ResyncFigures("pollux", "plaintext", 100, 1, 1, 1, 790, 1)], []));
        Assert.Equal(0.79, bar.Value);
        Assert.False(bar.Holds);
    }

    [Fact]
    public void What_was_not_measured_has_no_bar() => Assert.Empty(Bars.Of(new Dictionary<(string, string), BenchmarkFigures>(), [], []));

    [Fact]
    public void Medians_are_of_each_figure_by_itself()
    {
        var median = BenchmarkFigures.MedianOf([new(1, 30, 5, 9, 0, 0), new(2, 20, 6, 8, 0, 0), new(3, 10, 4, 7, 0, 0)]);
        Assert.Equal(new BenchmarkFigures(2, 20, 5, 8, 0, 0), median);
    }

    [Theory]
    [InlineData("--systems", "polux")]
    [InlineData("--workloads", "w4k")]
    [InlineData("--rounds", "1.5")]
    [InlineData("--seconds", "0")]
    [InlineData("--fast", "yes")]
    [InlineData("--json")]
    public void A_wrong_option_is_refused(params string[] arguments) => Assert.Throws<LabException>(() => BenchmarkOptions.Parse(arguments));

    [Theory]
    [InlineData(0.4, "400ms")]
    [InlineData(2, "2000ms")]
    public void The_load_generator_is_given_milliseconds(double seconds, string expected) => Assert.Equal(expected, Fio.Milliseconds(seconds));

    private static void BarsOfLatency(double syncUs, out Bar sync) => sync = Bars.Of(
        new Dictionary<(string, string), BenchmarkFigures>
        {
            [("pollux", "w4k-sync-q1")] = new(0, 0, syncUs, 0, 0, 0),
            [("raw-direct", "w4k-sync-q1")] = new(0, 0, 200, 0, 0, 0),
            [("link", "w4k-q1")] = new(0, 0, 80, 0, 0, 0),
        }, [], []).Single(bar => bar.Name.StartsWith("w4k-sync-q1", StringComparison.Ordinal));

    private static BenchmarkFigures Iops(double value) => new(value, 0, 0, 0, 0, 0);
}
