namespace Pollux.DataPlane.Replication;

/// <summary>Counts what front ends hold of each object: lookups and open handles. An object without a name lives as long as its count.</summary>
internal sealed class VolumeReferences
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, ulong> _counts = [];

    public void Add(ulong obj)
    {
        lock (_lock)
        {
            _counts.TryGetValue(obj, out var count);
            _counts[obj] = count + 1;
        }
    }

    /// <returns>True if nothing is held of the object any more.</returns>
    public bool Drop(ulong obj, ulong dropped)
    {
        lock (_lock)
        {
            if (!_counts.TryGetValue(obj, out var count))
                return false;
            if (count > dropped)
            {
                _counts[obj] = count - dropped;
                return false;
            }
            _counts.Remove(obj);
            return true;
        }
    }

    public bool Any(ulong obj)
    {
        lock (_lock)
            return _counts.ContainsKey(obj);
    }
}
