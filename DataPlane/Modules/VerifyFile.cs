using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>Where the newest verify of a module is kept, so that its outcome outlives the process.</summary>
public interface IVerifyStore
{
    /// <summary>Null: none was ever run here, or nothing readable is left of it.</summary>
    ObservedVerify? Load();

    /// <exception cref="IOException">It may or may not have been stored.</exception>
    void Save(ObservedVerify verify);
}

/// <summary>A <see cref="SealedFile"/> "PLXVRFY" of version 1 whose payload is JSON (UTF-8).</summary>
public sealed class VerifyFile(string directory) : IVerifyStore
{
    /// <summary>Twenty differences with paths of some hundred bytes are 10 KiB.</summary>
    private const int BytesMax = 256 * 1024;

    private readonly SealedFile _file = new(Path.Combine(directory, "verify"), "PLXVRFY\0", version: 1, "The outcome of a verify", BytesMax);

    public ObservedVerify? Load()
    {
        try
        {
            if (_file.Load() is not { } content)
                return null;
            if (content.Damage is null)
                return JsonSerializer.Deserialize(content.Payload, VerifyJson.Default.ObservedVerify);
            HostLog.Warn("modules", "the outcome of the last verify is lost", ("damage", content.Damage));
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            // It is a report, no state that anything depends on.
            HostLog.Warn("modules", "the outcome of the last verify is lost", ("reason", e.Message));
        }
        return null;
    }

    public void Save(ObservedVerify verify) => _file.Save(JsonSerializer.SerializeToUtf8Bytes(verify, VerifyJson.Default.ObservedVerify));
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ObservedVerify))]
internal sealed partial class VerifyJson : JsonSerializerContext;
