using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace Pollux.DataPlane.Checkers;

/// <summary>Checkers in the meter <c>Pollux.Roles</c>, tagged with module and checker; only what is tested at the moment.</summary>
internal static class CheckerMetrics
{
    private static readonly Meter Meter = new("Pollux.Roles");
    private static readonly ConcurrentDictionary<string, Func<IEnumerable<(string Checker, bool IsWell, int FailuresInRow)>>> Modules = new();

    static CheckerMetrics()
    {
        Meter.CreateObservableGauge("pollux.checker.well", () => Read(static checker => checker.IsWell ? 1 : 0), "{checker}", "1 while the checker's last test was well.");
        Meter.CreateObservableGauge("pollux.checker.failures", () => Read(static checker => checker.FailuresInRow), "{failure}", "Failures of the checker in a row.");
    }

    public static void Add(string module, Func<IEnumerable<(string Checker, bool IsWell, int FailuresInRow)>> read) => Modules[module] = read;

    public static void Remove(string module) => Modules.TryRemove(module, out _);

    private static IEnumerable<Measurement<int>> Read(Func<(string Checker, bool IsWell, int FailuresInRow), int> value)
    {
        foreach (var (module, read) in Modules)
        {
            foreach (var checker in read())
                yield return new Measurement<int>(value(checker), new KeyValuePair<string, object?>("module", module), new("checker", checker.Checker));
        }
    }
}
