using System.Text.Json.Serialization;

namespace Pollux.HostProtocol;

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, AllowOutOfOrderMetadataProperties = true)]
[JsonSerializable(typeof(HostMessage))]
[JsonSerializable(typeof(GatewayMessage))]
public sealed partial class HostProtocolJson : JsonSerializerContext;
