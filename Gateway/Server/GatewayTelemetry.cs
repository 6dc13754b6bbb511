using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Pollux.Gateway.Server;

/// <summary>Spans and figures of the gateway, source and meter <see cref="Name"/>.</summary>
public static class GatewayTelemetry
{
    public const string Name = "Pollux.Gateway";

    internal static readonly ActivitySource Source = new(Name);

    private static readonly Meter Meter = new(Name);

    internal static readonly UpDownCounter<long> Sessions = Meter.CreateUpDownCounter<long>(
        "pollux.host.sessions", "{session}", "Open host sessions.");

    internal static readonly Counter<long> Messages = Meter.CreateCounter<long>(
        "pollux.host.messages", "{message}", "Messages from hosts, by type.");

    internal static readonly Counter<long> SessionsRefused = Meter.CreateCounter<long>(
        "pollux.host.sessions.refused", "{session}", "Sessions refused or ended by the gateway, by code.");

    internal static readonly Histogram<double> ArbitrationDuration = Meter.CreateHistogram<double>(
        "pollux.gateway.arbitration.duration", "s", "From a host's request to the answer's way into its session, by outcome.");
}
