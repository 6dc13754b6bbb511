using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Pollux.DataPlane.Replication;

/// <summary>Instruments of all modules of this process; each measurement carries the tag <c>module</c>.</summary>
internal static class ReplicationMetrics
{
    public const string MeterName = "Pollux.Replication";

    /// <summary>Sessions and resyncs are spans; single writes are not.</summary>
    public static readonly ActivitySource Source = new("Pollux.Replication");

    private static readonly Meter Meter = new(MeterName);
    private static readonly Lock ModulesLock = new();
    private static readonly List<ReplicationEngine> Modules = [];

    public static readonly Histogram<double> WriteDuration = Meter.CreateHistogram<double>(
        "pollux.replication.write.duration", "s", "From the front end's write to its completion");

    public static readonly Histogram<double> FlushDuration = Meter.CreateHistogram<double>(
        "pollux.replication.flush.duration", "s",
        "On the primary from the front end's flush to its completion, on the secondary of its own copy");

    public static readonly ObservableCounter<long> Sent = Meter.CreateObservableCounter(
        "pollux.replication.sent.bytes", () => Observe(static status => status.ReplicatedBytes), "By", "Sent to the peer");

    public static readonly ObservableGauge<long> Dirty = Meter.CreateObservableGauge(
        "pollux.replication.dirty.bytes", () => Observe(static status => status.DirtyBytes), "By", "May differ from the peer and is not yet copied");

    public static readonly ObservableGauge<long> Held = Meter.CreateObservableGauge(
        "pollux.replication.held.operations", () => Observe(static status => status.HeldOperations), "{operation}",
        "Operations that wait for the peer, the arbiter or an unfreeze");

    public static readonly ObservableCounter<long> Resynced = Meter.CreateObservableCounter(
        "pollux.replication.resync.bytes", () => Observe(static status => status.Resync.SentBytes), "By", "Data sent by resyncs and repairs");

    public static readonly ObservableGauge<long> ResyncLeft = Meter.CreateObservableGauge(
        "pollux.replication.resync.left.bytes", () => Observe(static status => status.Resyncing ? Math.Max(0, status.Resync.LeftBytes) : 0), "By",
        "Left of the resync that runs");

    public static readonly ObservableGauge<long> VerifyLeft = Meter.CreateObservableGauge(
        "pollux.replication.verify.left.bytes",
        () => Observe(static status => status.Verify is { Status.Running: true } verify ? verify.Status.TotalBytes - verify.Status.DoneBytes : 0), "By",
        "Not yet compared by the verify that runs");

    public static readonly ObservableGauge<long> Different = Meter.CreateObservableGauge(
        "pollux.replication.verify.different.bytes",
        () => Observe(static status => status.Verify is { } verify ? verify.Status.DifferentBytes - verify.Status.RepairedBytes : 0), "By",
        "Found to differ by the last verify and not repaired by it");

    public static void Add(ReplicationEngine engine)
    {
        lock (ModulesLock)
            Modules.Add(engine);
    }

    public static void Remove(ReplicationEngine engine)
    {
        lock (ModulesLock)
            Modules.Remove(engine);
    }

    private static List<Measurement<long>> Observe(Func<ReplicationStatus, long> value)
    {
        lock (ModulesLock)
            return Modules.ConvertAll(engine => new Measurement<long>(value(engine.Status), engine.ModuleTag));
    }
}
