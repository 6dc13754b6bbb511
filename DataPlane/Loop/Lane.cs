namespace Pollux.DataPlane.Loop;

/// <summary>Threads that do what may block, beside an event loop: they come when there is work and no idle one, up to a limit, and go when
/// there has been none for a while. What is put is bounded by whoever puts it: buffers and operations of the loop.</summary>
internal sealed class Lane : IDisposable
{
    private static readonly TimeSpan IdleMax = TimeSpan.FromSeconds(10);

    private readonly string _name;
    private readonly int _threadsMax;
    private readonly Action<Exception> _faulted;
    private readonly object _lock = new();
    private WorkQueue _queue;
    private int _threads;
    private int _idle;
    private bool _disposed;

    /// <param name="faulted">A work threw: told on the thread that ran it.</param>
    public Lane(string name, int threadsMax, Action<Exception> faulted) => (_name, _threadsMax, _faulted) = (name, threadsMax, faulted);

    /// <summary>Works that have not begun.</summary>
    public int Waiting
    {
        get
        {
            lock (_lock)
                return _queue.Count;
        }
    }

    /// <summary>Nothing runs and nothing waits.</summary>
    public bool IsIdle
    {
        get
        {
            lock (_lock)
                return _queue.IsEmpty && _idle == _threads;
        }
    }

    public void Put(LoopWork work)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _queue.Add(work);
            if (_idle >= _queue.Count)
            {
                Monitor.Pulse(_lock);
                return;
            }
            if (_threads == _threadsMax)
                return;
            _threads++;
        }
        new Thread(Run) { IsBackground = true, Name = _name }.Start();
    }

    /// <summary>Nothing more may be put; what was put is done, and then the threads end. Does not wait.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            Monitor.PulseAll(_lock);
        }
    }

    private void Run()
    {
        while (TakeNext() is { } work)
        {
            try
            {
                work.Execute();
            }
            catch (Exception e)
            {
                _faulted(e);
            }
        }
    }

    private LoopWork? TakeNext()
    {
        lock (_lock)
        {
            while (true)
            {
                if (_queue.Take() is { } work)
                    return work;
                if (!_disposed)
                {
                    _idle++;
                    var woken = Monitor.Wait(_lock, IdleMax);
                    _idle--;
                    if (woken || !_queue.IsEmpty)
                        continue;
                }
                _threads--;
                return null;
            }
        }
    }
}
