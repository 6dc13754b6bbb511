using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Telemetry;

/// <summary>What the meter <c>Pollux.Roles</c> shows of one module; filled by its runtime.</summary>
public readonly record struct RoleReading(Role Role, bool Ready, long Epoch, long LeaseUntilMs, string? VmState);

/// <summary>Metrics of roles and beacons, tagged with the module. Resyncs, dirty bytes and latencies are in <c>Pollux.Replication</c>.</summary>
public static class RoleMetrics
{
    private static readonly Meter Meter = new("Pollux.Roles");
    private static readonly ConcurrentDictionary<string, Func<RoleReading>> Modules = new();

    private static readonly Counter<long> BeaconsSent = Meter.CreateCounter<long>("pollux.beacons.sent", "{beacon}", "Beacons sent to the peer.");
    private static readonly Counter<long> BeaconsReceived = Meter.CreateCounter<long>("pollux.beacons.received", "{beacon}", "Beacons of the peer.");
    private static readonly Counter<long> BeaconsAnswered = Meter.CreateCounter<long>("pollux.beacons.answered", "{beacon}", "Own beacons that the peer answered.");
    private static readonly Counter<long> BeaconsMissed = Meter.CreateCounter<long>("pollux.beacons.missed", "{beacon}", "Own beacons without an answer when the next was sent.");

    static RoleMetrics()
    {
        Meter.CreateObservableGauge("pollux.role", Roles, "{module}", "1 for the present role of the module on this host.");
        Meter.CreateObservableGauge("pollux.epoch", () => Read((_, reading) => reading.Epoch), "{epoch}", "Epoch of the record that this host obeys.");
        Meter.CreateObservableGauge("pollux.lease.remaining", Leases, "s", "Remaining right to execute; absent where none is needed.");
        Meter.CreateObservableGauge("pollux.vm.running", () => Read((_, reading) => reading.VmState == "running" ? 1L : 0), "{vm}", "1 while the VM executes on this host.");
    }

    public static void Add(string module, Func<RoleReading> read) => Modules[module] = read;

    public static void Remove(string module) => Modules.TryRemove(module, out _);

    public static void Sent(string module, bool lastMissed)
    {
        var tag = new KeyValuePair<string, object?>("module", module);
        BeaconsSent.Add(1, tag);
        if (lastMissed)
            BeaconsMissed.Add(1, tag);
    }

    public static void Received(string module) => BeaconsReceived.Add(1, new KeyValuePair<string, object?>("module", module));

    public static void Answered(string module) => BeaconsAnswered.Add(1, new KeyValuePair<string, object?>("module", module));

    private static IEnumerable<Measurement<long>> Roles()
    {
        foreach (var (module, read) in Modules)
        {
            var reading = read();
            yield return new Measurement<long>(1,
                new("module", module), new("role", reading.Role.ToString().ToUpperInvariant()), new("ready", reading.Ready));
        }
    }

    private static IEnumerable<Measurement<double>> Leases()
    {
        foreach (var (module, read) in Modules)
        {
            if (read().LeaseUntilMs is > 0 and < long.MaxValue and var untilMs)
                yield return new Measurement<double>(Math.Max(0, untilMs - BootClock.NowMs) / 1000.0, new KeyValuePair<string, object?>("module", module));
        }
    }

    private static IEnumerable<Measurement<long>> Read(Func<string, RoleReading, long> value)
    {
        foreach (var (module, read) in Modules)
            yield return new Measurement<long>(value(module, read()), new KeyValuePair<string, object?>("module", module));
    }
}
