using System.Collections.Immutable;
using System.Text.Json;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.HostProtocol;

namespace Pollux.Gateway.Sessions;

/// <summary>Between the host protocol and the grains' contracts. What comes from a host is checked for completeness on the way.</summary>
/// <remarks>The methods that read a host's message throw <see cref="JsonException"/> naming the member that is missing or out of bounds.</remarks>
internal static class ProtocolMapping
{
    /// <summary>Entries of any list in a report but events: more is no report of a pair with 256 modules at most.</summary>
    private const int ListMax = 256;

    public static Grains.Abstractions.HostSession ToSession(HostHello hello, Guid sessionId, string publicKeyHash)
    {
        var capacity = Need(hello.Capacity, "hello.capacity");
        return new(sessionId, hello.Incarnation, publicKeyHash, Text(hello.SoftwareVersion, "hello.softwareVersion"),
            Text(hello.PeerAddress, "hello.peerAddress"), Text(hello.ReplicationAddress, "hello.replicationAddress"),
            capacity.Processors, capacity.MemoryBytes, capacity.Hypervisor)
        {
            Networks = hello.Networks is { } networks ? ToNetworks(networks) : null,
            DesiredVersion = Math.Max(0, hello.DesiredVersion),
        };
    }

    public static HostReport ToReport(ObservedState observed, string cluster) =>
        new(observed.DesiredVersion, observed.PeerReachable, List(observed.Modules, "modules", module => ToReport(module, cluster)))
        {
            Networks = observed.Networks is { } networks ? ToNetworks(networks) : [],
        };

    public static bool IsComplete(ArbitrationRequest request, string cluster) =>
        request is { Change: not null, Peer: not null }
        && GrainKey.TryParse(request.Module, out var moduleCluster, out _) && moduleCluster == cluster
        && request.TraceParent is null or { Length: <= 64 };

    public static ArbitrationCall ToCall(ArbitrationRequest request) => new(
        request.OperationId, request.RecordIncarnation, request.ExpectedEpoch, request.Change, request.By, request.Peer, request.TraceParent);

    public static ArbitrationAnswer ToAnswer(ArbitrationRequest request, ArbitrationResult result) => new(
        request.OperationId, request.Module, result.Granted ? "granted" : result.Undecided ? "unknown" : "refused",
        result.Record is { } record ? ToMessage(record) : null, result.Reason);

    public static DesiredState ToDesired(DesiredHost desired) => new(
        desired.Version,
        desired.Peer is { } peer ? ToPeer(peer, desired.PeerAddresses) : null,
        [.. desired.Modules.Select(order => ToDesired(order, desired.DetectionMs, desired.Link))])
    {
        ClusterText = desired.Policy is { } policy ? RecoveryMapping.ToText(policy) : null,
    };

    private static PeerHost ToPeer(string peer, HostAddresses addresses) => new(peer, addresses.PeerAddress, addresses.ReplicationAddress)
    {
        Networks = addresses.Networks is { } networks
            ? [.. networks.Select(network => new HostProtocol.HostNetwork(network.PeerAddress, network.ReplicationAddress))]
            : null,
    };

    private static ImmutableArray<Grains.Abstractions.HostNetwork> ToNetworks(ImmutableArray<HostProtocol.HostNetwork> networks) =>
        List(Bounded(networks, "hello.networks"), "hello.networks", network => new Grains.Abstractions.HostNetwork(
            Text(network.PeerAddress, "hello.networks[].peerAddress"), Text(network.ReplicationAddress, "hello.networks[].replicationAddress")));

    private static ImmutableArray<NetworkReport> ToNetworks(ImmutableArray<ObservedNetwork> networks) =>
        List(Bounded(networks, "networks"), "networks", network => new NetworkReport(
            network.Number, Text(network.PeerAddress, "networks[].peerAddress"), network.Up, network.SilentMs, network.RoundTripMicroseconds,
            Text(network.Status, "networks[].status")));

    private static ImmutableArray<T> Bounded<T>(ImmutableArray<T> networks, string name) =>
        networks.IsDefault || networks.Length <= HostProtocol.HostNetwork.CountMax ? networks
        : throw new JsonException($"{name} has {networks.Length} entries; {HostProtocol.HostNetwork.CountMax} are the most.");

    private static DesiredModule ToDesired(ModuleOrder order, long detectionMs, LinkSecurity link) => new(
        order.Module,
        order.Phase == Grains.Abstractions.ModulePhase.Active ? HostProtocol.ModulePhase.Active : HostProtocol.ModulePhase.Preparing,
        order.Spec.Directory,
        order.Spec.Vm is { } vm ? new VmSpec(vm.Domain, vm.DefinitionFile) : null,
        GrainKey.Of(GrainKey.ClusterOf(order.Module), order.Spec.InitialHost),
        detectionMs,
        order.Run,
        ToMessage(order.Record),
        order.Command is { } command ? new ModuleCommand(command.OperationId, command.Kind) : null,
        link == LinkSecurity.Plaintext ? DesiredModule.PlaintextLink : DesiredModule.TlsLink,
        order.Spec.Resync is { } resync ? new ResyncLimitsMessage(resync.BytesPerSecondMin, resync.BytesPerSecondMax) : null,
        order.Verify is { } verify ? new VerifyOrder(verify.OperationId, verify.Host, verify.Repair, verify.BytesPerSecondMax, verify.Stop) : null)
    {
        FurtherDirectories = order.Spec.Directories[1..],
        SpecText = RecoveryMapping.ToText(order.Spec),
        Policy = ToMessage(order.Spec.PolicyInForce),
        Starts = order.Starts,
        WantedPrimary = order.Wanted?.Host,
        WantedEpoch = order.Wanted?.Epoch ?? 0,
        Checkers = [.. order.Spec.CheckersInForce.Select(checker => new CheckerMessage(
            checker.Name, checker.Kind, checker.Target, checker.EveryMs, checker.TimeoutMs, checker.Failures, checker.GraceMs, checker.Then))],
    };

