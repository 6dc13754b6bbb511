using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Pollux.DataPlane.Telemetry;

/// <summary>Exports traces and metrics by OTLP when <c>OTEL_EXPORTER_OTLP_ENDPOINT</c> is set (OpenTelemetry's environment variables for
/// exporters apply). Without it nothing is loaded.</summary>
public sealed class TelemetryExport : IDisposable
{
    private readonly TracerProvider _traces;
    private readonly MeterProvider _metrics;

    private TelemetryExport(string host)
    {
        var resource = ResourceBuilder.CreateDefault().AddService("pollux-host", serviceInstanceId: host);
        _traces = Sdk.CreateTracerProviderBuilder().SetResourceBuilder(resource)
            .AddSource("Pollux.Roles", "Pollux.Replication", "Pollux.Hypervisor").AddOtlpExporter().Build();
        _metrics = Sdk.CreateMeterProviderBuilder().SetResourceBuilder(resource)
            .AddMeter("Pollux.Roles", "Pollux.Replication", "Pollux.Peers", "System.Runtime").AddOtlpExporter().Build();
    }

    public static TelemetryExport? StartIfConfigured(string host) =>
        string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT")) ? null : new TelemetryExport(host);

    public void Dispose()
    {
        _traces.Dispose();
        _metrics.Dispose();
    }
}
