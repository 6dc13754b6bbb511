using System.Text.Json;
using System.Text.Json.Serialization;

namespace Pollux.DataPlane.Modules;

/// <summary>What may be asked of a host by its local socket, with or without a control plane.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "ask")]
[JsonDerivedType(typeof(AskStatus), "status")]
[JsonDerivedType(typeof(AskVerify), "verify")]
[JsonDerivedType(typeof(AskVerifyStop), "verify-stop")]
[JsonDerivedType(typeof(AskResyncLimits), "resync-limits")]
internal abstract record LocalQuestion
{
    public byte[] Write() => JsonSerializer.SerializeToUtf8Bytes(this, LocalJson.Default.LocalQuestion);

    /// <summary>Null: not understood.</summary>
    public static LocalQuestion? Read(ReadOnlyMemory<byte> question)
    {
        if (question.IsEmpty)
            return new AskStatus();
        try
        {
            return JsonSerializer.Deserialize(question.Span, LocalJson.Default.LocalQuestion);
        }
        catch (Exception e) when (e is JsonException or NotSupportedException)
        {
            return null;
        }
    }
}

internal sealed record AskStatus : LocalQuestion;

/// <param name="Module">CLUSTER/MODULE, or MODULE if that is clear.</param>
/// <param name="BytesPerSecondMax">0: no limit.</param>
internal sealed record AskVerify(string Module, bool Repair, long BytesPerSecondMax) : LocalQuestion;

internal sealed record AskVerifyStop(string Module) : LocalQuestion;

/// <param name="BytesPerSecondMax">0: no limit.</param>
internal sealed record AskResyncLimits(string Module, long BytesPerSecondMin, long BytesPerSecondMax) : LocalQuestion;

/// <summary>The answer to everything but a question for the status.</summary>
/// <param name="Code">Of what is wrong, stable; null if it was done.</param>
/// <param name="Text">For people.</param>
internal sealed record LocalAnswer(string? Code, string Text);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, AllowOutOfOrderMetadataProperties = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(LocalQuestion))]
[JsonSerializable(typeof(LocalAnswer))]
internal sealed partial class LocalJson : JsonSerializerContext;
