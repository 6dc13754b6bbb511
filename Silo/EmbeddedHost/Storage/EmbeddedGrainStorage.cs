using System.Globalization;
using System.Text.Json;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>Grain states in the tables of the host. The ETag is the row's version in decimal.</summary>
internal sealed class EmbeddedGrainStorage(EmbeddedStore store, IGrainStorageSerializer serializer) : IGrainStorage
{
    public async Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        var row = await store.ReadAsync(stateName, grainId.Key.Value);
        grainState.ETag = row?.Version.ToString(CultureInfo.InvariantCulture);
        grainState.RecordExists = row?.Payload is not null;
        grainState.State = row?.Payload is { } payload ? serializer.Deserialize<T>(BinaryData.FromString(payload)) : default;
    }

    public async Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        await CompareAndSetAsync(stateName, grainId, grainState, serializer.Serialize(grainState.State).ToString());
        grainState.RecordExists = true;
    }

    public async Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState)
    {
        if (grainState.ETag is null && await store.ReadAsync(stateName, grainId.Key.Value) is null)
            return;
        await CompareAndSetAsync(stateName, grainId, grainState, payload: null);
        grainState.RecordExists = false;
        grainState.State = default;
    }

    private async Task CompareAndSetAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState, string? payload)
    {
        long? expected = grainState.ETag is { } etag ? long.Parse(etag, CultureInfo.InvariantCulture) : null;
        var version = await store.CompareAndSetAsync(stateName, grainId.Key.Value, expected, payload);
        if (version is null)
        {
            var stored = await store.ReadAsync(stateName, grainId.Key.Value);
            throw new InconsistentStateException(
                $"State '{stateName}' of {grainId} was changed by somebody else.",
                stored?.Version.ToString(CultureInfo.InvariantCulture),
                grainState.ETag);
        }

        grainState.ETag = version.Value.ToString(CultureInfo.InvariantCulture);
    }
}

/// <summary>JSON without CLR type names: the serializer if the application registers none.</summary>
internal sealed class PlainJsonSerializer : IGrainStorageSerializer
{
    public BinaryData Serialize<T>(T? input) => new(JsonSerializer.SerializeToUtf8Bytes(input));

    public T? Deserialize<T>(BinaryData input) => JsonSerializer.Deserialize<T>(input.ToMemory().Span);
}
