
namespace Pollux.DataPlane.Core.Replication;

/// <summary>The payload of a Mutation frame: all fields of <see cref="Mutation"/> in the order of their declaration.</summary>
public static class MutationCodec
{
    private const int FixedBytes = 128;
    private const int NameBytesMax = 255;
    private const int DataBytesMax = 64 << 10;

    /// <summary>The limits of the kernel (NAME_MAX, XATTR_SIZE_MAX, PATH_MAX) keep every real mutation inside a frame.</summary>
    public static bool Fits(Mutation mutation) =>
        mutation.Name.Length <= NameBytesMax && mutation.NewName.Length <= NameBytesMax && mutation.Data.Length <= DataBytesMax;

    public static int SizeOf(Mutation mutation) => FixedBytes + mutation.Name.Length + mutation.NewName.Length + mutation.Data.Length;

    /// <summary>Fills a payload of exactly <see cref="SizeOf"/> bytes; what is not needed is zero.</summary>
    public static void Write(Mutation mutation, Span<byte> payload)
    {
        var writer = new WireWriter(payload);
        writer.Byte((byte)mutation.Kind);
        writer.UInt64(mutation.Object);
        writer.UInt64(mutation.Parent);
        writer.Bytes(mutation.Name);
        writer.UInt64(mutation.NewParent);
        writer.Bytes(mutation.NewName);
        writer.Bytes(mutation.Data);
        writer.UInt32(mutation.Mode);
        writer.UInt32(mutation.Uid);
        writer.UInt32(mutation.Gid);
        writer.UInt32(mutation.DeviceNumber);
        writer.UInt32(mutation.Flags);
        writer.Int32((int)mutation.Mask);
        writer.Int64(mutation.SizeBytes);
        writer.Int64(mutation.OffsetBytes);
        writer.Int64(mutation.LengthBytes);
        writer.Int64(mutation.AccessTimeNs);
        writer.Int64(mutation.ModifyTimeNs);
        payload[writer.Length..].Clear();
    }

    public static Mutation? Read(ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        var mutation = new Mutation((MutationKind)reader.Byte())
        {
            Object = reader.UInt64(),
            Parent = reader.UInt64(),
            Name = reader.Bytes(NameBytesMax).ToArray(),
            NewParent = reader.UInt64(),
            NewName = reader.Bytes(NameBytesMax).ToArray(),
            Data = reader.Bytes(DataBytesMax).ToArray(),
            Mode = reader.UInt32(),
            Uid = reader.UInt32(),
            Gid = reader.UInt32(),
            DeviceNumber = reader.UInt32(),
            Flags = reader.UInt32(),
            Mask = (AttributeMask)reader.Int32(),
            SizeBytes = reader.Int64(),
            OffsetBytes = reader.Int64(),
            LengthBytes = reader.Int64(),
            AccessTimeNs = reader.Int64(),
            ModifyTimeNs = reader.Int64(),
        };
        return reader.Ok && Enum.IsDefined(mutation.Kind) ? mutation : null;
    }
}
