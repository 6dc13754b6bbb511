using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Fuse;

/// <summary>A file system behind a <see cref="FuseSession"/>. Calls come from all workers at once.</summary>
/// <remarks>An exception that leaves a method is an engine fault: the session aborts the connection, so that no application waits for
/// ever, and raises <see cref="FuseSession.Faulted"/>.</remarks>
public interface IFuseHandler
{
    /// <summary>The connection is negotiated; called once, before the first request. <paramref name="reply"/> stays the same for the
    /// whole session.</summary>
    void Started(in FuseNegotiation negotiated, FuseReplier reply)
    {
    }

    /// <summary>Answers a request exactly once, here or later by its token. Never called with FORGET, INTERRUPT, INIT or DESTROY.</summary>
    void Handle(in FuseRequest request, FuseReplier reply);

    /// <summary>Takes a request on the event loop's thread, where nothing may block (sessions on a loop only).</summary>
    /// <param name="buffer">Of the loop's pool; a handler that needs the payload after the call takes a reference.</param>
    /// <returns>False: it is handed to <see cref="Handle"/> on another thread.</returns>
    bool TryHandleOnLoop(in FuseRequest request, int buffer, FuseReplier reply) => false;

    /// <summary>Says what a READ wants, on the event loop's thread; the session reads it into <see cref="FuseRequest.Payload"/>, beside the
    /// loop.</summary>
    /// <returns>False: the request is handed over as any other.</returns>
    internal bool TryBeginRead(in FuseRequest request, out PlannedRead read)
    {
        read = default;
        return false;
    }

    /// <summary>Answers a READ that <see cref="TryBeginRead"/> has planned, on the event loop's thread.</summary>
    /// <param name="result">Bytes read, or a negative error number.</param>
    /// <returns>False: it is handed to <see cref="Handle"/> on another thread, and done anew.</returns>
    internal bool TryEndRead(in FuseRequest request, int result, FuseReplier reply) => false;

    /// <summary>The kernel drops <paramref name="lookups"/> references to a node. There is no reply.</summary>
    void Forget(ulong nodeId, ulong lookups)
    {
    }

    /// <summary>No worker runs any more; later replies go nowhere. References the kernel had not yet dropped are dropped now.</summary>
    void Ended()
    {
    }
}

/// <summary>What kernel and session agreed on.</summary>
/// <param name="Minor">Protocol version 7.<paramref name="Minor"/>, the smaller of both sides.</param>
/// <param name="Flags">Capabilities that both have and the session asked for.</param>
/// <param name="WriteBytesMax">Largest payload of a READ or WRITE, bytes.</param>
public readonly record struct FuseNegotiation(uint KernelMinor, uint Minor, FuseInitFlags Flags, int WriteBytesMax);

/// <summary>What a READ wants.</summary>
/// <param name="File">Held; whoever plans to read gives it up to the session, which releases it.</param>
internal readonly record struct PlannedRead(IRingFile File, long OffsetBytes, int Bytes);
