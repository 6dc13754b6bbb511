using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>Does the I/O of one machine of the engine, on the module's event loop: executes its effects in batches and feeds it their ends.</summary>
/// <remarks>
/// One turn:
/// <code>
/// feed what has come ─► FinishTurn ─► one send per link ─► local writes, in place ─► completions and events ─┐
///        ▲                                                      │ their ends are fed                        │
///        └──────────────────────────────────────────────────────┴───────────── until nothing is left ◄──────┘
/// </code>
/// Sends go first, so that the peer works while this host does. Everything that may take long (flushes, mutations, reads that miss the
/// page cache, durable marks) is done by the disk lane and fed when it comes back. All members belong to the loop's thread unless they
/// say otherwise. Files: .Links, .LocalCopy, .Marks (the effects by their parts).
/// </remarks>
internal abstract partial class EngineShell : IEngineEffects, IEngineSurroundings
{
    /// <summary>Slots of the activity log.</summary>
    public const int LogSlots = 4096;

    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<EngineEvent> _events = [];
    private readonly List<Ending> _endings = [];
    private readonly CacheTrust _trust;
    private int _localWorks;
    private bool _inTurn;

    protected EngineShell(ModuleLoop place, ReplicationOptions options, LocalCopy copy)
    {
        (Place, Options, Store, Older, _markFiles, _trust) = (place, options, copy.Store, copy.Older, copy.MarkFiles, copy.Trust);
        EngineOptions = new EngineOptions
        {
            Module = options.Module,
            Incarnation = options.Incarnation,
            Timings = options.Timings,
            Directories = copy.Store.Directories,
            ResyncStepDeadlineMs = (long)options.ResyncStepDeadline.TotalMilliseconds,
            ResyncFlushBytes = options.ResyncFlushBytes,
            ActivityLogSlots = LogSlots,
        };
    }

    public ModuleLoop Place { get; }

    public ObjectStore Store { get; }

    /// <summary>What the target of a resync keeps of its copy.</summary>
    public OlderCopy Older { get; }

    /// <summary>Completes when the machine has stopped: it does nothing any more. Any thread.</summary>
    public Task Stopping => _stopped.Task;

    /// <summary>A front end's next request may be read.</summary>
    public virtual bool MayAdmit => true;

    public abstract EngineStatus Status { get; }

    LocalState IEngineSurroundings.State => Options.Bases.Current;

    protected ReplicationOptions Options { get; }

    protected EngineOptions EngineOptions { get; }

    Guid IEngineSurroundings.NewGuid() => Guid.NewGuid();

    double IEngineSurroundings.NextUnit() => Random.Shared.NextDouble();

    bool IEngineSurroundings.IsReferenced(ulong obj) => IsReferenced(obj);

    /// <summary>Whoever has fed the machine outside of a turn of the loop may leave the rest to its end: it comes at once.</summary>
    public void EndTurn()
    {
        if (_inTurn)
            throw new InvalidOperationException("A turn was ended inside itself.");
        _inTurn = true;
        bool more;
        do
        {
            more = FeedFrames();
            FinishTurn();
            SendAll();
            more |= ExecuteLocally();
            more |= Deliver();
            more |= StartWaitingReads();
            more |= AdmitParked();
            CloseLinks();
        }
        while (more && !_stopped.Task.IsCompleted);
        _inTurn = false;
        TurnEnded();
    }

    public void Tick(long nowMs)
    {
        TellTime(nowMs);
        LeaveNetworks();
        LingerLinks(nowMs);
    }

    /// <summary>Asks the machine to stop; <see cref="Stopping"/> tells the end.</summary>
    public abstract void Stop();

    /// <summary>After <see cref="Stopping"/>: no link is left, and the copy and its marks may be used by somebody else. Any thread but the
    /// loop's.</summary>
    public void Close()
    {
        _markFiles.Dispose();
        Older.Dispose();
        Store.Dispose();
    }

    /// <summary>A local work came back.</summary>
    /// <returns>True if the machine still wants to know.</returns>
    public bool LocalWorkEnded()
    {
        _localWorks--;
        return !_stopped.Task.IsCompleted;
    }

    public void Complete(OperationTag tag, int errno, int count) => _endings.Add(new Ending(tag, errno, count, default, IsMutation: false));

    public void CompleteMutation(OperationTag tag, int errno, in ObjectAttributes attributes) =>
        _endings.Add(new Ending(tag, errno, 0, attributes, IsMutation: true));

