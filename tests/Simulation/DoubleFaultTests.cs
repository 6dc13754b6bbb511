using System.Runtime.CompilerServices;
using Pollux.Tests.Simulation.DoubleFaults;
using Xunit.Abstractions;

namespace Pollux.Tests.Simulation;

/// <summary>Which double faults stop the service and which do not: docs/double-faults.md.</summary>
public sealed class DoubleFaultTests(ITestOutputHelper output)
{
    /// <summary>What goes on being served pauses for so many detection times at most: silence, S8's times, the start of the VM.</summary>
    private const double PauseDetectionTimesMax = 3;

    /// <summary>From the end of both faults to PRIM and SECOND, in detection times.</summary>
    private const double WholeDetectionTimesMax = 10;

    /// <summary>The same where a disk had failed, milliseconds: it is tried again after 30 s.</summary>
    private const long WholeAfterDiskMsMax = 10 * 4_000 + 60_000;

    [Fact]
    public void The_table_of_double_faults_is_what_the_machines_do()
    {
        var table = DoubleFaultTable.Make();
        var told = $"{table.Runs} runs; longest pause where the VM goes on {table.PauseMax:F1} detection times; PRIM and SECOND again after {table.WholeAfterMax:F1} detection times at most, where a disk had failed after {table.WholeAfterDiskMsMax} ms";
        output.WriteLine(told);
        Console.WriteLine($"double faults: {told}");
        var path = Document();
        if (Environment.GetEnvironmentVariable("POLLUX_REWRITE_GOLDEN") == "1")
            File.WriteAllText(path, table.ToString());
        Assert.Equal(File.ReadAllText(path), table.ToString());
        Assert.InRange(table.PauseMax, 0, PauseDetectionTimesMax);
        Assert.InRange(table.WholeAfterMax, 0, WholeDetectionTimesMax);
        Assert.InRange(table.WholeAfterDiskMsMax, 0, WholeAfterDiskMsMax);
    }

    private static string Document([CallerFilePath] string file = "") =>
        Path.Combine(Path.GetDirectoryName(file)!, "..", "..", "docs", "double-faults.md");
}
