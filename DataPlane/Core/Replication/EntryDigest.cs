using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>What is compared of an object beside its content. Sizes are compared with the content, because writes change them; times are not
/// compared: they are equal only when a file has been closed.</summary>
/// <param name="Mode">Type and permission bits as in st_mode; 0: the object is not there, or what has its name is another one.</param>
/// <param name="Names">Digest of all names: parent and bytes.</param>
/// <param name="Target">Digest of a symbolic link's target.</param>
/// <param name="Xattrs">Digest of extended attributes, ACLs included.</param>
/// <param name="Children">Digest of a directory's entries as they stand on the disk.</param>
public readonly record struct EntryDigest(uint Mode, uint Uid, uint Gid, uint DeviceNumber, ulong Names, ulong Target, ulong Xattrs, ulong Children)
{
    public const int EncodedBytes = (4 * sizeof(uint)) + (4 * sizeof(ulong));

    /// <summary>Objects in one request: some milliseconds on both hosts, during which no mutation begins.</summary>
    public const int BatchMax = 128;

    private const uint TypeMask = 0xF000;

    public bool IsMissing => Mode == 0;

    /// <param name="children">Of a directory: names, with the objects that they lead to.</param>
    public static EntryDigest Of(ManifestEntry entry, IEnumerable<ManifestChild> children) => new(
        entry.Mode, entry.Uid, entry.Gid, entry.DeviceNumber,
        Digest(entry.Links.OrderBy(static link => link.Parent).ThenBy(static link => link.Name, Bytewise), static (sum, link) => Append(sum, link.Parent, link.Name)),
        Digest([entry.SymlinkTarget], static (sum, target) => Append(sum, 0, target)),
        Digest(entry.Xattrs.OrderBy(static xattr => xattr.Name, Bytewise), static (sum, xattr) =>
        {
            Append(sum, 0, xattr.Name);
            Append(sum, 1, xattr.Value);
        }),
        Digest(children.OrderBy(static child => child.Name, Bytewise), static (sum, child) => Append(sum, child.Object, child.Name)));

    private static readonly Comparer<byte[]> Bytewise = Comparer<byte[]>.Create(static (a, b) => a.AsSpan().SequenceCompareTo(b));

    private static ulong Digest<T>(IEnumerable<T> parts, Action<IncrementalHash, T> append)
    {
        using var sum = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var part in parts)
            append(sum, part);
        return BinaryPrimitives.ReadUInt64LittleEndian(sum.GetHashAndReset());
    }

    private static void Append(IncrementalHash sum, ulong number, byte[] bytes)
    {
        Span<byte> head = stackalloc byte[sizeof(ulong) + sizeof(int)];
        BinaryPrimitives.WriteUInt64LittleEndian(head, number);
        BinaryPrimitives.WriteInt32LittleEndian(head[sizeof(ulong)..], bytes.Length);
        sum.AppendData(head);
        sum.AppendData(bytes);
    }

    internal void Write(ref WireWriter writer)
    {
        writer.UInt32(Mode);
        writer.UInt32(Uid);
        writer.UInt32(Gid);
        writer.UInt32(DeviceNumber);
        writer.UInt64(Names);
        writer.UInt64(Target);
        writer.UInt64(Xattrs);
        writer.UInt64(Children);
    }

    internal static EntryDigest Read(ref WireReader reader) => new(
        reader.UInt32(), reader.UInt32(), reader.UInt32(), reader.UInt32(), reader.UInt64(), reader.UInt64(), reader.UInt64(), reader.UInt64());

    /// <summary>In what the peer's object differs from this one.</summary>
    public EntryAspects Compare(in EntryDigest there)
    {
        if (there.IsMissing)
            return EntryAspects.Missing;
        var differs = EntryAspects.None;
        if ((Mode & TypeMask) != (there.Mode & TypeMask))
            differs |= EntryAspects.Type;
        if ((Mode & ~TypeMask) != (there.Mode & ~TypeMask))
            differs |= EntryAspects.Mode;
        if (Uid != there.Uid || Gid != there.Gid)
            differs |= EntryAspects.Owner;
        if (DeviceNumber != there.DeviceNumber)
            differs |= EntryAspects.Device;
        if (Names != there.Names)
            differs |= EntryAspects.Names;
        if (Target != there.Target)
            differs |= EntryAspects.Target;
        if (Xattrs != there.Xattrs)
            differs |= EntryAspects.Xattrs;
        if (Children != there.Children)
            differs |= EntryAspects.Children;
        return differs;
    }
}

/// <summary>An entry of a directory. The object is 0 if nothing is known by that name.</summary>
public readonly record struct ManifestChild(byte[] Name, ulong Object);

/// <summary>In what two copies of an object differ.</summary>
[Flags]
public enum EntryAspects
{
    None = 0,

    /// <summary>The peer does not have it, or has another object under its name.</summary>
    Missing = 1,
    Type = 2,
    Mode = 4,
    Owner = 8,
    Device = 16,
    Names = 32,
    Target = 64,
    Xattrs = 128,

    /// <summary>The directories have different entries.</summary>
    Children = 256,
    Size = 512,
}

/// <summary>An object whose copies differ in more than content.</summary>
public readonly record struct EntryDifference(ulong Object, EntryAspects Aspects);
