using System.Buffers.Binary;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>The place of frames in one direction of one link. Their checksums cover it, so a frame that was lost, doubled, put out of order or
/// left over from another session is as good as a corrupt one, without a byte more on the wire (rule S1).</summary>
/// <remarks>The first frame of each direction (Hello; HelloAnswer or Refused) belongs to no session yet; the others belong to the session that
/// Hello names.</remarks>
public struct FrameChain
{
    private Guid _session;
    private ulong _passed;

    /// <summary>To be called before the second frame.</summary>
    public void Name(Guid session) => _session = session;

    /// <summary>The place of the next frame; it has passed then.</summary>
    public uint Next()
    {
        var place = Expected;
        _passed++;
        return place;
    }

    /// <summary>The place of the next frame.</summary>
    public readonly uint Expected
    {
        get
        {
            Span<byte> place = stackalloc byte[24];
            BinaryPrimitives.WriteUInt64LittleEndian(place, _passed + 1);
            if (_passed == 0)
                place[8..].Clear();
            else if (!_session.TryWriteBytes(place[8..]))
                throw new InvalidOperationException("A Guid has 16 bytes.");
            return Crc32C.Compute(place);
        }
    }
}
