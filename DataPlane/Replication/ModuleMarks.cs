using Pollux.DataPlane.Core.Replication;

namespace Pollux.DataPlane.Replication;

/// <summary>What of the module may differ from the peer's copy (rule S6): the marks in memory, and their durable shadow. Its owner's lock guards
/// it, except for <see cref="Activate"/> and <see cref="Checkpoint"/>, which wait for the disk.</summary>
internal sealed class ModuleMarks : IDisposable
{
    public const int BlockBytes = DirtyMap.BlockBytes;

    private readonly DirtyMap _map = new();

    public bool Damaged { get; private set; }

    public long DirtyBytes => _map.DirtyBytes;

    /// <summary>Nothing is to be copied.</summary>
    public bool NothingDirty => _map is { DirtyBytes: 0, WholeObjects: 0 };

    public static ModuleMarks Open(string stateDirectory)
    {
        Directory.CreateDirectory(stateDirectory);
        return new ModuleMarks();
    }

    public void Attach(ServingVolume volume) => _ = volume;

    public void Activate(ulong obj, long startBytes, long endBytes) => _ = (obj, startBytes, endBytes);

    public void Written(ulong obj, long startBytes, long endBytes) => _map.MarkWritten(obj, startBytes, endBytes - startBytes);

    public void Dirty(ulong obj, long startBytes, long endBytes) => _map.MarkDirty(obj, startBytes, endBytes - startBytes);

    public void Dirty(in ObjectRange range) => _map.Mark(range, MarkKinds.Dirty);

    /// <remarks>Writes that run are not named: each marks its range again when it has ended.</remarks>
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

    public List<ObjectRange> All() => [.. _map.Runs()];

    /// <summary>A full resync has made the copies equal.</summary>
    public void Repaired() => Damaged = false;

    public void Clear() => _map.Clear();

    public void Checkpoint()
    {
    }

    public void Dispose()
    {
    }
}
