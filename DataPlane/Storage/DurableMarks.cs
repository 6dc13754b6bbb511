using Pollux.DataPlane.Core.Replication;

namespace Pollux.DataPlane.Storage;

/// <summary>Who holds the marks in memory.</summary>
public interface IMarksOwner
{
    /// <summary>All marks at this moment (<see cref="DirtyMap.Runs"/> of all kinds), those of writes on their way included. Takes the owner's lock.</summary>
    IReadOnlyCollection<ObjectRange> SnapshotMarks();

    /// <summary>Takes the owner's lock, and under it answers with <see cref="DurableMarks.Covers"/>; false while a write to the range is on
    /// its way without a mark. Called under the activity log's lock.</summary>
    bool MayLeave(in ObjectRange extent);
}

/// <summary>The durable shadow of a module's marks: activity log and checkpoint together (rule S6). After a crash the marks are those of
/// the checkpoint and all that the log holds.</summary>
/// <remarks>Damage is sticky: if either file is missing or damaged, the checkpoint first says durably that everything may differ, and goes on
/// saying so until <see cref="Repaired"/>.</remarks>
public sealed class DurableMarks : IActivityLogRoom, IDisposable
{
    private readonly Lock checkpointGate = new();
    private readonly string checkpointPath;
    private readonly IMarksOwner owner;
    private readonly ActivityLog log;

    // What is in the durable checkpoint for certain. Null while a new one is being stored: a mark that is set after its snapshot was
    // taken would count as covered by the old one, which is about to go.
    private volatile Saved? saved;

    private sealed record Saved(DirtyMap Marks, bool Everything);

    private DurableMarks(string directory, IMarksOwner owner, ActivityLogOptions options)
    {
        Directory.CreateDirectory(directory);
        this.owner = owner;
        checkpointPath = Path.Combine(directory, ModuleStateDirectory.CheckpointFile);
        var logPath = Path.Combine(directory, ModuleStateDirectory.ActivityLogFile);
        var checkpoint = DirtyCheckpoint.Load(checkpointPath);
        var opened = ActivityLog.Open(logPath, this, options, out var damage);
        Damage = checkpoint.Damage ?? damage;
        EverythingMayDiffer = checkpoint.EverythingMayDiffer || damage is not null;
        Recovered = [.. checkpoint.Ranges, .. opened?.Recover() ?? []];
        if (Damage is not null)
            DirtyCheckpoint.Save(checkpointPath, checkpoint.Ranges, everythingMayDiffer: true);
        if (opened is null)
        {
            ActivityLog.Create(logPath, options);
            opened = ActivityLog.Open(logPath, this, options, out damage)
                ?? throw new StorageException(StorageFault.Io, $"The new activity log cannot be read back: {damage}.");
        }
        log = opened;
        saved = Remember(checkpoint.Ranges, EverythingMayDiffer);
    }

    /// <summary>What was marked before: to be united with the marks in memory before the first write.</summary>
    public IReadOnlyList<ObjectRange> Recovered { get; }

    /// <summary>The marks cannot be trusted: only a full resync proves the copies equal.</summary>
    public bool EverythingMayDiffer { get; private set; }

    /// <summary>What was wrong with the files when they were opened, or null.</summary>
    public string? Damage { get; }

    /// <summary>Why activations wait at this moment, or null.</summary>
    public string? WaitingFor => log.WaitingFor;

    /// <summary>Opens the marks in a module's state directory, making the files if there are none.</summary>
    /// <exception cref="StorageException">A newer version wrote them, or the disk fails.</exception>
    public static DurableMarks Open(string directory, IMarksOwner owner, ActivityLogOptions? options = null) =>
        new(directory, owner, options ?? ActivityLogOptions.Default);

    /// <summary>See <see cref="ActivityLog.EnsureActive"/>. Must not be called under the owner's lock.</summary>
    public ActivationPin EnsureActive(ulong obj, long offsetBytes, long lengthBytes) => log.EnsureActive(obj, offsetBytes, lengthBytes);

    /// <summary>Whether every mark of the range is in the durable checkpoint, or there is none. Needs the owner's lock.</summary>
    public bool Covers(DirtyMap marks, in ObjectRange range)
    {
        var durable = saved;
        if (durable is { Everything: true })
            return true;
        if (!marks.HasMarks(range.Object, range.OffsetBytes, range.LengthBytes))
            return true;
        return durable is not null && marks.IsCoveredBy(durable.Marks, range);
    }

    /// <summary>Stores all marks durably; afterwards the log can let their extents go. Must not be called under the owner's lock.</summary>
    public void Checkpoint()
    {
        lock (checkpointGate)
            Store();
    }

    /// <summary>Both copies were proven equal except for the marks in memory: damage, if there was any, is over.</summary>
    public void Repaired()
    {
        lock (checkpointGate)
        {
            EverythingMayDiffer = false;
            Store();
        }
    }

    void IActivityLogRoom.MakeRoom() => Checkpoint();

    bool IActivityLogRoom.MayLeave(in ObjectRange extent) => owner.MayLeave(in extent);

    public void Dispose() => log.Dispose();

    private void Store()
    {
        saved = null;
        var ranges = owner.SnapshotMarks();
        DirtyCheckpoint.Save(checkpointPath, ranges, EverythingMayDiffer);
        saved = Remember(ranges, EverythingMayDiffer);
    }

    private static Saved Remember(IEnumerable<ObjectRange> ranges, bool everything)
    {
        var marks = new DirtyMap();
        foreach (var range in ranges)
            marks.Mark(in range, MarkKinds.Dirty);
        return new(marks, everything);
    }
}
