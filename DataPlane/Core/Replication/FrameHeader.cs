using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>The fixed header of a frame. All numbers are little-endian.</summary>
/// <remarks>
/// <code>
/// offset size
///      0    4  magic "PLXR"
///      4    4  payload length, bytes
///      8    1  kind
///      9    1  flags
///     10    2  zero
///     12    4  CRC-32C of the frame's place (<see cref="FrameChain"/>), of the header without this field, and of the payload
///     16    8  epoch
///     24    8  sequence, counted from 1 within a session; 0 on frames that are not acknowledged
///     32    8  object id
///     40    8  offset, bytes
/// </code>
/// </remarks>
public readonly record struct FrameHeader(FrameKind Kind, FrameFlags Flags, int PayloadBytes, long Epoch, ulong Sequence, ulong Object, long OffsetBytes)
{
    public const int SizeBytes = 48;

    /// <summary>One FUSE request of 1 MiB (256 pages, the kernel's limit without tuning) or one manifest chunk, and room for an
    /// extended attribute of 64 KiB with its names. A longer frame is refused: it bounds the receive buffer.</summary>
    public const int PayloadBytesMax = (1 << 20) + (80 << 10);

    /// <summary>The most data that one Write or ResyncData carries, bytes.</summary>
    public const int DataBytesMax = 1 << 20;

    public const uint Magic = 0x5258_4C50;

    private const int ChecksumOffset = 12;

    /// <summary>Writes the header before a payload that is already in place and covers both with the checksum.</summary>
    /// <param name="frame">Header and payload; exactly <see cref="SizeBytes"/> + <see cref="PayloadBytes"/> long.</param>
    /// <param name="chain">From <see cref="FrameChain.Next"/> of the sending direction.</param>
    public void Seal(Span<byte> frame, uint chain = Crc32C.Empty)
    {
        if (frame.Length != SizeBytes + PayloadBytes || PayloadBytes > PayloadBytesMax)
            throw new ArgumentOutOfRangeException(nameof(frame), frame.Length, "The frame's length is not that of its header and payload, or over the limit.");
        BinaryPrimitives.WriteUInt32LittleEndian(frame, Magic);
        BinaryPrimitives.WriteInt32LittleEndian(frame[4..], PayloadBytes);
        frame[8] = (byte)Kind;
        frame[9] = (byte)Flags;
        BinaryPrimitives.WriteUInt16LittleEndian(frame[10..], 0);
        BinaryPrimitives.WriteInt64LittleEndian(frame[16..], Epoch);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[24..], Sequence);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[32..], Object);
        BinaryPrimitives.WriteInt64LittleEndian(frame[40..], OffsetBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(frame[ChecksumOffset..], Checksum(frame, chain));
    }

    /// <summary>By its length field, a whole frame is there. Says nothing of its soundness.</summary>
    public static bool HoldsFrame(ReadOnlySpan<byte> received) =>
        received.Length >= SizeBytes && BinaryPrimitives.ReadInt32LittleEndian(received[4..]) <= received.Length - SizeBytes;

    /// <summary>What the header at the start says of the frame's length, with the header; bytes. Null if there is no whole header, or if it says
    /// more than a frame may have.</summary>
    public static int? LengthAt(ReadOnlySpan<byte> received) =>
        received.Length >= SizeBytes && BinaryPrimitives.ReadInt32LittleEndian(received[4..]) is >= 0 and <= PayloadBytesMax and var payloadBytes
            ? SizeBytes + payloadBytes
            : null;

    /// <summary>Looks for one frame at the start of <paramref name="received"/>. Never throws, whatever the bytes are.</summary>
    /// <param name="chain">From <see cref="FrameChain.Expected"/> of the receiving direction.</param>
    public static FrameDecode TryDecode(ReadOnlySpan<byte> received, uint chain, out FrameHeader header, out ReadOnlySpan<byte> payload)
    {
        header = default;
        payload = default;
        if (received.Length < SizeBytes)
            return FrameDecode.Incomplete;
        if (BinaryPrimitives.ReadUInt32LittleEndian(received) != Magic)
            return FrameDecode.NotAFrame;
        var payloadBytes = BinaryPrimitives.ReadInt32LittleEndian(received[4..]);
        if (payloadBytes is < 0 or > PayloadBytesMax)
            return FrameDecode.TooLong;
        if (received.Length < SizeBytes + payloadBytes)
            return FrameDecode.Incomplete;
        var frame = received[..(SizeBytes + payloadBytes)];
        if (BinaryPrimitives.ReadUInt32LittleEndian(frame[ChecksumOffset..]) != Checksum(frame, chain))
            return FrameDecode.BadChecksum;
        var kind = (FrameKind)frame[8];
        if (kind is < FrameKind.Hello or > FrameKind.EntriesAnswer)
            return FrameDecode.UnknownKind;
        payload = frame[SizeBytes..];
        header = new FrameHeader(
            kind, (FrameFlags)frame[9], payloadBytes, BinaryPrimitives.ReadInt64LittleEndian(frame[16..]),
            BinaryPrimitives.ReadUInt64LittleEndian(frame[24..]), BinaryPrimitives.ReadUInt64LittleEndian(frame[32..]),
            BinaryPrimitives.ReadInt64LittleEndian(frame[40..]));
        return FrameDecode.Frame;
    }

    /// <summary>As the other form, for a frame that was sealed without a place.</summary>
    public static FrameDecode TryDecode(ReadOnlySpan<byte> received, out FrameHeader header, out ReadOnlySpan<byte> payload) =>
        TryDecode(received, Crc32C.Empty, out header, out payload);

    private static uint Checksum(ReadOnlySpan<byte> frame, uint chain) =>
        Crc32C.Append(Crc32C.Append(chain, frame[..ChecksumOffset]), frame[(ChecksumOffset + sizeof(uint))..]);
}

/// <summary>What was found at the start of received bytes. Everything but the first two ends the session.</summary>
public enum FrameDecode
{
    Frame,

    /// <summary>More bytes are needed.</summary>
    Incomplete,
    NotAFrame,
    TooLong,
    BadChecksum,
    UnknownKind,
}
