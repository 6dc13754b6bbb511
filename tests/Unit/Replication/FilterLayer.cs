using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Replication;

namespace Pollux.Tests.Unit.Replication;

/// <summary>A layer of a link that passes everything on; tests override what they disturb.</summary>
internal abstract unsafe class FilterLayer(ILinkLayer inner) : ILinkLayer
{
    public virtual nint Send(LoopNative.IoVector* vectors, int count) => inner.Send(vectors, count);

    public virtual int Receive(byte* buffer, int bytes) => inner.Receive(buffer, bytes);

    public bool HoldsFailure => inner.HoldsFailure;

    public virtual void Dispose() => inner.Dispose();
}
