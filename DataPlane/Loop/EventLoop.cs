using System.Diagnostics;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Loop;

/// <summary>A descriptor that a loop watches. All members are called by the loop's thread.</summary>
internal interface ILoopSource
{
    int Descriptor { get; }

    /// <summary>poll(2) events that are wanted now; 0: none, the descriptor is left alone.</summary>
    short Interest { get; }

    /// <summary>Does what can be done without blocking.</summary>
    void Ready(short events);

    /// <summary>The loop has ended by a fault: nobody will call again.</summary>
    void LoopFaulted(Exception cause);
}

/// <summary>What a loop is for. All members are called by the loop's thread.</summary>
internal interface ILoopOwner
{
    /// <summary>After the sources were served and the posted work was done: acts on what came of it.</summary>
    void EndTurn();

    /// <param name="nowMs"><see cref="Environment.TickCount64"/>.</param>
    void Tick(long nowMs);
}

/// <summary>One thread that waits for descriptors and posted work, and never blocks elsewhere but in short disk calls.</summary>
/// <remarks>
/// A turn: posted work, then the sources that are ready, then <see cref="ILoopOwner.EndTurn"/>, and again until nothing is left; only then
/// poll(2). What the turn has prepared for the <see cref="Ring"/> is submitted before its end and after it. State that belongs to the loop
/// needs no lock. Others reach it by <see cref="Post"/>.
/// <para>The thread ends when <see cref="Dispose"/> was called, no source is left and nothing is in flight, so that a mount is served to its
/// end.</para>
/// </remarks>
internal sealed unsafe class EventLoop : IDisposable
{
    /// <summary>A module has its mount, its link and a dialled successor of it.</summary>
    public const int SourcesMax = 8;

    /// <summary>Interval of <see cref="ILoopOwner.Tick"/>: a tenth of the shortest deadline (1 s), milliseconds.</summary>
    public const int TickMs = 100;

    /// <summary>Posted works per turn: sources are served between them.</summary>
    private const int WorksPerTurnMax = 256;

    /// <summary>The longest look of <see cref="LookPolicy"/>, microseconds.</summary>
    private const int LookUs = 100;

    private static readonly long LookTicks = Stopwatch.Frequency * LookUs / 1_000_000;

    private readonly Thread _thread;
    private readonly int _event;
    private readonly List<ILoopSource> _sources = new(SourcesMax);
    private readonly object _lock = new();
    private readonly ILoopOwner _owner;
    private readonly Action<Exception> _faulted;
    private WorkQueue _inbox;
    private int _sleeping;
    private bool _disposed;
    private bool _ended;
    private long _turnBeganMs;
    private long _turns;
    private LookPolicy _look = new(LookTicks);

    /// <param name="faulted">Something threw on the loop's thread: the loop has ended. Told on that thread.</param>
    public EventLoop(string name, ILoopOwner owner, Action<Exception> faulted)
    {
        (_owner, _faulted) = (owner, faulted);
        _event = LoopNative.EventFd(0, LoopNative.EventNonBlocking | LoopNative.EventCloseOnExec);
        if (_event < 0)
            throw new IOException($"eventfd: {Errno.Describe(Marshal.GetLastPInvokeError())}");
        _thread = new Thread(RunGuarded) { IsBackground = true, Name = name };
    }

    /// <summary>Reads and writes beside the loop; null where the kernel has none. The loop's thread only.</summary>
    public IoRing? Ring { get; private set; }

    /// <summary>The thread has ended and left nothing in flight: memory that the ring was given is free again.</summary>
    public bool EndedClean { get; private set; }

    /// <summary>The calling thread is the loop's.</summary>
    public bool IsCurrent => Thread.CurrentThread == _thread;

    public long Turns => Volatile.Read(ref _turns);

    /// <summary>How long the present turn has been running; 0 while the loop waits. Milliseconds; any thread.</summary>
    public long TurnMs => Volatile.Read(ref _turnBeganMs) is > 0 and var beganMs ? Environment.TickCount64 - beganMs : 0;

    public void Start() => _thread.Start();

    /// <summary>Has the work done by the loop's thread, in the order of posting. Any thread.</summary>
    /// <returns>False if the loop has ended; the work is not done.</returns>
    public bool Post(LoopWork work)
    {
        lock (_lock)
        {
            if (_ended)
                return false;
            _inbox.Add(work);
        }
        if (Interlocked.Exchange(ref _sleeping, 0) == 1)
            Wake();
        return true;
    }

    public bool Post(Action action) => Post(new LoopAction(action));

    public void Add(ILoopSource source)
    {
        Debug.Assert(IsCurrent);
        if (_sources.Count == SourcesMax)
            throw new InvalidOperationException($"A loop watches {SourcesMax} descriptors at most.");
        _sources.Add(source);
    }

    public void Remove(ILoopSource source)
    {
        Debug.Assert(IsCurrent);
        _sources.Remove(source);
    }

    /// <summary>Lets the thread end when its last source has gone. Does not wait; <see cref="Join"/> does.</summary>
    public void Dispose()
    {
        lock (_lock)
            _disposed = true;
        if (Interlocked.Exchange(ref _sleeping, 0) == 1)
            Wake();
    }

