
namespace Pollux.DataPlane.Core.Replication;

/// <summary>The payload of a MarksChunk frame: ranges one after the other.</summary>
public static class MarksCodec
{
    public const int ChunkRangesMax = 8192;

    public static void Write(List<ObjectRange> ranges, int first, Span<byte> payload)
    {
        for (var i = 0; i < payload.Length / ObjectRange.EncodedBytes; i++)
            ranges[first + i].Write(payload[(i * ObjectRange.EncodedBytes)..]);
    }

    public static bool Read(ReadOnlySpan<byte> payload, Action<ObjectRange> each)
    {
        for (; payload.Length >= ObjectRange.EncodedBytes; payload = payload[ObjectRange.EncodedBytes..])
        {
            if (!ObjectRange.TryRead(payload, out var range))
                return false;
            each(range);
        }
        return payload.IsEmpty;
    }
}
