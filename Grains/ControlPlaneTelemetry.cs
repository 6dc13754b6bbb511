using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Pollux.Grains;

/// <summary>Spans and figures of the control plane, source and meter <see cref="Name"/>.</summary>
public static class ControlPlaneTelemetry
{
    public const string Name = "Pollux.ControlPlane";

    internal static readonly ActivitySource Source = new(Name);

    private static readonly Meter Meter = new(Name);

    private static readonly Counter<long> Arbitrations = Meter.CreateCounter<long>(
        "pollux.arbitrations", "{arbitration}", "Requests to the arbiter, by change and outcome.");

    private static readonly Histogram<double> ArbitrationDuration = Meter.CreateHistogram<double>(
        "pollux.arbitration.duration", "s", "From the request's arrival at the grain to its durable decision.");

    /// <summary>Continues the host's trace if it sent one.</summary>
    internal static Activity? StartArbitration(string module, string change, string by, string? traceParent)
    {
        ActivityContext.TryParse(traceParent, null, isRemote: true, out var parent);
        var span = Source.StartActivity("arbitration", ActivityKind.Server, parent);
        span?.SetTag("pollux.module", module).SetTag("pollux.change", change).SetTag("pollux.host", by);
        return span;
    }

    internal static void Arbitrated(string change, string outcome, TimeSpan duration)
    {
        Arbitrations.Add(1, new("change", change), new("outcome", outcome));
        ArbitrationDuration.Record(duration.TotalSeconds, new KeyValuePair<string, object?>("change", change));
    }
}
