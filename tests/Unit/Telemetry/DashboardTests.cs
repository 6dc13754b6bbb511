using System.Diagnostics.Metrics;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Pollux.Tests.Unit.Telemetry;

public sealed partial class DashboardTests
{
    [Fact]
    public void Every_metric_that_the_dashboard_queries_is_published()
    {
        var published = PublishedNames();
        var queried = QueriedNames(Path.Combine(RepositoryRoot(), "otel", "dashboards", "pollux.json"));

        Assert.True(queried.Count >= 15, $"Only {queried.Count} metrics are queried.");
        Assert.Empty(queried.Except(published));
    }

    [Fact]
    public void Every_published_metric_is_on_the_dashboard()
    {
        var queried = QueriedNames(Path.Combine(RepositoryRoot(), "otel", "dashboards", "pollux.json"));
        var bases = PublishedNames().Where(name => !name.EndsWith("_sum", StringComparison.Ordinal) && !name.EndsWith("_count", StringComparison.Ordinal));

        // What is received is what the peer has sent: one of the two is enough on a screen.
        Assert.Empty(bases.Except(queried).Except(["pollux_beacons_received_total"]));
    }

    private static HashSet<string> QueriedNames(string file)
    {
        using var dashboard = JsonDocument.Parse(File.ReadAllText(file));
        var expressions = dashboard.RootElement.GetProperty("panels").EnumerateArray()
            .Where(panel => panel.TryGetProperty("targets", out _))
            .SelectMany(panel => panel.GetProperty("targets").EnumerateArray())
            .Select(target => target.GetProperty("expr").GetString()!);
        return [.. expressions.SelectMany(expression => MetricName().Matches(expression)).Select(match => match.Value)];
    }

    /// <summary>Names as the collector's Prometheus exporter writes them (OpenTelemetry specification, Prometheus compatibility).</summary>
    private static HashSet<string> PublishedNames()
    {
        var names = new HashSet<string>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, _) =>
            {
                if (!instrument.Meter.Name.StartsWith("Pollux.", StringComparison.Ordinal))
                    return;
                var unit = instrument.Unit switch { "s" => "_seconds", "By" => "_bytes", _ => "" };
                var name = instrument.Name.Replace('.', '_');
                name = name.EndsWith(unit, StringComparison.Ordinal) ? name : name + unit;
                var kind = instrument.GetType().Name;
                string[] suffixes = kind.StartsWith("Histogram", StringComparison.Ordinal) ? ["_bucket", "_sum", "_count"]
                    : kind.StartsWith("Counter", StringComparison.Ordinal) || kind.StartsWith("ObservableCounter", StringComparison.Ordinal) ? ["_total"]
                    : [""];
                foreach (var suffix in suffixes)
                    names.Add(name + suffix);
            },
        };
        listener.Start();
        Assembly[] programs = [Assembly.Load("pollux-host"), Assembly.Load("pollux"), Assembly.Load("Pollux.Grains")];
        foreach (var type in programs.SelectMany(program => program.GetTypes()).Where(HoldsMeter))
            RuntimeHelpers.RunClassConstructor(type.TypeHandle);
        return names;
    }

    private static bool HoldsMeter(Type type) =>
        type.GetFields(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic).Any(field => field.FieldType == typeof(Meter));

    private static string RepositoryRoot()
    {
        var directory = new DirectoryInfo(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "Orleans.sln")))
            directory = directory.Parent;
        return directory?.FullName ?? throw new DirectoryNotFoundException("The repository's root is not above the tests.");
    }

    [GeneratedRegex("pollux_[a-z_]+")]
    private static partial Regex MetricName();
}
