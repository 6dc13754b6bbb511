using System.Globalization;

namespace Pollux.Lab.Benchmarks;

/// <summary>What <c>bench replication</c> was asked for.</summary>
/// <param name="Rounds">Each system runs each workload once per round, in turn; figures are medians over the rounds.</param>
/// <param name="Seconds">Measured time of one run.</param>
/// <param name="Parts">"workloads", "resync", "memory".</param>
public sealed record BenchmarkOptions(
    string? JsonPath, int Rounds, double Seconds, IReadOnlyList<string> Systems, IReadOnlyList<Workload> Workloads, IReadOnlyList<string> Parts)
{
    public const int RoundsDefault = 5;
    public const double SecondsDefault = 1;
    private const int RoundsMax = 99;
    private const double SecondsMax = 600;

    public const string Usage =
        "bench replication [--json FILE] [--rounds N] [--seconds S] [--systems A,B…] [--workloads X,Y…] [--parts workloads,resync,memory]";

    public static readonly IReadOnlyList<string> AllSystems =
        ["raw-direct", "raw-buffered", "link", "glusterfs", "qemu-mirror", "qemu-quorum", Bars.Plain, Bars.Protected];

    public static readonly IReadOnlyList<string> AllParts = ["workloads", "resync", "memory"];

    /// <exception cref="LabException">An option is unknown or its value makes no sense.</exception>
    public static BenchmarkOptions Parse(IReadOnlyList<string> arguments)
    {
        var options = new BenchmarkOptions(null, RoundsDefault, SecondsDefault, AllSystems, Workload.All, AllParts);
        for (var i = 0; i < arguments.Count; i += 2)
        {
            if (i + 1 == arguments.Count)
                throw new LabException($"{arguments[i]} wants a value. Usage: {Usage}");
            var value = arguments[i + 1];
            options = arguments[i] switch
            {
                "--json" => options with { JsonPath = Path.GetFullPath(value) },
                "--rounds" => options with { Rounds = (int)Number("--rounds", value, RoundsMax) },
                "--seconds" => options with { Seconds = Number("--seconds", value, SecondsMax) },
                "--systems" => options with { Systems = Chosen("system", value, AllSystems) },
                "--workloads" => options with { Workloads = [.. value.Split(',').Select(Workload.Named)] },
                "--parts" => options with { Parts = Chosen("part", value, AllParts) },
                var unknown => throw new LabException($"Unknown option '{unknown}'. Usage: {Usage}"),
            };
        }
        return options;
    }

    private static double Number(string option, string value, double max) =>
        double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && number > 0 && number <= max && (option != "--rounds" || number % 1 == 0)
            ? number
            : throw new LabException($"{option} wants a number above 0 and at most {max}, not '{value}'.");

    private static IReadOnlyList<string> Chosen(string what, string value, IReadOnlyList<string> all)
    {
        var chosen = value.Split(',');
        return chosen.FirstOrDefault(one => !all.Contains(one)) is { } unknown
            ? throw new LabException($"No {what} is called '{unknown}'; there are {string.Join(", ", all)}.")
            : [.. all.Where(chosen.Contains)];
    }
}
