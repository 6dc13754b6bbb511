namespace Pollux.DataPlane.Loop;

/// <summary>Something to be done by a loop or by a lane's thread. It is its own list node, so queueing allocates nothing; it is in one queue
/// at a time.</summary>
internal abstract class LoopWork
{
    internal LoopWork? Next;

    public abstract void Execute();
}

/// <summary>For what is rare: a closure.</summary>
internal sealed class LoopAction(Action action) : LoopWork
{
    public override void Execute() => action();
}

/// <summary>A queue of works, first in, first out. Its owner has the lock.</summary>
internal struct WorkQueue
{
    private LoopWork? _first;
    private LoopWork? _last;

    public readonly bool IsEmpty => _first is null;

    public int Count { get; private set; }

    public void Add(LoopWork work)
    {
        work.Next = null;
        if (_last is null)
            _first = work;
        else
            _last.Next = work;
        _last = work;
        Count++;
    }

    public LoopWork? Take()
    {
        if (_first is not { } work)
            return null;
        _first = work.Next;
        if (_first is null)
            _last = null;
        work.Next = null;
        Count--;
        return work;
    }
}
