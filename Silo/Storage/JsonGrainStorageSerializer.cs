using System.Text.Json;
using System.Text.Json.Serialization;
using Orleans.Storage;

namespace Pollux.Silo.Storage;

/// <summary>
/// Grain state as JSON without CLR type names, so that types can be renamed and rows read by people. Members that a row
/// has and the type lacks are ignored: an older version may read what a newer one wrote, and loses those on writing.
/// </summary>
public sealed class JsonGrainStorageSerializer : IGrainStorageSerializer
{
    private static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter() },
    };

    public BinaryData Serialize<T>(T? input) => new(JsonSerializer.SerializeToUtf8Bytes(input, Options));

    public T? Deserialize<T>(BinaryData input) => JsonSerializer.Deserialize<T>(input.ToMemory().Span, Options);
}
