using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>The manifest of a module's tree as frames.</summary>
internal static class ManifestFrames
{
    /// <summary>Sends the tree as it is now. No mutation runs meanwhile.</summary>
    /// <returns>What was sent, or null if the link has ended.</returns>
    /// <exception cref="StorageException">The tree cannot be read.</exception>
    public static IReadOnlyList<ManifestEntry>? Send(ObjectStore store, ReplicationLink link, long epoch)
    {
        var entries = Manifest.Snapshot(store);
        ReadOnlyMemory<byte>? held = null;
        foreach (var chunk in ManifestWriter.Write(entries))
        {
            if (held is { } previous && !link.Send(FrameKind.ManifestChunk, FrameFlags.None, epoch, 0, 0, 0, previous.Span))
                return null;
            held = chunk.ToArray();
        }
        return link.Send(FrameKind.ManifestChunk, FrameFlags.Last, epoch, 0, 0, 0, (held ?? default).Span) ? entries : null;
    }
}
