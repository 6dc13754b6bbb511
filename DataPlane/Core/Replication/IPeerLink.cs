namespace Pollux.DataPlane.Core.Replication;

/// <summary>Connections to the peer, by numbers that the shell gives and never uses again in the life of a machine. Each call only queues.</summary>
public interface IPeerLink
{
    /// <summary>Connects to the peer, authenticated on both sides. Ends with Connected or DialFailed of the same attempt.</summary>
    void Dial(int attempt);

    /// <summary>Bytes that <see cref="Send(int, in FrameHeader, DataRef)"/> takes now, headers included; 0 when the link has ended. Falls with
    /// each send at once; the machine is told RoomFreed when it has risen. A reserve of <see cref="ControlRoomBytes"/> for frames without
    /// data stands beside it, so that acknowledgements never wait behind data.</summary>
    int SendRoomBytes(int link);

    /// <summary>Acknowledgements of a whole window, pings, greetings and reasons of an end.</summary>
    const int ControlRoomBytes = 256 << 10;

    /// <summary>From the second frame on, in both directions, the frames of the link belong to this session: see <see cref="FrameChain"/>, which
    /// the shell keeps for each direction.</summary>
    void NameSession(int link, Guid session);

    /// <summary>Seals and queues a frame whose payload is copied before the call returns.</summary>
    void Send(int link, in FrameHeader header, ReadOnlySpan<byte> payload);

    /// <summary>Seals and queues a frame whose payload the shell has already.</summary>
    void Send(int link, in FrameHeader header, DataRef payload);

    /// <summary>Ends the link. Nothing of it is fed to the machine any more, LinkEnded included.</summary>
    /// <param name="afterSending">What is queued is sent first and the peer's close is awaited, a second each at most: a connection that is
    /// closed with bytes unread is reset, and the last frame, which says why, could be lost.</param>
    void CloseLink(int link, string reason, bool afterSending);
}
