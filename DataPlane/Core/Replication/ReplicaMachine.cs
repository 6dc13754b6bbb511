using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>A module on the host that follows: lets one session of the primary at a time change the local copy. It decides; the shell does.</summary>
/// <remarks>
/// <code>
/// InSync session:  applying
/// Resync session:  greeted ──ResyncBegin, older copy kept, AllowResync, claim stored──► tree ──manifest applied──► applying ──ResyncFinal, ConfirmResynced──► (UpToDate)
/// </code>
/// <para>Nothing of the local copy changes before "tree" (rule S7). A newer session replaces an older one, which has ended for good before the
/// newer is answered: nothing of it is still being applied (rule S1).</para>
/// <para>Frames are taken in the order of their sequence. Writes run side by side as the shell likes; a mutation waits until nothing runs and
/// lets nothing begin. What is applied without a gap is acknowledged, once in a turn. Flushes run beside, each begun when everything
/// before it is applied.</para>
/// <para>One thread feeds inputs, so nothing here is locked.</para>
/// </remarks>
public sealed partial class ReplicaMachine
{
    /// <summary>Frames being applied at once.</summary>
    private const int ApplyingMax = 1024;

    /// <summary>A replica that cannot end a session in this time has a hanging disk.</summary>
    private const long ReplaceDeadlineMs = 20_000;

    private readonly EngineOptions _options;
    private readonly IEngineEffects _effects;
    private readonly IEngineSurroundings _surroundings;
    private readonly MarksMachine _marks;
    private long _epochMin;
    private long _nowMs;
    private long _watchDueMs;
    private bool _fault;
    private bool _stopping;
    private bool _stopped;
    private bool _stopIsLate;
    private string? _lastEnd;

    // A newer session that waits for the end of an older one's work.
    private int _nextLink;
    private Hello? _nextHello;
    private long _nextDueMs;

    // The session.
    private int _link;
    private Hello? _hello;
    private long _epoch;
    private long _heardMs;
    private long _receivedBytes;
    private Phase _phase;

    // The unbroken sequence of frames that the present session, or the last one, belongs to; and whether another session may go on with it.
    private Guid _stream;
    private Guid _streamOf;
    private bool _streamGoesOn;
    private string? _waitingFor;
    private byte[] _payload = new byte[4096];

    /// <param name="marks">What was recovered, with its files already made good.</param>
    public ReplicaMachine(EngineOptions options, IEngineEffects effects, IEngineSurroundings surroundings, RecoveredMarks marks, long epoch, long nowMs)
    {
        (_options, _effects, _surroundings, _epochMin, _nowMs) = (options, effects, surroundings, epoch, nowMs);
        _marks = new MarksMachine(marks, options.MarkPagesMax, effects);
    }

    private enum Phase : byte
    {
        /// <summary>Accepted; the marks are being told.</summary>
        Answering,

        /// <summary>A session that will resync.</summary>
        Greeted,

        /// <summary>Until an older copy is kept, where the file system can.</summary>
        Preserving,

        /// <summary>Until this host has stored that it is inconsistent.</summary>
        Asked,

        /// <summary>Until the claim is stored.</summary>
        Claiming,
        Tree,

        /// <summary>The manifest is being applied.</summary>
        Planting,
        Applying,
    }

    /// <summary>False: the shell leaves arrived frames where they are, and feeds them when this has changed; it looks after every input.</summary>
    public bool WantsFrames =>
        _link != 0 && _phase is Phase.Greeted or Phase.Tree or Phase.Applying && _mutation is null && !_mutationRuns && _applying < ApplyingMax;

    public EngineStatus Status => new(
        _link != 0, _marks.Map.DirtyBytes, 0, 0, 0, 0, _receivedBytes,
        _link != 0 ? _waitingFor : _lastEnd ?? "a session of the primary")
    {
        Resync = new ResyncStatus(_resyncing, _resyncFull, _resumed, _waitingFor ?? "", 0, 0, 0, 0, null),
        Verify = new VerifyStatus { Different = [], DifferentEntries = [] },
    };

    /// <summary>Latest time of the next <see cref="Tick"/>; long.MaxValue if nothing is waited for.</summary>
    public long NextDeadlineMs => _link != 0 || _nextLink != 0 || (_stopping && !_stopped) ? _watchDueMs : long.MaxValue;

    /// <summary>Something of the local copy or its marks is being worked on.</summary>
    private bool Busy => _applying > 0 || _mutationRuns || _flushesRun > 0 || _hashesRun > 0 || _describes || _phaseWorkRuns || !_marks.Idle;

