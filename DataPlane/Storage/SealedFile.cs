using System.Buffers.Binary;
using Pollux.DataPlane.Core;

namespace Pollux.DataPlane.Storage;

/// <summary>What was read: the payload, or how the file is damaged.</summary>
internal sealed record SealedContent(int Version, byte[] Payload, string? Damage);

/// <summary>A small durable file with a version and a checksum, replaced as a whole: after a crash either the old or the new content is
/// there, and a change of any byte is seen.</summary>
/// <remarks>
/// <code>
///   8 bytes magic, u32 version, u32 length, length bytes, u32 CRC-32C over all bytes before it
/// </code>
/// Little endian.
/// </remarks>
/// <param name="magic">Eight bytes, the last of them zero.</param>
/// <param name="what">For messages, with its article: "The state of a module".</param>
/// <param name="bytesMax">Whatever is longer was not written by Pollux.</param>
internal sealed class SealedFile(string path, string magic, int version, string what, int bytesMax)
{
    private const int HeaderBytes = 16;
    private const int ChecksumBytes = 4;

    /// <returns>Null: there is no such file.</returns>
    /// <exception cref="StorageException">A newer version wrote it.</exception>
    /// <exception cref="IOException">The disk fails.</exception>
    public SealedContent? Load()
    {
        byte[] image;
        try
        {
            // Longer than any of ours is read no further than it takes to know.
            using var file = File.OpenRead(path);
            image = new byte[Math.Min(file.Length, bytesMax + 1L)];
            file.ReadExactly(image);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        if (image.Length < HeaderBytes + ChecksumBytes || image.Length > bytesMax || !image.AsSpan(0, magic.Length).SequenceEqual(System.Text.Encoding.ASCII.GetBytes(magic)))
            return Damaged("it was not written by Pollux, or its beginning is damaged");
        if (Crc32C.Compute(image.AsSpan(0, image.Length - ChecksumBytes)) != BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(image.Length - ChecksumBytes)))
            return Damaged("its checksum is wrong");
        var found = BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(8));
        if (found > version)
            throw new StorageException(StorageFault.NewerVersion, $"{what} ({path}) has version {found}; this pollux-host knows versions up to {version}. Install the newer one again.");
        if (found < 1 || BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(12)) != image.Length - HeaderBytes - ChecksumBytes)
            return Damaged("its header says something impossible");
        return new(found, image[HeaderBytes..^ChecksumBytes], null);

        SealedContent Damaged(string how) => new(0, [], $"{path} is damaged: {how}");
    }

    /// <summary>Returns when it is durable.</summary>
    /// <exception cref="StorageException">It may or may not have been stored.</exception>
    public void Save(ReadOnlySpan<byte> payload)
    {
        var image = new byte[HeaderBytes + payload.Length + ChecksumBytes];
        System.Text.Encoding.ASCII.GetBytes(magic).CopyTo(image, 0);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(8), version);
        BinaryPrimitives.WriteInt32LittleEndian(image.AsSpan(12), payload.Length);
        payload.CopyTo(image.AsSpan(HeaderBytes));
        BinaryPrimitives.WriteUInt32LittleEndian(image.AsSpan(HeaderBytes + payload.Length), Crc32C.Compute(image.AsSpan(0, HeaderBytes + payload.Length)));
        DurableFile.Replace(path, image);
    }
}