    private static ModulePolicyMessage ToMessage(ModulePolicy policy) =>
        new(policy.FailoverOff, policy.StaysDownAtBoot, policy.RestartsMax, policy.RestartWindowMs, policy.StartPriority) { ChecksOff = policy.ChecksOff };

    private static RecordMessage ToMessage(RecordView record) => new(record.Incarnation, record.Epoch, record.Primary, record.InSync) { Declared = record.Declared };

    private static ModuleReport ToReport(ObservedModule module, string cluster)
    {
        if (!GrainKey.TryParse(module.Module, out var moduleCluster, out _) || moduleCluster != cluster)
            throw new JsonException($"observed.modules[].module is not a module of cluster {cluster}.");
        return new(
            module.Module, Text(module.Role, "role"), module.Ready, Text(module.DataState, "dataState"),
            ToView(Need(module.Record, "record")), Text(module.Code, "code"), Need(module.Cause, "cause"), module.SinceUnixMs, module.VmState,
            ToReport(Need(module.Replication, "replication")),
            module.Preparation is { } verdict ? new PreparationReport(verdict.Accepted, verdict.Problem is { } problem ? ToProblem(problem) : null) : null,
            List(module.Problems, "problems", ToProblem),
            List(module.Events, "events", e => new EventReport(e.UnixMs, Text(e.Kind, "kind"), Need(e.Text, "text"), e.TraceId)),
            List(module.CommandResults, "commandResults", r => new CommandReport(r.OperationId, r.Succeeded, Need(r.Reason, "reason"))),
            module.Verify is { } verify ? ToReport(verify) : null)
        {
            Checkers = module.Checkers is { } checkers
                ? List(checkers, "checkers", checker => new CheckerReport(
                    Text(checker.Name, "checkers[].name"), Text(checker.State, "checkers[].state"), checker.SinceUnixMs, checker.FailuresInRow,
                    Need(checker.Reason, "checkers[].reason"), Need(checker.Next, "checkers[].next")))
                : null,
        };
    }

    private static RecordView ToView(RecordMessage record) => new(
        record.Incarnation, record.Epoch, record.Primary, List(record.InSync, "inSync", host => Text(host, "inSync[]"))) { Declared = record.Declared };

    private static ReplicationReport ToReport(ObservedReplication replication) => new(
        replication.SessionUp, replication.Resyncing, replication.FullResync, replication.DirtyBytes, replication.ResyncTotalBytes,
        replication.ResyncDoneBytes, double.IsFinite(replication.ResyncBytesPerSecond) ? replication.ResyncBytesPerSecond : 0,
        replication.HeldOperations, replication.WaitingFor, replication.ResyncSkippedBytes, replication.ResyncLeftBytes,
        replication.ResyncRemainingSeconds is { } seconds && double.IsFinite(seconds) ? seconds : null,
        replication.ResyncLimits is { } limits ? new ResyncPolicy(limits.BytesPerSecondMin, limits.BytesPerSecondMax) : null)
    {
        Network = replication.Network,
    };

    private static VerifyReport ToReport(ObservedVerify verify) => new(
        verify.OperationId, Text(verify.State, "verify.state"), verify.Repair, verify.StartedUnixMs, verify.EndedUnixMs, verify.Reason,
        verify.BytesPerSecondMax, verify.TotalBytes, verify.DoneBytes, verify.SkippedBytes, verify.DifferentBytes, verify.RepairedBytes,
        verify.TotalEntries, verify.DoneEntries, verify.DifferentEntries, verify.Repaired, verify.ResyncFollows,
        List(verify.Differences, "verify.differences", difference => new DifferenceReport(
            Need(difference.Path, "path"), difference.OffsetBytes, difference.LengthBytes, Text(difference.What, "what"))),
        verify.MoreDifferences);

    private static Problem ToProblem(ObservedProblem problem) => new(
        Text(problem.Code, "code"), Need(problem.Title, "title"), Need(problem.Impact, "impact"), Need(problem.Cause, "cause"), Need(problem.Action, "action"));

    private static ImmutableArray<TOut> List<TIn, TOut>(ImmutableArray<TIn> list, string name, Func<TIn, TOut> map)
    {
        if (list.IsDefault) throw new JsonException($"{name} is missing.");
        if (list.Length > ListMax) throw new JsonException($"{name} has {list.Length} entries; {ListMax} are the most.");
        return [.. list.Select(entry => map(entry is null ? throw new JsonException($"{name} has an empty entry.") : entry))];
    }

    private static T Need<T>(T? value, string name) where T : class => value ?? throw new JsonException($"{name} is missing.");

    private static string Text(string? value, string name) => value is null or "" ? throw new JsonException($"{name} is missing.") : value;
}