    /// <summary>An authenticated connection of the peer whose greeting names this module.</summary>
    public void Accepted(int link, Hello hello)
    {
        if (_stopping)
        {
            Refuse(link, new Refusal(RefusalCode.NotFollowing, "this host no longer follows"));
            return;
        }
        LoseSession("a newer session of the primary has come");
        if (_nextLink != 0)
            Refuse(_nextLink, new Refusal(RefusalCode.Busy, "a newer session has come"));
        (_nextLink, _nextHello, _nextDueMs) = (link, hello, _nowMs + ReplaceDeadlineMs);
        ScheduleWatch();
        Settle();
    }

    /// <summary>The link has ended by itself.</summary>
    public void LinkEnded(int link, string reason)
    {
        if (link == _nextLink && link != 0)
            (_nextLink, _nextHello) = (0, null);
        else if (link == _link && link != 0)
            EndSession(reason);
        Settle();
    }

    /// <summary>The send buffer has got room.</summary>
    public void RoomFreed() => Settle();

    /// <summary>A newer epoch is known: sessions of older ones are refused from now on.</summary>
    public void RaiseEpoch(long epoch) => _epochMin = Math.Max(_epochMin, epoch);

    /// <summary>Ends the session; when nothing is applied any more, <see cref="IEngineEvents.Stopped"/>.</summary>
    public void Stop()
    {
        if (_stopping)
            return;
        _stopping = true;
        _nextDueMs = _nowMs + _options.StopDeadlineMs;
        LoseSession("this host no longer follows");
        if (_nextLink != 0)
            Refuse(_nextLink, new Refusal(RefusalCode.NotFollowing, "this host no longer follows"));
        (_nextLink, _nextHello) = (0, null);
        ScheduleWatch();
        Settle();
    }

    /// <summary>The time now, milliseconds of a monotonic clock: at the start of each turn, and when <see cref="NextDeadlineMs"/> has come.</summary>
    public void Tick(long nowMs)
    {
        _nowMs = Math.Max(_nowMs, nowMs);
        if (_nowMs < _watchDueMs)
            return;
        ScheduleWatch();
        Watch();
        Settle();
    }

    /// <summary>Everything that had come was fed: what was gathered becomes effects now.</summary>
    public void FinishTurn()
    {
        Settle();
        if (_link == 0 || (_applied == _acknowledged && !_pinged))
            return;
        (_acknowledged, _pinged) = (_applied, false);
        Send(FrameKind.Ack, FrameFlags.None, _applied, 0, []);
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
        {
            RaiseLocalFault(failure);
            Fail(0, 0, failure);
        }
        Settle();
    }

    private void ScheduleWatch() => _watchDueMs = _nowMs + Math.Clamp(_options.Timings.DetectionMs / 20, 50, 500);

    private void Watch()
    {
        if (_nextLink != 0 && _nowMs > _nextDueMs)
        {
            Refuse(_nextLink, new Refusal(RefusalCode.Busy, "an older session has not ended yet"));
            (_nextLink, _nextHello) = (0, null);
        }
        if (_stopping && !_stopped && !_stopIsLate && _nowMs > _nextDueMs)
        {
            // It is not reported as stopped: something may still be applied.
            _stopIsLate = true;
            RaiseLocalFault($"local operations of the replica did not end within {_options.StopDeadlineMs} ms");
        }
        if (_link == 0)
            return;
        // A source that is alive pings far more often.
        if (_waitingFor is null && _nowMs - _heardMs > _options.ReplicaSilenceMs)
            LoseSession("nothing was heard from the primary");
        else if (_waitingFor is not null && _nowMs > _stepDueMs)
            Fail(0, 0, $"waited {_options.ResyncStepDeadlineMs / 1000} s for {_waitingFor}");
    }

    private void Settle()
    {
        if (!Busy && _link == 0)
        {
            if (_nextLink != 0)
                Begin();
            else if (_stopping && !_stopped)
                End();
        }
        if (_link != 0)
            AdvanceSession();
    }

    private void End()
    {
        _stopped = true;
        _effects.Stopped();
    }

