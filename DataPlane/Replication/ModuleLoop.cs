using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Loop;

namespace Pollux.DataPlane.Replication;

/// <summary>The event loop of one module with its buffers and lanes. It lives as long as the module's engine, and beyond that until its last
/// mount has ended; at any time it drives at most one <see cref="EngineShell"/>.</summary>
internal sealed class ModuleLoop : ILoopOwner, IDisposable
{
    /// <summary>Requests of front ends that may wait for a frozen volume have their own threads, so that the engine's disk calls never wait
    /// behind them.</summary>
    private const int FrontThreadsMax = 4;

    /// <summary>A flush, a mutation and reads of a resync side by side.</summary>
    private const int DiskThreadsMax = 4;

    /// <summary>A turn that lasts this long is said in the status, milliseconds: turns last microseconds.</summary>
    private const long SlowTurnMs = 1_000;

    private readonly Timer _watchdog;
    private readonly long _stallMs;
    private readonly Action<string> _fault;
    private bool _stallTold;
    private bool _disposed;
    private EngineShell? _shell;

    /// <param name="stall">A turn that lasts this long is a fault of this copy: its disk hangs.</param>
    /// <param name="fault">Told at most once per stall, and when the loop has ended by an exception. Any thread.</param>
    public ModuleLoop(string module, TimeSpan stall, Action<string> fault)
    {
        _fault = fault;
        _stallMs = (long)stall.TotalMilliseconds;
        Buffers = new BufferPool();
        Loop = new EventLoop($"loop {module}", this, e => fault($"the event loop failed: {e.GetType().Name}: {e.Message}"));
        Front = new Lane($"front {module}", FrontThreadsMax, LaneFaulted);
        Disk = new Lane($"disk {module}", DiskThreadsMax, LaneFaulted);
        Fuse = new FuseLoop(Loop, Buffers, Front, () => _shell is null or { MayAdmit: true });
        _watchdog = new Timer(_ => Watch(), null, SlowTurnMs, SlowTurnMs);
        Loop.Start();
    }

    public EventLoop Loop { get; }

    public BufferPool Buffers { get; }

    public Lane Front { get; }

    public Lane Disk { get; }

    public FuseLoop Fuse { get; }

    /// <summary>Why nothing moves at the moment, or null.</summary>
    public string? Stall => Loop.TurnMs is > SlowTurnMs and var ms ? $"the disk: a call has not returned for {ms / 1000} s" : null;

    /// <summary>Has something read on the loop's thread.</summary>
    /// <returns>False: the loop did not answer in time, or has ended.</returns>
    public bool TryAsk<T>(Func<T> question, TimeSpan limit, out T answer)
    {
        if (Loop.IsCurrent)
        {
            answer = question();
            return true;
        }
        var asked = new Asked<T>(question);
        var answered = Loop.Post(asked) && asked.Done.Wait(limit);
        answer = answered ? asked.Answer : default!;
        return answered;
    }

    /// <summary>Has something done on the loop's thread, however long the loop is busy.</summary>
    /// <exception cref="IOException">The loop has ended.</exception>
    public Task<T> AskAsync<T>(Func<T> step)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        var posted = Loop.Post(() =>
        {
            try
            {
                done.SetResult(step());
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        });
        return posted ? done.Task : throw new IOException("The module's event loop has ended.");
    }

    /// <summary>The loop's thread only.</summary>
    public void Drive(EngineShell? shell) => _shell = shell;

    public void EndTurn() => _shell?.EndTurn();

    public void Tick(long nowMs) => _shell?.Tick(nowMs);

    /// <summary>The thread ends when the last source has gone. Nothing is waited for.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, true))
            return;
        _watchdog.Dispose();
        Loop.Dispose();
        ThreadPool.UnsafeQueueUserWorkItem(
            static loop =>
            {
                // A mount that is still there is served until it ends; a disk call that never ends keeps its thread.
                loop.Loop.Join(Timeout.InfiniteTimeSpan);
                // A call that hangs in a lane, or is in flight, still has its buffer: then the address space is left alone.
                if (loop.Loop.EndedClean && loop.Front.IsIdle && loop.Disk.IsIdle)
                    loop.Buffers.Dispose();
                loop.Front.Dispose();
                loop.Disk.Dispose();
            },
            this, preferLocal: false);
    }

    private void LaneFaulted(Exception e) => _fault($"a disk call failed: {e.GetType().Name}: {e.Message}");

    private void Watch()
    {
        if (Loop.TurnMs < _stallMs)
        {
            _stallTold = false;
        }
        else if (!_stallTold)
        {
            _stallTold = true;
            _fault(Stall ?? "the disk hung");
        }
    }

    private sealed class Asked<T>(Func<T> question) : LoopWork
    {
        public ManualResetEventSlim Done { get; } = new();

        public T Answer { get; private set; } = default!;

        public override void Execute()
        {
            Answer = question();
            Done.Set();
        }
    }
}
