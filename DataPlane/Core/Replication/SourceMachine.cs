namespace Pollux.DataPlane.Core.Replication;

/// <summary>The volume of a module while this host serves it: admits operations, has the local part done, sends the peer's part, completes when
/// both are done, and keeps the session with the peer, resyncs included. It decides; the shell does.</summary>
/// <remarks>
/// <para><b>The way of a write.</b></para>
/// <code>
///   Write ─► admission ─► range (no earlier overlapping one) ─► log (extents durably active) ─► room (window, send buffer)
///         ─► mark, number, send, write locally ─► both done ─► range open, completion
/// </code>
/// <para>An operation that cannot go on stands in <see cref="_waiting"/> in order of arrival and is looked at again when something has
/// changed: an operation left, a sector became stable, room appeared, a session began or ended, a freeze ended. One that waits for room
/// lets no later one take it.</para>
/// <para><b>Who owns what.</b> One thread feeds inputs, so nothing here is locked. An effect never calls back. Results that belong to a
/// session which is over are recognised by its link number.</para>
/// <para><b>Invariants.</b> A range is marked before its bytes change on either host, and marked again when the local write has ended,
/// because a flush that began meanwhile does not cover it (rule S6). While the peer may be a member, an operation ends only when the
/// peer has done its part or the record is known to name it no more (rules S2, S4). While frozen, nothing ends (rule S8).
/// After a local fault no flush succeeds: the kernel tells of lost pages once.</para>
/// </remarks>
public sealed partial class SourceMachine
{
    /// <summary>Operations that the machine takes beyond those that have entered. A front end has some hundred requests at most.</summary>
    public const int AdmissionMax = 1024;

    private readonly EngineOptions _options;
    private readonly IEngineEffects _effects;
    private readonly IEngineSurroundings _surroundings;
    private readonly MarksMachine _marks;
    private readonly WriteLedger _ledger = new();
    private readonly FlushCoverage _coverage = new(WriteLedger.Slots);
    private readonly Operation[] _operations = new Operation[WriteLedger.Slots];
    private readonly Request[] _admission = new Request[AdmissionMax];
    private readonly SlotList _waiting = new();

    // Objects without a name that somebody still uses. They die with this primacy, so nothing of them is sent; marked they are, because a
    // loss of power may give them their name back.
    private readonly HashSet<ulong> _orphans = [];

    private readonly int _adopted;
    private int _admissionFirst;
    private int _admissionCount;
    private PeerPart _peer;
    private long _epoch;
    private long _nowMs;
    private long _operationNumber;
    private long _replicatedBytes;
    private long _replicatedOperations;
    private bool _frozen;
    private bool _quiescing;
    private bool _stopping;
    private bool _changed;
    private bool _settling;
    private bool _roomShort;
    private bool _fault;

    /// <param name="marks">What was recovered, with its files already made good.</param>
    /// <param name="nowMs">See <see cref="Tick"/>.</param>
    public SourceMachine(
        EngineOptions options, IEngineEffects effects, IEngineSurroundings surroundings, RecoveredMarks marks, in SourceStart start, long nowMs)
    {
        (_options, _effects, _surroundings, _nowMs) = (options, effects, surroundings, nowMs);
        _habit = new FlushHabit(options.FlushHabitOperations);
        _companyOperations = Math.Max(1, options.FlushHabitOperations / 4);
        _marks = new MarksMachine(marks, options.MarkPagesMax, effects);
        _peer = start.PeerIsMember ? PeerPart.Member : PeerPart.Out;
        (_epoch, _adopted) = (start.Epoch, start.AdoptedObjects);
        _settledMs = _quietSinceMs = _trimmedMs = nowMs;
        _orphans.UnionWith(start.Orphans ?? []);
        // Epoch first: no two primacies give the same id. One epoch may be served more than once, and its highest objects may be gone by
        // then: what was reserved is never given again.
        _idLast = _idReserved = Math.Max((ulong)start.Epoch << 32, start.ObjectIdLast);
    }

    /// <summary>The machine takes another operation. False: the shell leaves requests where they are until this changes.</summary>
    public bool CanAdmit => _admissionCount < AdmissionMax;

    /// <summary>Looked at before and after each read: the lease may have ended in between (rule S8).</summary>
    public ReadGate Reads => _stopping ? ReadGate.Closed : _frozen ? ReadGate.Held : ReadGate.Open;

    /// <summary>New operations may enter.</summary>
    private bool IsOpen => !_frozen && !_quiescing && MayGoOn;

    /// <summary>Operations that have entered may go on.</summary>
    private bool MayGoOn => !_frozen && (_peer != PeerPart.Member || _link != 0);

    /// <summary>Holds reads, operations and completions.</summary>
    public void Freeze()
    {
        _frozen = true;
        _ledger.Hold = !_stopping;
    }

    /// <summary>Ends a freeze and a quiesce.</summary>
    public void Unfreeze()
    {
        _frozen = _quiescing = _ledger.Hold = false;
        _changed = true;
        Settle();
    }