    private void Begin()
    {
        var (link, hello) = (_nextLink, _nextHello!);
        (_nextLink, _nextHello) = (0, null);
        if (Check(hello) is { } refusal)
        {
            Refuse(link, refusal);
            return;
        }
        (_link, _hello, _epoch, _heardMs, _receivedBytes) = (link, hello, hello.Epoch, _nowMs, 0);
        _epochMin = Math.Max(_epochMin, hello.Epoch);
        var resumes = hello.Mode == SessionMode.Resumed;
        if (!resumes)
            (_stream, _streamOf) = (hello.Session, hello.Incarnation);
        ResetSession(appliedBefore: resumes ? _applied : 0);
        var state = _surroundings.State;
        var claim = _marks.Claim;
        var payload = PayloadOf(256);
        var length = new HelloAnswer(_options.Incarnation, state.SyncBase, state.DataState, state.Record.Epoch, _marks.EverythingMayDiffer)
        {
            ResyncBase = claim.Part == ResyncPart.Target ? claim.Base : Guid.Empty,
        }.Write(payload);
        Send(FrameKind.HelloAnswer, FrameFlags.None, _applied, 0, payload[..length]);
        _effects.NameSession(link, hello.Session);
        _marksToTell = hello.Mode == SessionMode.Resync ? [.. _marks.Map.Runs()] : [];
        ScheduleWatch();
    }

    private Refusal? Check(Hello hello)
    {
        // A flush of a later session would find nothing wrong.
        if (_fault)
            return new Refusal(RefusalCode.NotFollowing, "this host's copy has failed");
        var state = _surroundings.State;
        var epochMin = Math.Max(_epochMin, state.Record.Epoch);
        if (hello.Epoch < epochMin)
            return new Refusal(RefusalCode.OlderEpoch, $"epoch {hello.Epoch} is older than {epochMin}");
        if (state.Record.Incarnation != Guid.Empty && hello.RecordIncarnation != state.Record.Incarnation)
            return new Refusal(RefusalCode.ForeignRecord, "the record is another one: it was rebuilt or restored");
        if (hello.Directories != _options.Directories)
            return new Refusal(RefusalCode.OtherDirectories, $"the module has {_options.Directories} directories here, not {hello.Directories}");
        if (hello.Mode == SessionMode.Resumed && !(_streamGoesOn && hello.Stream == _stream && hello.Incarnation == _streamOf))
            return new Refusal(RefusalCode.NotInSync, "the session that is to be resumed is not known here, or has failed");
        if (hello.Mode != SessionMode.Resync && (state.DataState != DataState.UpToDate || state.SyncBase != hello.SyncBase
            || state.Record.Epoch != hello.Epoch || _marks.EverythingMayDiffer))
            return new Refusal(RefusalCode.NotInSync, $"this copy is {state.DataState} in epoch {state.Record.Epoch}, or has another base");
        return null;
    }

    private void Refuse(int link, Refusal refusal)
    {
        var payload = PayloadOf(2048);
        var length = refusal.Write(payload);
        _effects.Send(link, new FrameHeader(FrameKind.Refused, FrameFlags.None, length, 0, 0, 0, 0), payload[..length]);
        _effects.CloseLink(link, refusal.Text, afterSending: true);
    }

    /// <summary>Tells the source which frame could not be applied, and ends the session.</summary>
    private void Fail(ulong sequence, int errno, string reason)
    {
        if (_link == 0)
            return;
        if (_resyncing && errno is (LinuxError.NoSpace or LinuxError.QuotaExceeded))
            _effects.DropPreserved(noRoom: true);
        var payload = PayloadOf(2048);
        var length = new Failure(errno, reason).Write(payload);
        Send(FrameKind.Failed, FrameFlags.None, sequence, 0, payload[..length]);
        _effects.CloseLink(_link, reason, afterSending: true);
        EndSession(reason);
        _streamGoesOn = false;
        if (LinuxError.IsDiskFault(errno))
            RaiseLocalFault(reason);
    }

    private void LoseSession(string reason)
    {
        if (_link == 0)
            return;
        _effects.CloseLink(_link, reason, afterSending: false);
        EndSession(reason);
    }

    private void EndSession(string reason)
    {
        // What has begun is still applied: only then is it known how far this copy has come.
        _streamGoesOn = _phase == Phase.Applying ? !_resyncing : _hello!.Mode == SessionMode.Resumed;
        (_link, _hello, _waitingFor) = (0, null, null);
        _lastEnd = $"a session of the primary; the last one ended: {reason}";
        ForgetSession();
    }

    private void RaiseLocalFault(string reason)
    {
        if (_fault)
            return;
        _fault = true;
        _effects.LocalFault(reason);
    }

    private void Send(FrameKind kind, FrameFlags flags, ulong sequence, long offset, ReadOnlySpan<byte> payload) =>
        _effects.Send(_link, new FrameHeader(kind, flags, payload.Length, _epoch, sequence, 0, offset), payload);

    private Span<byte> PayloadOf(int bytes)
    {
        if (_payload.Length < bytes)
            _payload = new byte[bytes];
        return _payload.AsSpan(0, bytes);
    }
}
