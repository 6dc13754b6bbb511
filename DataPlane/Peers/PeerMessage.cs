using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Peers;

/// <summary>One message between the two hosts of a cluster: exactly one of the parts is there. On the wire: length (4 bytes, little endian),
/// then JSON in UTF-8. The dialler sends <see cref="Hello"/> first and beacons and pings from then on; the acceptor answers each.</summary>
/// <param name="ContentOf">Incarnation of the record of the module that is prepared: a name may have been another module's a moment ago.</param>
/// <param name="ContentBytes">While a module is prepared: what its initial host's first directory holds, so that the other can check its room.</param>
/// <param name="FurtherContentBytes">What the directories after it hold; null: there are none.</param>
internal sealed record PeerMessage(
    PeerHello? Hello = null, string? Module = null, Beacon? Beacon = null, BeaconAnswer? Answer = null, long? Ping = null, long? Pong = null,
    Guid? ContentOf = null, long? ContentBytes = null, long[]? FurtherContentBytes = null)
{
    /// <summary>Largest message, bytes: a beacon has about 600, names included.</summary>
    public const int BytesMax = 16 * 1024;

    public const int LengthBytes = 4;

    public const int ProtocolVersion = 1;
}

/// <param name="Host">Grain key of the sender; must equal its certificate's.</param>
/// <param name="Network">Number of the acceptor's address that was dialled, from 1. A host of an earlier release knows only one.</param>
internal sealed record PeerHello(int ProtocolVersion, string Host, int Network = 1);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(PeerMessage))]
internal sealed partial class PeerJson : JsonSerializerContext;
