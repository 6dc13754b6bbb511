using System.Collections.Immutable;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Peers;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>What comes in from the control plane and from the peer, and the ways out of a module. Nothing here blocks.</summary>
public sealed partial class DataPlaneHost : IControlEvents, IPeerEvents, IModuleLinks
{
    /// <summary>Events in one observed state, over all modules: some 500 bytes each, half of the message limit of 1 MiB.</summary>
    private const int EventsTotalMax = 1_024;

    void IControlEvents.Connected() => Wake();

    void IControlEvents.DesiredChanged(DesiredState desired)
    {
        if (desired.Modules.IsDefault)
        {
            HostLog.Error("control", "a desired state without modules was ignored", ("version", desired.Version));
            return;
        }

        try
        {
            _cache.Save(desired);
        }
        catch (IOException e)
        {
            // Acted on all the same: it is the operator's wish now; only a restart without the control plane would miss it.
            HostLog.Error("control", "the desired state cannot be stored", ("reason", e.Message));
        }

        _desired = desired;
        Wake();
    }

    void IControlEvents.RecoverAsked(Recover question) => _ = RecoverAsync(question);

    void IControlEvents.Arbitrated(ArbitrationAnswer answer)
    {
        var outcome = answer.Outcome switch
        {
            "granted" => ArbiterOutcome.Granted,
            "refused" => ArbiterOutcome.Refused,
            _ => ArbiterOutcome.Unknown,
        };
        if (_slots.TryGetValue(answer.Module, out var slot) && slot.Runtime is { } runtime)
            runtime.Put(new RoleInput.ArbiterAnswered(new ArbiterAnswer(answer.OperationId, outcome, ToRecord(answer.Record), answer.Reason)));
    }

    ObservedState IControlEvents.Observe() => Observe();

    void IPeerEvents.BeaconReceived(string module, Beacon beacon)
    {
        if (_slots.TryGetValue(module, out var slot) && slot.Runtime is { } runtime)
            runtime.Put(new RoleInput.BeaconReceived(beacon));
    }

    void IPeerEvents.BeaconAnswered(string module, BeaconAnswer answer)
    {
        if (_slots.TryGetValue(module, out var slot) && slot.Runtime is { } runtime)
            runtime.Put(new RoleInput.BeaconAnswered(answer));
    }

    void IPeerEvents.ContentReceived(string module, Guid record, IReadOnlyList<long> contentBytes)
    {
        // Names that no desired state knows are not kept.
        if (_slots.ContainsKey(module))
            _contentOfPeer[module] = (record, contentBytes);
    }

    void IPeerEvents.PeerChanged() => _control.Changed();

    void IModuleLinks.Send(string module, Beacon beacon) => _peers.Send(module, beacon);

    void IModuleLinks.Answer(string module, BeaconAnswer answer) => _peers.Answer(module, answer);

    void IModuleLinks.Ask(string module, ArbiterRequest request, long deadlineMs, string? traceParent) => _control.Ask(
        new ArbitrationRequest(request.OperationId, module, request.RecordIncarnation, request.ExpectedEpoch,
            request.Change.ToString().ToLowerInvariant(), request.By, request.Peer, traceParent),
        deadlineMs);

    void IModuleLinks.Changed() => _control.Changed();

    private ObservedState Observe()
    {
        // Read first: what is said of the modules is at least as new as the version it is said to answer.
        var version = Interlocked.Read(ref _observedVersion);
        var modules = _slots.OrderBy(slot => slot.Key, StringComparer.Ordinal).Select(slot => slot.Value.Observe()).OfType<ObservedModule>().ToArray();
        var eventsMax = Math.Min(ObservedModule.EventsMax, EventsTotalMax / Math.Max(1, modules.Length));
        return new ObservedState(version, _peers.PeerReachable,
            [.. modules.Select(module => module.Events.Length <= eventsMax ? module : module with { Events = module.Events[^eventsMax..] })])
        {
            Networks = ObserveNetworks(),
        };
    }

    private ImmutableArray<ObservedNetwork> ObserveNetworks()
    {
        var nowMs = BootClock.NowMs;
        return [.. _peers.Networks.Select(network =>
        {
            var reading = network.Read(nowMs);
            return new ObservedNetwork(
                network.Number, network.Address, reading.SteadyMs > 0 && reading.SilentMs < _peers.Tempo.SilenceMs, reading.SilentMs,
                (long?)network.RoundTrip?.TotalMicroseconds, network.Status);
        })];
    }

    /// <summary>Why the replication runs over another network than the first; null if it does not.</summary>
    private ObservedProblem? DescribeFallback(int network)
    {
        var networks = _peers.Networks;
        if (network <= 1 || networks.IsEmpty)
            return null;
        var preferred = networks[0];
        var silence = preferred.Read(BootClock.NowMs).SilentMs is { } silentMs ? $"last heard {silentMs / 1000.0:0.0} s ago" : "never heard";
        return new ObservedProblem("link.fallback", $"The replication runs over network {network} of {networks.Length}",
            networks.Length == 2 ? "Nothing is lost; there is no other network left to fall back on." : "Nothing is lost; there are fewer networks left to fall back on.",
            $"Network 1 ({preferred.Address}) was left: {preferred.Status}; {silence}.",
            "Mend the network. The replication goes back by itself when it has worked without a break for a while, and the copies are in sync.");
    }

    private static AuthorityRecord? ToRecord(RecordMessage? record) =>
        record is null ? null : new AuthorityRecord(record.Incarnation, record.Epoch, record.Primary, record.InSync) { Declared = record.Declared };
}
