namespace Pollux.DataPlane.Replication;

/// <summary>Counts what front ends hold of each object: lookups and open handles. An object without a name lives as long as its count.</summary>
/// <param name="inheritedUpTo">Objects up to this id may be held since the time of an earlier process, which counted then; 0: none. The
/// kernel forgets all lookups of an object at once, when nobody has it open any more: a forget of more than was counted here includes the
/// inherited ones. Until then such an object is held.</param>
internal sealed class VolumeReferences(ulong inheritedUpTo)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, ulong> _counts = [];

    /// <summary>Inherited objects that were forgotten since; at most as many as there are objects.</summary>
    private readonly HashSet<ulong> _forgotten = [];

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
            var known = _counts.TryGetValue(obj, out var count);
            if (count > dropped)
            {
                _counts[obj] = count - dropped;
                return false;
            }
            _counts.Remove(obj);
            if (!IsInherited(obj))
                return known;
            return dropped > count && _forgotten.Add(obj);
        }
    }

    public bool Any(ulong obj)
    {
        lock (_lock)
            return _counts.ContainsKey(obj) || IsInherited(obj);
    }

    private bool IsInherited(ulong obj) => obj <= inheritedUpTo && !_forgotten.Contains(obj);
}
