using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Fuse;

/// <summary>The event loop that reads a session's requests in place of worker threads.</summary>
/// <param name="Loop">Reads requests and, where the handler can, answers them (<see cref="IFuseHandler.TryHandleOnLoop"/>).</param>
/// <param name="Buffers">One per request that is not answered yet; without a free one no request is read.</param>
/// <param name="Lane">Runs <see cref="IFuseHandler.Handle"/> for all other requests.</param>
/// <param name="Admits">Whether another request may be read now; asked on the loop's thread.</param>
internal sealed record FuseLoop(EventLoop Loop, BufferPool Buffers, Lane Lane, Func<bool> Admits)
{
    /// <summary>Buffers that requests leave to others: copies of a resync and what comes from other threads.</summary>
    public const int BuffersReserved = 16;

    internal bool MayRead => Buffers.FreeCount > BuffersReserved && Admits();
}
