using System.Text.Json;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Control;

/// <summary>The last desired state, durable: a host that starts while the control plane is away knows its modules and its peer.</summary>
/// <remarks>A sealed file "PLXDESI" of version 1 whose payload is the message as JSON. Before it there was the bare JSON as
/// <c>desired.json</c>, which is still read where the newer file is not there, and goes with the next store.</remarks>
public sealed class DesiredStateCache(string dataDirectory)
{
    /// <summary>32 modules are some tens of kilobytes; the messages of the control plane are bounded by 16 MiB.</summary>
    private const int BytesMax = 16 << 20;

    private readonly SealedFile _file = new(Path.Combine(dataDirectory, "desired"), "PLXDESI\0", 1, "The stored desired state", BytesMax);
    private readonly string _unsealed = Path.Combine(dataDirectory, "desired.json");
    private byte[]? _stored;

    /// <returns>Null if there is none, or if it cannot be trusted: the host then waits for the control plane, whose word replaces it.</returns>
    public DesiredState? Load()
    {
        try
        {
            var content = _file.Load();
            if (content is { Damage: { } damage })
                throw new JsonException(damage);
            _stored = content?.Payload;
            var json = _stored ?? (File.Exists(_unsealed) ? File.ReadAllBytes(_unsealed) : null);
            return json is null ? null : JsonSerializer.Deserialize(json, HostProtocolJson.Default.GatewayMessage) as DesiredState;
        }
        catch (Exception e) when (e is JsonException or NotSupportedException or StorageException { Fault: StorageFault.NewerVersion })
        {
            HostLog.Error("control", "the stored desired state cannot be read; waiting for the control plane", ("reason", e.Message));
            return null;
        }
    }

    /// <summary>Stores it durably unless it says what is stored already.</summary>
    public void Save(DesiredState desired)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes<GatewayMessage>(desired, HostProtocolJson.Default.GatewayMessage);
        if (_stored is { } stored && json.AsSpan().SequenceEqual(stored))
            return;
        _file.Save(json);
        _stored = json;
        File.Delete(_unsealed);
    }
}