    public bool Join(TimeSpan timeout) => IsCurrent || _thread.Join(timeout);

    private void Wake()
    {
        var one = 1UL;
        _ = LoopNative.Write(_event, &one, sizeof(ulong));
    }

    private void RunGuarded()
    {
        Exception? fault = null;
        try
        {
            Run();
        }
        catch (Exception e)
        {
            fault = e;
        }
        lock (_lock)
            _ended = true;
        Volatile.Write(ref _turnBeganMs, 0);
        if (fault is not null)
        {
            foreach (var source in _sources.ToArray())
                source.LoopFaulted(fault);
            _faulted(fault);
        }
        EndedClean = Ring is null or { Open: 0 };
        Ring?.Dispose();
        _ = LoopNative.Close(_event);
    }

    private void Run()
    {
        var descriptors = stackalloc LoopNative.PollDescriptor[SourcesMax + 2];
        var watched = new ILoopSource?[SourcesMax + 2];
        Ring = IoRing.TryOpen();
        var tickMs = Environment.TickCount64 + TickMs;
        while (true)
        {
            var count = Collect(descriptors, watched);
            var nowMs = Environment.TickCount64;
            Wait(descriptors, count, (int)Math.Clamp(tickMs - nowMs, 0, TickMs));
            nowMs = Environment.TickCount64;
            Volatile.Write(ref _turnBeganMs, nowMs);
            Volatile.Write(ref _turns, _turns + 1);
            if (descriptors[0].Returned != 0)
            {
                ulong counted;
                _ = LoopNative.Read(_event, &counted, sizeof(ulong));
            }
            var worked = DoPosted();
            for (var i = 1; i < count; i++)
            {
                // A source that was removed by an earlier one of this turn is not called any more; the ring is none.
                if (descriptors[i].Returned != 0 && watched[i] is { } source && _sources.Contains(source))
                    source.Ready(descriptors[i].Returned);
            }
            _ = Ring?.Run();
            if (nowMs >= tickMs)
            {
                tickMs = nowMs + TickMs;
                _owner.Tick(nowMs);
            }
            do
                _owner.EndTurn();
            while (Ring is not null && Ring.Run());
            Volatile.Write(ref _turnBeganMs, 0);
            if (!worked && _sources.Count == 0 && Ring is null or { Open: 0 } && Ended())
                return;
        }
    }

    private bool Ended()
    {
        lock (_lock)
        {
            if (!_disposed || !_inbox.IsEmpty)
                return false;
            _ended = true;
            return true;
        }
    }

    private int Collect(LoopNative.PollDescriptor* descriptors, ILoopSource?[] watched)
    {
        descriptors[0] = new LoopNative.PollDescriptor { Descriptor = _event, Events = LoopNative.PollIn };
        var count = 1;
        if (Ring is { Open: > 0 } ring)
        {
            watched[count] = null;
            descriptors[count++] = new LoopNative.PollDescriptor { Descriptor = ring.Descriptor, Events = LoopNative.PollIn };
        }
        foreach (var source in _sources)
        {
            if (source.Interest is not 0 and var interest)
            {
                watched[count] = source;
                descriptors[count++] = new LoopNative.PollDescriptor { Descriptor = source.Descriptor, Events = interest };
            }
        }
        return count;
    }

    private void Wait(LoopNative.PollDescriptor* descriptors, int count, int timeoutMs)
    {
        Interlocked.Exchange(ref _sleeping, 1);
        lock (_lock)
        {
            if (!_inbox.IsEmpty || (_disposed && _sources.Count == 0))
                timeoutMs = 0;
        }
        var ready = timeoutMs > 0 ? LookAndSleep(descriptors, count, timeoutMs) : LoopNative.Poll(descriptors, (nuint)count, 0);
        Volatile.Write(ref _sleeping, 0);
        if (ready >= 0)
            return;
        var errno = Marshal.GetLastPInvokeError();
        if (errno != Errno.EINTR)
            throw new IOException($"poll: {Errno.Describe(errno)}");
        for (var i = 0; i < count; i++)
            descriptors[i].Returned = 0;
    }

    private int LookAndSleep(LoopNative.PollDescriptor* descriptors, int count, int timeoutMs)
    {
        var beganTicks = Stopwatch.GetTimestamp();
        var ready = 0;
        var waitedTicks = 0L;
        if (_look.Looks)
        {
            while ((ready = LoopNative.Poll(descriptors, (nuint)count, 0)) == 0 && waitedTicks < LookTicks)
            {
                _ = Thread.Yield();
                waitedTicks = Stopwatch.GetTimestamp() - beganTicks;
            }
        }
        if (ready == 0)
        {
            ready = LoopNative.Poll(descriptors, (nuint)count, timeoutMs);
            waitedTicks = Stopwatch.GetTimestamp() - beganTicks;
        }
        _look.Waited(waitedTicks);
        return ready;
    }

    private bool DoPosted()
    {
        var worked = false;
        for (var i = 0; i < WorksPerTurnMax; i++)
        {
            LoopWork? work;
            lock (_lock)
                work = _inbox.Take();
            if (work is null)
                return worked;
            worked = true;
            work.Execute();
        }
        return true;
    }
}
