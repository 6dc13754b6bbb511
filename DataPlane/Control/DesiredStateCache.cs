using System.Text.Json;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Control;

/// <summary>The last desired state, durable: a host that starts while the control plane is away knows its modules and its peer.</summary>
public sealed class DesiredStateCache(string dataDirectory)
{
    private readonly string _path = Path.Combine(dataDirectory, "desired.json");
    private string? _stored;

    /// <returns>Null if there is none, or if it cannot be read: the host then waits for the control plane.</returns>
    public DesiredState? Load()
    {
        try
        {
            _stored = File.ReadAllText(_path);
            return JsonSerializer.Deserialize(_stored, HostProtocolJson.Default.GatewayMessage) as DesiredState;
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is JsonException or NotSupportedException)
        {
            HostLog.Error("control", "the stored desired state cannot be read; waiting for the control plane", ("reason", e.Message));
            return null;
        }
    }

    /// <summary>Stores it durably unless it says what is stored already.</summary>
    public void Save(DesiredState desired)
    {
        var text = JsonSerializer.Serialize<GatewayMessage>(desired, HostProtocolJson.Default.GatewayMessage);
        if (text == _stored)
            return;
        DurableFile.Replace(_path, text);
        _stored = text;
    }
}
