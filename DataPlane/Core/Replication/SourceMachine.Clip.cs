namespace Pollux.DataPlane.Core.Replication;

// Objects that are dirty as a whole (there was no room for finer marks, or a mark named no range): before they are copied their marks are cut to what
// there is of them.
public sealed partial class SourceMachine
{
    private readonly Queue<ulong> _toClip = new();
    private bool _clipRuns;

    // The flush on both hosts that a clip waits for.
    private bool _clipFlushWanted;
    private bool _clipFlushes;
    private bool _clipFlushed;

    /// <summary>An object that is dirty as a whole is dirty up to its size: both hosts agree on that since the manifest. Nothing of it changes
    /// while it is looked at, so no mark behind the end is lost. Before that everything is flushed on both hosts: a shortening that is not
    /// stable is undone by a loss of power, on both perhaps, and brings back what differs behind the end (rule S6).</summary>
    private void ClipWholeObjects()
    {
        if (_clipRuns)
        {
            if (_clipFlushWanted && TryFlushEverything(Purpose.ClipFlush, withPeer: true))
                (_clipFlushWanted, _clipFlushes) = (false, true);
            return;
        }
        if (_marks.Map.WholeObjects == 0)
            return;
        if (_toClip.Count == 0)
        {
            foreach (var range in _marks.Map.Runs(MarkKinds.Dirty))
            {
                if (range.IsWhole)
                    _toClip.Enqueue(range.Object);
            }
        }
        while (_toClip.TryDequeue(out var obj))
        {
            if (!_marks.Map.IsWhole(obj))
                continue;
            _clipRuns = TryStartCopy(new ObjectRange(obj, 0, long.MaxValue), Purpose.Clip);
            return;
        }
    }

    /// <summary>Asks for the flush once the range is held, so that no shortening can come after it.</summary>
    private bool IsStableEnoughToClip(Purpose purpose)
    {
        if (purpose != Purpose.Clip || _clipFlushed)
            return true;
        if (!_clipFlushes && !_clipFlushWanted)
            (_clipFlushWanted, _changed) = (true, true);
        return false;
    }

    private void ClipFlushed(bool confirmed)
    {
        if (!_clipFlushes)
            return;
        (_clipFlushes, _clipFlushed, _changed) = (false, confirmed, true);
        if (!confirmed)
            LoseSession("a flush before an object's marks are cut to its length was not confirmed");
    }

    private void ClipStatted(int slot, int errno, in ObjectAttributes attributes)
    {
        ref readonly var operation = ref Running(slot, OperationKind.Copy);
        if (operation.Purpose == Purpose.Verify)
        {
            SizeForVerify(slot, errno, attributes.SizeBytes);
            return;
        }
        if (LinuxError.IsGone(errno) && IsBeingRemoved(operation.Object))
        {
            // Its marks go when the removal is stable; the next look flushes for it.
            _changed = true;
        }
        else if (errno == 0 || LinuxError.IsGone(errno))
        {
            _marks.Map.Clip(operation.Object, errno == 0 ? attributes.SizeBytes : 0);
        }
        else
        {
            RaiseLocalFault($"the length of object {operation.Object:x} could not be read ({LinuxError.Describe(errno)})");
            LoseSession("the source cannot read its copy");
        }
        DropCopy(slot);
    }
}
