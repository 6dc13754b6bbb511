using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Storage;

/// <summary>What was read: the state to start from and, if the file was damaged, how. A damaged file gives
/// <see cref="LocalState.Fresh"/>, whose data state is Unknown: never silently clean.</summary>
public sealed record ModuleStateLoad(LocalState State, bool Existed, string? Damage);

/// <summary>The durable <see cref="LocalState"/> of one module.</summary>
/// <remarks>
/// <code>
///   "PLXSTAT\0", u32 version, u32 length, length bytes of JSON (UTF-8), u32 CRC-32C over all bytes before it
/// </code>
/// Little endian. The file is replaced as a whole and flushed, with its directory, before <see cref="Save"/> returns.
/// </remarks>
public sealed class ModuleStateFile(string path)
{
    /// <summary>A state is some hundreds of bytes; whatever is much longer was not written by Pollux.</summary>
    public const int BytesMax = 64 * 1024;

    private const int Version = 1;
    private const int HeaderBytes = 16;
    private const int ChecksumBytes = 4;

    private static ReadOnlySpan<byte> Magic => "PLXSTAT\0"u8;

    /// <exception cref="StorageException">A newer version wrote the file.</exception>
    /// <exception cref="IOException">The disk fails.</exception>
    public ModuleStateLoad Load()
    {
        byte[] image;
        try
        {
            image = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return new(LocalState.Fresh, Existed: false, null);
        }
        if (image.Length is < HeaderBytes + ChecksumBytes or > BytesMax || !image.AsSpan().StartsWith(Magic))
            return Damaged("it is no state file of Pollux");
        if (Crc32C.Compute(image.AsSpan(0, image.Length - ChecksumBytes)) != BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(image.Length - ChecksumBytes)))
            return Damaged("its checksum is wrong");
        var version = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(8));
        if (version > Version)
            throw new StorageException(StorageFault.NewerVersion, $"{path} has version {version}; this pollux-host knows versions up to {Version}. Install the newer one again.");
        if (BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(12)) != image.Length - HeaderBytes - ChecksumBytes)
            return Damaged("it has another length than its header says");
        try
        {
            var state = JsonSerializer.Deserialize(image.AsSpan(HeaderBytes, image.Length - HeaderBytes - ChecksumBytes), StateJson.Default.LocalState);
            return state is null ? Damaged("it is empty") : new(state, Existed: true, null);
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
        var json = JsonSerializer.SerializeToUtf8Bytes(state, StateJson.Default.LocalState);
        var image = new byte[HeaderBytes + json.Length + ChecksumBytes];
        Magic.CopyTo(image);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(8), Version);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(12), json.Length);
        json.CopyTo(image, HeaderBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(HeaderBytes + json.Length), Crc32C.Compute(image.AsSpan(0, HeaderBytes + json.Length)));
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        DurableFile.Replace(path, image);
    }
}

[JsonSourceGenerationOptions(RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true, UseStringEnumConverter = true)]
[JsonSerializable(typeof(LocalState))]
internal sealed partial class StateJson : JsonSerializerContext;
