namespace Pollux.DataPlane.Core.Replication;

/// <summary>Knows which flushes need no work: nothing was written since a flush that covers the object began and ended well, or such a
/// flush is running. Not thread-safe: the owner's lock guards it. Nothing is allocated once its tables have grown.</summary>
/// <remarks>A counter moves with every applied change; each object remembers its value at its last applied change, at the last one that was
/// completed, and at the start of its last good flush. A flush that is asked for is about what was completed before it: what is still on
/// its way to its submitter need not be covered. A flush of object 0 is one of the whole volume.</remarks>
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
    public void Changed(ulong obj) => Completed(obj, Applied(obj));

    /// <summary>A write of the object has been done here, and is sent: a flush that begins from now on covers it.</summary>
    /// <returns>What <see cref="Completed"/> is to be told when its submitter is.</returns>
    public long Applied(ulong obj)
    {
        _changes++;
        _objects[obj] = Known(obj) with { AppliedAt = _changes };
        return _changes;
    }

    /// <summary>The submitter of a write is told of its end.</summary>
    /// <param name="change">Given by <see cref="Applied"/>.</param>
    public void Completed(ulong obj, long change)
    {
        var known = Known(obj);
        if (known.CompletedAt < change)
            _objects[obj] = known with { CompletedAt = change };
    }

    /// <param name="id">Names the flush if it is to start.</param>
    /// <param name="leader">The running flush to wait for when <see cref="Verdict.Joined"/>.</param>
    public Verdict Begin(ulong obj, bool dataOnly, int id, out int leader)
    {
        leader = -1;
        var change = obj == 0 ? _changes : Of(obj).CompletedAt;
        if (Covers(obj, change, dataOnly))
            return Verdict.Covered;
        leader = Leader(obj, change, dataOnly);
        if (leader >= 0)
            return Verdict.Joined;
        _running[_runningCount++] = new Running(id, obj, dataOnly, _changes);
        return Verdict.Start;
    }

    /// <summary>Begins a flush of an object that nobody has asked for, if anything was applied that none covers or will cover.</summary>
    public bool TryBeginEarly(ulong obj, bool dataOnly, int id)
    {
        var change = Of(obj).AppliedAt;
        if (Covers(obj, change, dataOnly) || Leader(obj, change, dataOnly) >= 0)
            return false;
        _running[_runningCount++] = new Running(id, obj, dataOnly, _changes);
        return true;
    }

    /// <summary>A flush of the very object runs.</summary>
    public bool Runs(ulong obj)
    {
        for (var i = 0; i < _runningCount; i++)
        {
            if (_running[i].Object == obj)
                return true;
        }
        return false;
    }

    /// <summary>The content is stable up to a change.</summary>
    public bool Covers(ulong obj, long change) => Covers(obj, change, dataOnly: true);

    /// <summary>A flush runs that covers the content up to a change.</summary>
    public bool WillCover(ulong obj, long change) => Leader(obj, change, dataOnly: true) >= 0;

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

    private bool Covers(ulong obj, long change, bool dataOnly)
    {
        var known = Of(obj);
        return Math.Max(_volumeFlushedAt, dataOnly ? Math.Max(known.DataFlushedAt, known.FlushedAt) : known.FlushedAt) >= change;
    }

    private int Leader(ulong obj, long change, bool dataOnly)
    {
        for (var i = 0; i < _runningCount; i++)
        {
            ref readonly var running = ref _running[i];
            if ((running.Object == obj || running.Object == 0) && running.BeganAt >= change && (dataOnly || !running.DataOnly))
                return running.Id;
        }
        return -1;
    }

    private Flushed Of(ulong obj) => _objects.TryGetValue(obj, out var known) ? known : new Flushed(_changesForgotten, _changesForgotten, -1, -1);

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
        return new Flushed(_changesForgotten, _changesForgotten, -1, -1);
    }

    private readonly record struct Flushed(long AppliedAt, long CompletedAt, long DataFlushedAt, long FlushedAt);

    private readonly record struct Running(int Id, ulong Object, bool DataOnly, long BeganAt);
}
