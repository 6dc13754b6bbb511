namespace Pollux.DataPlane.Core.Replication;

/// <summary>The durable marks of a module: two files, see <see cref="ActivityLogImage"/> and <see cref="CheckpointImage"/>. Each call only
/// queues. At most one of each kind runs at once (one sector write per group).</summary>
public interface IMarksStore
{
    /// <summary>Overwrites a sector of the activity log in place; ends with LogSectorStored when it is on stable storage (O_DSYNC). After a
    /// crash in between the sector may be old, new or torn.</summary>
    /// <param name="sector">To be copied before the call returns.</param>
    void StoreLogSector(int group, long offsetBytes, ReadOnlySpan<byte> sector);

    /// <summary>Replaces the checkpoint atomically; ends with CheckpointStored when that is stable. After a crash the old or the new one is
    /// there, whole.</summary>
    void StoreCheckpoint(ReadOnlyMemory<byte> image);

    /// <summary>Replaces the activity log atomically; ends with LogReplaced when that is stable. No sector write runs meanwhile.</summary>
    void ReplaceLog(ReadOnlyMemory<byte> image);
}