    /// <summary>Holds new operations; when those that have entered are done, flushes on both hosts; then <see cref="IEngineEvents.Quiesced"/>.</summary>
    public void Quiesce()
    {
        if (_stopping)
            return;
        (_quiescing, _quiesceFlushes, _quiesceProves, _quiesceEnded) = (true, false, false, false);
        _changed = true;
        Settle();
    }

    /// <summary>A newer epoch is stored: frames carry it from now on.</summary>
    public void SetEpoch(long epoch)
    {
        if (epoch <= _epoch)
            return;
        _epoch = epoch;
        if (_link != 0)
            SendControl(FrameKind.EpochChanged, FrameFlags.None, []);
    }

    /// <summary>Ends everything with EIO, what is held included; local disk calls that run are waited for, then the marks are stored. Ends
    /// with <see cref="IEngineEvents.Stopped"/>. A second call does nothing.</summary>
    public void Stop()
    {
        if (_stopping)
            return;
        EndAttachment("this host no longer serves");
        _stopping = true;
        _quiescing = false;
        _stopDueMs = _nowMs + _options.StopDeadlineMs;
        // What waits for the peer is not released by this: it ends with an error.
        FailFlushes();
        _marks.Map.PeerLost();
        while (_admissionCount > 0)
        {
            ref readonly var request = ref NextRequest();
            Answer(request, LinuxError.InputOutput);
            DropRequest();
        }
        _changed = true;
        Settle();
    }

    /// <summary>The time now, milliseconds of a monotonic clock: at the start of each turn, and when <see cref="NextDeadlineMs"/> has come.</summary>
    public void Tick(long nowMs)
    {
        _nowMs = Math.Max(_nowMs, nowMs);
        if (_nowMs < _watchDueMs)
            return;
        _watchDueMs = _nowMs + WatchIntervalMs;
        Watch();
        Settle();
    }

    /// <summary>Latest time of the next <see cref="Tick"/>; long.MaxValue if nothing is waited for.</summary>
    public long NextDeadlineMs => _attached || _link != 0 || _stopping || !_waiting.IsEmpty || _ledger.Count > 0 ? _watchDueMs : long.MaxValue;

    /// <summary>Everything that had come was fed: what was gathered becomes effects now.</summary>
    public void FinishTurn()
    {
        if (_changed)
            Settle();
        _marks.FinishTurn();
    }

    /// <summary>A sector of the activity log is stable, or could not be written.</summary>
    public void LogSectorStored(int group, int errno)
    {
        _marks.LogSectorStored(group, errno);
        MarksChanged();
    }

    public void CheckpointStored(int errno)
    {
        _marks.CheckpointStored(errno);
        MarksChanged();
    }

    public void LogReplaced(int errno)
    {
        _marks.LogReplaced(errno);
        MarksChanged();
    }

    private void MarksChanged()
    {
        if (_marks.Failure is { } failure)
            RaiseLocalFault(failure);
        _changed = true;
        Settle();
    }

    /// <summary>Does everything that has become possible. Every input that changes something ends here.</summary>
    private void Settle()
    {
        if (_settling)
            return;
        _settling = true;
        do
        {
            _changed = false;
            DeliverEnded();
            ReleaseOrphans();
            AdvanceWaiting();
            Admit();
            BeginExpectedFlushes();
            AnswerCovered();
            AdvanceQuiesce();
            AdvanceResync();
            AdvanceVerify();
            AdvanceStop();
        }
        while (_changed);
        _settling = false;
    }

    /// <summary>This copy has failed: nothing of it counts as stable any more. One report is enough: the role machine gives up this primacy.</summary>
    private void RaiseLocalFault(string reason)
    {
        if (_fault)
            return;
        _fault = true;
        _effects.LocalFault(reason);
    }
}

/// <summary>How the peer takes part in operations that begin now.</summary>
internal enum PeerPart : byte
{
    /// <summary>It is out of the record; writes are local and marked.</summary>
    Out,

    /// <summary>A resync runs: it gets operations, none waits for it.</summary>
    Syncing,

    /// <summary>The end of a resync: operations wait for it, but it is not in the record yet and may be dropped.</summary>
    Joining,

    /// <summary>The record may name it: operations wait for it, and without it they are held (rule S4).</summary>
    Member,
}

/// <summary>How serving begins.</summary>
/// <param name="PeerIsMember">The record may name the peer: acknowledgements wait for it from the first operation on.</param>
/// <param name="ObjectIdLast">The highest id that was ever given or reserved; further ones follow it.</param>
/// <param name="AdoptedObjects">Objects that had no identity when the copy was opened: they appeared while no engine looked.</param>
/// <param name="Orphans">Objects without a name that front ends still use since the time of an earlier process, or null.</param>
public readonly record struct SourceStart(
    long Epoch, bool PeerIsMember, ulong ObjectIdLast, int AdoptedObjects, IReadOnlyCollection<ulong>? Orphans = null);
