using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// Runs the tasks of one activation one at a time on the thread pool, in the order in which they were queued.
/// Continuations of awaits inside a turn come back here. The lock owns the queue and the scheduled flag: exactly one
/// work item is in the pool while the queue is not empty.
/// </summary>
internal sealed class ActivationScheduler(IGrainContext context) : TaskScheduler, IThreadPoolWorkItem
{
    // Tasks per visit of a pool thread: long enough to save hand-overs, short enough that no activation holds a thread.
    private const int TasksPerVisitMax = 64;

    private readonly Queue<Task> _queue = new();
    private bool _scheduled;

    /// <summary>Starts an asynchronous turn that inherits nothing from the caller.</summary>
    public void Run(Func<object, Task> turn, object state)
    {
        using (CleanFlow.Enter())
            _ = Task.Factory.StartNew(turn!, state, CancellationToken.None, TaskCreationOptions.DenyChildAttach, this);
    }

    void IThreadPoolWorkItem.Execute()
    {
        var previous = RuntimeContext.Exchange(context);
        try
        {
            for (var i = 0; i < TasksPerVisitMax; i++)
            {
                Task task;
                lock (_queue)
                {
                    if (!_queue.TryDequeue(out task!))
                    {
                        _scheduled = false;
                        return;
                    }
                }

                TryExecuteTask(task);
            }
        }
        finally
        {
            RuntimeContext.Exchange(previous);
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    protected override void QueueTask(Task task)
    {
        lock (_queue)
        {
            _queue.Enqueue(task);
            if (_scheduled)
                return;
            _scheduled = true;
        }

        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    protected override bool TryExecuteTaskInline(Task task, bool taskWasPreviouslyQueued) =>
        !taskWasPreviouslyQueued && ReferenceEquals(RuntimeContext.Current, context) && TryExecuteTask(task);

    protected override IEnumerable<Task> GetScheduledTasks()
    {
        lock (_queue)
            return _queue.ToArray();
    }
}
