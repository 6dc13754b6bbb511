using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>The manifest of a module's tree as frames.</summary>
internal static class ManifestFrames
{
    public readonly record struct File(ulong Object, long SizeBytes);

    public static IEnumerable<File> Send(ObjectStore store, ReplicationLink link, long epoch)
    {
        link.Send(FrameKind.ManifestChunk, FrameFlags.Last, epoch, 0, 0, 0, default);
        return [];
    }

    internal sealed class Receiver
    {
        public void Add(ReadOnlySpan<byte> chunk) => _ = chunk.Length;

        public IReadOnlyList<ulong> Apply(ObjectStore store) => [];
    }
}
