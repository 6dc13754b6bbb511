using System.Collections.Immutable;

namespace Pollux.HostProtocol;

/// <summary>The control plane was declared restored, or lost its database: the host shall say what it knows durably. Sent instead of a desired
/// state, and only to hosts whose hello says <see cref="HostHello.Recovers"/>; until a desired state comes they go on as they are.</summary>
/// <param name="Generation">Number of the declaration; to be repeated in the answer.</param>
public sealed record Recover(long Generation) : GatewayMessage;

/// <summary>What a host has stored, put together after <see cref="Recover"/> arrived: all that came from an arbiter before it is in it.</summary>
/// <param name="Peer">Grain key of the other host, <c>cluster/host</c>, or null if it knows none.</param>
/// <param name="ClusterText">As in <see cref="DesiredState.ClusterText"/>.</param>
/// <param name="Modules">Every accepted module that this host was ever told to have and not to release.</param>
public sealed record Recovered(long Generation, string? Peer, string? ClusterText, ImmutableArray<RecoveredModule> Modules) : HostMessage;

/// <param name="Order">The newest order that the host has stored.</param>
/// <param name="Record">The newest record that the host has stored; null if it has none, or none that is readable.</param>
/// <param name="DataState">Of its copy, as in <see cref="ObservedModule.DataState"/>.</param>
public sealed record RecoveredModule(DesiredModule Order, RecordMessage? Record, string DataState);
