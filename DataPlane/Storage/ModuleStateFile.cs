using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Storage;

/// <summary>What was read: the state to start from and, if the file was damaged, how. A damaged file gives
/// <see cref="LocalState.Fresh"/>, whose data state is Unknown: never silently clean.</summary>
public sealed record ModuleStateLoad(LocalState State, bool Existed, string? Damage);

/// <summary>The durable <see cref="LocalState"/> of one module.</summary>
/// <remarks>A <see cref="SealedFile"/> "PLXSTAT" of version 1 whose payload is JSON (UTF-8). It is replaced as a whole and flushed, with its
/// directory, before <see cref="Save"/> returns.</remarks>
public sealed class ModuleStateFile(string path)
{
    /// <summary>A state is some hundreds of bytes; whatever is much longer was not written by Pollux.</summary>
    public const int BytesMax = 64 * 1024;

    internal const int Version = 1;

    private readonly SealedFile file = new(path, "PLXSTAT\0", Version, "The state of a module", BytesMax);

    /// <exception cref="StorageException">A newer version wrote the file.</exception>
    /// <exception cref="IOException">The disk fails.</exception>
    public ModuleStateLoad Load()
    {
        if (file.Load() is not { } content)
            return new(LocalState.Fresh, Existed: false, null);
        if (content.Damage is { } damage)
            return new(LocalState.Fresh, Existed: true, damage);
        try
        {
            var state = JsonSerializer.Deserialize(content.Payload, StateJson.Default.LocalState);
            if (state is null)
                return Damaged("it is empty");
            var storedMs = (DateTime.UtcNow - File.GetLastWriteTimeUtc(path)).TotalMilliseconds;
            return new(state.Aged((long)storedMs), Existed: true, null);
        }
        catch (JsonException e)
        {
            return Damaged(e.Message);
        }

        ModuleStateLoad Damaged(string how) => new(LocalState.Fresh, Existed: true, $"{path} is damaged: {how}");
    }

    /// <summary>Returns when the state is durable.</summary>
    /// <exception cref="IOException">It may or may not be stored.</exception>
    public void Save(LocalState state)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        file.Save(JsonSerializer.SerializeToUtf8Bytes(state, StateJson.Default.LocalState));
    }
}

[JsonSourceGenerationOptions(RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true, UseStringEnumConverter = true)]
[JsonSerializable(typeof(LocalState))]
internal sealed partial class StateJson : JsonSerializerContext;
