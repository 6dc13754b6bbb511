namespace Pollux.DataPlane.Core.Replication;

/// <summary>Knows which flushes need no work: nothing was written since a flush that covers the object began and ended well, or such a
/// flush is running. Not thread-safe: the owner's lock guards it. Nothing is allocated once its tables have grown.</summary>
/// <remarks>A counter moves with every completed change; each object remembers its value at its last change and at the start of its last
/// good flush. A flush of object 0 is one of the whole volume.</remarks>
public sealed class FlushCoverage(int runningMax)
{
    /// <summary>Objects remembered. Beyond it what is covered is forgotten: the only price is a flush that was not needed.</summary>
    public const int ObjectsMax = 16_384;

    private readonly Dictionary<ulong, Flushed> _objects = [];
    private readonly Running[] _running = new Running[runningMax];
    private int _runningCount;
    private long _changes;
    private long _volumeFlushedAt = -1;

    // An object without an entry may have changed at any time up to this value: before the volume was served, or before the table was cleared.
    private long _changesForgotten;

    public enum Verdict
    {
        /// <summary>Start a flush; report its end with <see cref="Ended"/>.</summary>
        Start,

        /// <summary>Stable already.</summary>
        Covered,

        /// <summary>A running flush covers it.</summary>
        Joined,
    }

    /// <summary>A write or mutation of the object has completed.</summary>
    public void Changed(ulong obj)
    {
        _changes++;
        _objects[obj] = Known(obj) with { ChangedAt = _changes };
    }

    /// <param name="id">Names the flush if it is to start.</param>
    /// <param name="leader">The running flush to wait for when <see cref="Verdict.Joined"/>.</param>
    public Verdict Begin(ulong obj, bool dataOnly, int id, out int leader)
    {
        leader = -1;
        var known = _objects.TryGetValue(obj, out var entry) ? entry : new Flushed(_changesForgotten, -1, -1);
        var changedAt = obj == 0 ? _changes : known.ChangedAt;
        if (Math.Max(_volumeFlushedAt, dataOnly ? Math.Max(known.DataFlushedAt, known.FlushedAt) : known.FlushedAt) >= changedAt)
            return Verdict.Covered;
        for (var i = 0; i < _runningCount; i++)
        {
            ref readonly var running = ref _running[i];
            if ((running.Object == obj || running.Object == 0) && running.BeganAt >= changedAt && (dataOnly || !running.DataOnly))
            {
                leader = running.Id;
                return Verdict.Joined;
            }
        }
        _running[_runningCount++] = new Running(id, obj, dataOnly, _changes);
        return Verdict.Start;
    }

    /// <summary>A flush that was told to start has ended on every member.</summary>
    /// <param name="stable">False: it failed, so it covers nothing.</param>
    public void Ended(int id, bool stable)
    {
        for (var i = 0; i < _runningCount; i++)
        {
            if (_running[i].Id != id)
                continue;
            var ended = _running[i];
            _running[i] = _running[--_runningCount];
            if (stable)
                Remember(ended);
            return;
        }
    }

    private void Remember(in Running ended)
    {
        if (ended.Object == 0)
        {
            _volumeFlushedAt = Math.Max(_volumeFlushedAt, ended.BeganAt);
            return;
        }
        var known = Known(ended.Object);
        _objects[ended.Object] = ended.DataOnly
            ? known with { DataFlushedAt = Math.Max(known.DataFlushedAt, ended.BeganAt) }
            : known with { FlushedAt = Math.Max(known.FlushedAt, ended.BeganAt) };
    }

    private Flushed Known(ulong obj)
    {
        if (_objects.TryGetValue(obj, out var known))
            return known;
        if (_objects.Count >= ObjectsMax)
        {
            _objects.Clear();
            _changesForgotten = _changes;
        }
        return new Flushed(_changesForgotten, -1, -1);
    }

    private readonly record struct Flushed(long ChangedAt, long DataFlushedAt, long FlushedAt);

    private readonly record struct Running(int Id, ulong Object, bool DataOnly, long BeganAt);
}
