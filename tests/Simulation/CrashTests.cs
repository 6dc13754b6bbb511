using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using System.Globalization;
using Pollux.Tests.Simulation.Model;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>Every crash of every short sequence: see <see cref="CrashEnumeration"/>. Sequences of three by eng/test crashes; POLLUX_CRASH_PART=3/12
/// takes the third of twelve parts.</summary>
[Trait("Category", "Crashes")]
public sealed class CrashTests(ITestOutputHelper output)
{
    private const int LengthMaxDefault = 1;

    [Fact]
    public void After_a_crash_at_any_step_of_a_short_sequence_the_pair_is_whole_equal_and_holds_what_was_acknowledged()
    {
        var lengthMax = int.TryParse(Environment.GetEnvironmentVariable("POLLUX_CRASH_SEQUENCE"), CultureInfo.InvariantCulture, out var asked) ? asked : LengthMaxDefault;
        var (part, parts) = Environment.GetEnvironmentVariable("POLLUX_CRASH_PART")?.Split('/') is [var first, var second]
            ? (int.Parse(first, CultureInfo.InvariantCulture), int.Parse(second, CultureInfo.InvariantCulture))
            : (1, 1);
        var all =
            from sequence in CrashEnumeration.Sequences(lengthMax)
            from setting in Enum.GetValues<CrashSetting>()
            from together in sequence.Length > 1 ? new[] { true, false } : [true]
            select (setting, sequence, together);
        var work = all.Where((_, index) => index % parts == part - 1);
        var clock = Stopwatch.StartNew();
        var (sequences, crashes) = (0L, 0L);
        var broken = new ConcurrentBag<string>();
        Parallel.ForEach(Partitioner.Create(work, EnumerablePartitionerOptions.NoBuffering), (item, loop) =>
        {
            try
            {
                Interlocked.Add(ref crashes, CrashEnumeration.Run(item.setting, item.sequence, item.together));
                Interlocked.Increment(ref sequences);
            }
            catch (SafetyViolation violation)
            {
                broken.Add(violation.Message);
                loop.Stop();
            }
        });
        output.WriteLine($"{crashes} crashes in {sequences} sequences of up to {lengthMax} operations (part {part} of {parts}), {clock.Elapsed.TotalSeconds:F1} s");
        Assert.True(broken.IsEmpty, broken.MinBy(message => message.Length));
        Assert.True(crashes > 50 * sequences);
    }
}
