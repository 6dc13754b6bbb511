using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>What of the module may differ from the peer's copy (rule S6): the marks in memory and their durable shadow, which together are the
/// same before and after a crash. The serving volume's gate guards the marks; <see cref="Activate"/>, <see cref="Checkpoint"/> and the
/// rest of what waits for the disk is called without it.</summary>
internal sealed class ModuleMarks : IMarksOwner, IDisposable
{
    public const int BlockBytes = DirtyMap.BlockBytes;

    private readonly DirtyMap _map = new();
    private readonly object _gate;
    private readonly string _directory;
    private readonly DurableMarks _durable;
    private bool _logClosed;

    private ModuleMarks(string directory, object gate)
    {
        (_directory, _gate) = (directory, gate);
        _durable = DurableMarks.Open(directory, this);
        _map.Unite([.. _durable.Recovered]);
    }

    /// <summary>The marks were lost: everything may differ until a full resync.</summary>
    public bool Damaged => _durable.EverythingMayDiffer;

    public long DirtyBytes => _map.DirtyBytes;

    /// <summary>Nothing is to be copied.</summary>
    public bool NothingDirty => _map is { DirtyBytes: 0, WholeObjects: 0 };

    /// <summary>Why writes wait for the activity log, or null.</summary>
    public string? WaitingFor => _durable.WaitingFor;

    /// <param name="gate">The lock of whoever uses the marks.</param>
    /// <exception cref="StorageException">A newer version wrote the files, or the disk fails.</exception>
    public static ModuleMarks Open(string stateDirectory, object gate) => new(stateDirectory, gate);

    /// <summary>Makes the range durably known as perhaps different; the pin keeps it so until the marks of the operation are set for good.</summary>
    public ActivationPin Activate(ulong obj, long startBytes, long endBytes) => _durable.EnsureActive(obj, startBytes, endBytes - startBytes);

    public void Written(ulong obj, long startBytes, long endBytes) => _map.MarkWritten(obj, startBytes, endBytes - startBytes);

    public void Dirty(ulong obj, long startBytes, long endBytes) => _map.MarkDirty(obj, startBytes, endBytes - startBytes);

    public void Dirty(in ObjectRange range) => _map.Mark(range, MarkKinds.Dirty);

    /// <remarks>Writes that run are not named: each marks its range again when it has ended, and its pin keeps the extent in the log until then.</remarks>
    public FlushToken BeginFlush(ulong obj) => _map.BeginFlush(obj, []);

    public void EndFlush(FlushToken token, bool onBoth)
    {
        if (onBoth)
            _map.FlushConfirmed(token);
        else
            _map.FlushFailed(token);
    }

    public void PeerLost() => _map.PeerLost();

    public bool NextDirtyRun(ref DirtyCursor cursor, long bytesMax, out ObjectRange run) => _map.NextDirtyRun(ref cursor, bytesMax, out run);

    public void Copied(ulong obj, long startBytes, long endBytes) => _map.Copied(obj, startBytes, endBytes - startBytes);

    /// <summary>Objects that are dirty as a whole; they become runs by <see cref="Clip"/>.</summary>
    public List<ulong> WholeObjects() =>
        _map.WholeObjects == 0 ? [] : [.. _map.Runs(MarkKinds.Dirty).Where(static range => range.IsWhole).Select(static range => range.Object)];

    public void Clip(ulong obj, long sizeBytes) => _map.Clip(obj, sizeBytes);

    public void Forget(ulong obj) => _map.Forget(obj);

    public List<ObjectRange> All()
    {
        lock (_gate)
            return [.. _map.Runs()];
    }

    /// <summary>Stores the marks; extents of the log may go then.</summary>
    public void Checkpoint() => _durable.Checkpoint();

    /// <summary>A resync has proven the copies equal, but for the marks in memory. Stores that.</summary>
    public void Repaired() => _durable.Repaired();

    /// <summary>This copy is equal to the source's and flushed: no mark of it counts any more. Stores that.</summary>
    public void ClearAll()
    {
        lock (_gate)
            _map.Clear();
        _durable.Repaired();
        CloseLog(empty: true);
    }

    /// <summary>Stores the marks for the next session, which then needs no suspicion of the log's extents.</summary>
    public void Close()
    {
        _durable.Checkpoint();
        CloseLog(empty: true);
    }

    /// <summary>Leaves the files as they are, as a crash would.</summary>
    public void Dispose() => CloseLog(empty: false);

    IReadOnlyCollection<ObjectRange> IMarksOwner.SnapshotMarks() => All();

    bool IMarksOwner.MayLeave(in ObjectRange extent)
    {
        // Writes on their way have pinned their extents, so the log does not ask for them.
        lock (_gate)
            return _durable.Covers(_map, extent);
    }

    /// <summary>A replica writes no log, so it closes it as soon as the marks in it are void; a second call does nothing.</summary>
    private void CloseLog(bool empty)
    {
        if (_logClosed)
            return;
        _logClosed = true;
        _durable.Dispose();
        if (empty)
            ActivityLog.Create(Path.Combine(_directory, ModuleStateDirectory.ActivityLogFile), ActivityLogOptions.Default);
    }
}