    public void SessionUp(Guid peerIncarnation) => _events.Add(new(EngineEventKind.SessionUp, peerIncarnation, ""));

    public void SessionLost(string reason) => _events.Add(new(EngineEventKind.SessionLost, default, reason));

    public void ResyncStarting(Guid syncBase) => _events.Add(new(EngineEventKind.ResyncStarting, syncBase, ""));

    public void ReplicaFlushed(Guid syncBase) => _events.Add(new(EngineEventKind.ReplicaFlushed, syncBase, ""));

    public void PeerCaughtUp(Guid syncBase) => _events.Add(new(EngineEventKind.PeerCaughtUp, syncBase, ""));

    public void Quiesced() => _events.Add(new(EngineEventKind.Quiesced, default, ""));

    public void LocalFault(string reason)
    {
        _trust.Fault();
        _events.Add(new(EngineEventKind.LocalFault, default, reason));
    }

    public void Stopped() => _events.Add(new(EngineEventKind.Stopped, default, ""));

    protected abstract void FinishTurn();

    /// <summary>Tells the machine the time.</summary>
    protected abstract void TellTime(long nowMs);

    protected virtual bool IsReferenced(ulong obj) => false;

    /// <summary>Ends of operations are not given out now (rule S8).</summary>
    protected virtual bool HoldsEndings => false;

    protected virtual void Deliver(in OperationTag tag, int errno, int count) =>
        throw new InvalidOperationException("An operation ended that nobody began.");

    protected virtual void DeliverMutation(in OperationTag tag, int errno, in ObjectAttributes attributes) =>
        throw new InvalidOperationException("A mutation ended that nobody began.");

    /// <summary>Begins operations that had no room.</summary>
    /// <returns>True if one was begun.</returns>
    protected virtual bool AdmitParked() => false;

    protected virtual void TurnEnded()
    {
    }

    protected void Begin(LocalWork work)
    {
        _localWorks++;
        Place.Disk.Put(work);
    }

    protected void Begin<T>(Func<T> perform, Action<T> answer) => Begin(new LocalStep<T>(this, perform, answer));

    private bool Deliver()
    {
        var any = _events.Count > 0;
        // A completion may lead to further inputs, and so to further endings.
        var holds = HoldsEndings;
        for (var i = 0; i < _endings.Count && !holds; i++)
        {
            any = true;
            var ending = _endings[i];
            if (ending.IsMutation)
                DeliverMutation(ending.Tag, ending.ErrorNumber, ending.Attributes);
            else
                Deliver(ending.Tag, ending.ErrorNumber, ending.Count);
        }
        if (!holds)
            _endings.Clear();
        for (var i = 0; i < _events.Count; i++)
            Raise(_events[i]);
        _events.Clear();
        return any;
    }

    private void Raise(in EngineEvent told)
    {
        var events = Options.Events;
        Telling(told.Kind, told.Reason);
        switch (told.Kind)
        {
            case EngineEventKind.SessionUp:
                events.SessionUp(told.Name);
                break;
            case EngineEventKind.SessionLost:
                events.SessionLost(told.Reason);
                break;
            case EngineEventKind.ResyncStarting:
                events.ResyncStarting(told.Name);
                break;
            case EngineEventKind.ReplicaFlushed:
                events.ReplicaFlushed(told.Name);
                break;
            case EngineEventKind.PeerCaughtUp:
                events.PeerCaughtUp(told.Name);
                break;
            case EngineEventKind.Quiesced:
                events.Quiesced();
                break;
            case EngineEventKind.LocalFault:
                events.LocalFault(told.Reason);
                break;
            case EngineEventKind.Stopped:
                Place.Drive(null);
                EndAllLinks();
                _stopped.TrySetResult();
                break;
        }
    }

    /// <summary>An event is about to be told.</summary>
    protected virtual void Telling(EngineEventKind kind, string reason)
    {
    }

    protected enum EngineEventKind
    {
        SessionUp,
        SessionLost,
        ResyncStarting,
        ReplicaFlushed,
        PeerCaughtUp,
        Quiesced,
        LocalFault,
        Stopped,
    }

    private readonly record struct EngineEvent(EngineEventKind Kind, Guid Name, string Reason);

    private readonly record struct Ending(OperationTag Tag, int ErrorNumber, int Count, ObjectAttributes Attributes, bool IsMutation);
}
