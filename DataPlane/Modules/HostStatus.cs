using System.Text.Json.Serialization;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>What one host knows of itself; given by its local socket, with or without a control plane.</summary>
/// <param name="Control">State of the link to the control plane, for people.</param>
/// <param name="PeerLink">State of the link to the peer, for people.</param>
/// <param name="AllocatedBytes">Managed memory that this process has allocated since its start: a benchmark holds it against operations.</param>
public sealed record HostStatus(
    string Host, string Control, string? Peer, string PeerLink, bool PeerReachable, string? Hypervisor, bool LostPower, long AllocatedBytes,
    ObservedState Observed);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, WriteIndented = true)]
[JsonSerializable(typeof(HostStatus))]
internal sealed partial class HostStatusJson : JsonSerializerContext;
