using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Replication;

/// <summary>How bytes of a link reach its socket: as they are, or by TLS. Nothing waits; one thread at a time.</summary>
internal unsafe interface ILinkLayer : IDisposable
{
    /// <summary>Sends from the first vector on. When the socket was full the same bytes are offered again.</summary>
    /// <returns>Bytes taken; -1: the socket is full.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    nint Send(LoopNative.IoVector* vectors, int count);

    /// <returns>Bytes received; 0: the peer has closed; -1: nothing is there now. With less than <paramref name="bytes"/> nothing is held back
    /// of which the socket's readiness would not tell.</returns>
    /// <exception cref="IOException">The connection has failed.</exception>
    int Receive(byte* buffer, int bytes);

    /// <summary>The connection failed behind what was received last: the next <see cref="Receive"/> throws, and no readiness tells of it.</summary>
    bool HoldsFailure => false;
}
