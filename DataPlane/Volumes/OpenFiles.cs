using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Volumes;

/// <summary>What applications have open through a mount: handles, each as often as it was given out (a volume may give one for several
/// openings), and the files that may be written through them. One lock owns both tables.</summary>
internal sealed class OpenFiles
{
    /// <summary>Longer than the tick by which file systems stamp files (10 ms at 100 Hz), ns: a time that is older than an opening by this
    /// much cannot be that of a write through it.</summary>
    private const long TickNsMax = 1_000_000_000;

    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, int> _handles = [];
    private readonly Dictionary<ulong, Writers> _writers = [];

    public static bool Writes(int flags) => (flags & OpenFlags.AccessMask) != OpenFlags.ReadOnly;

    /// <param name="modifyTimeNs">The file's time of modification if it is opened for writing, else null.</param>
    public void Add(ulong handle, ulong obj, long? modifyTimeNs)
    {
        lock (_gate)
        {
            _handles[handle] = _handles.GetValueOrDefault(handle) + 1;
            if (modifyTimeNs is not { } timeNs)
                return;
            var known = _writers.GetValueOrDefault(obj, new Writers(0, timeNs, timeNs < Libc.FileTimeNs() - TickNsMax));
            _writers[obj] = known with { Count = known.Count + 1 };
        }
    }

    /// <summary>One opening of a handle ends.</summary>
    /// <returns>False if it was not open.</returns>
    public bool Remove(ulong handle)
    {
        lock (_gate)
        {
            if (!_handles.TryGetValue(handle, out var count))
                return false;
            if (count > 1)
                _handles[handle] = count - 1;
            else
                _handles.Remove(handle);
            return true;
        }
    }

    /// <summary>One opening for writing ends.</summary>
    /// <param name="unchangedNs">The time of modification that says that nothing was written; null: it does not tell.</param>
    /// <returns>True if it was the last one of the object.</returns>
    public bool EndsWriting(ulong obj, out long? unchangedNs)
    {
        unchangedNs = null;
        lock (_gate)
        {
            if (!_writers.TryGetValue(obj, out var writers))
                return false;
            if (writers.Count > 1)
            {
                _writers[obj] = writers with { Count = writers.Count - 1 };
                return false;
            }
            _writers.Remove(obj);
            unchangedNs = writers.TimeTells ? writers.ModifyTimeNs : null;
            return true;
        }
    }

    /// <summary>Objects that are open for writing.</summary>
    public List<ulong> Written()
    {
        lock (_gate)
            return [.. _writers.Keys];
    }

    /// <summary>Ends everything: all handles, each as often as it was open, and all objects that were open for writing.</summary>
    public (List<ulong> Handles, List<ulong> Written) RemoveAll()
    {
        lock (_gate)
        {
            var handles = _handles.SelectMany(one => Enumerable.Repeat(one.Key, one.Value)).ToList();
            var written = _writers.Keys.ToList();
            _handles.Clear();
            _writers.Clear();
            return (handles, written);
        }
    }

    /// <param name="ModifyTimeNs">As it was when the first of them opened the file.</param>
    /// <param name="TimeTells">That time was old enough then to tell any later write.</param>
    private readonly record struct Writers(int Count, long ModifyTimeNs, bool TimeTells);
}
