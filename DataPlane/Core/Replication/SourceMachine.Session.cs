using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Core.Replication;

// The session with the peer: dialling for as long as it is attached, greeting, acknowledgements, deadlines, and what its end means.
//
//   AttachPeer ─► dial ─► Hello ─► HelloAnswer, MarksChunk…, Ready ─► up (in sync, or resync) ─► lost ─┐
//                  ▲────────────────────────── pause, with jitter ◄─────────────────────────────────────┘
//
// A session that ends while the peer may be a member is resumed (.Resumption) or not replaced: operations are held until the record says
// what the peer is (rule S4), and a new attachment follows. An in-sync session that was never up may be tried again: nothing was sent.
public sealed partial class SourceMachine
{
    private const long PauseMsMin = 100;
    private const long PauseMsMax = 5_000;

    /// <summary>The link of the session that is up; 0: none.</summary>
    private int _link;

    // The attachment.
    private bool _attached;
    private bool _attachedInSync;
    private bool _attachmentEnded;
    private bool _lossReported;
    private long _attachedMs;
    private long _triedMs;
    private long _pauseMs;
    private long _dialDueMs;
    private int _attempt;

    // The try that runs.
    private SessionPhase _phase;
    private int _greetingLink;
    private long _handshakeDueMs;
    private HelloAnswer? _answer;
    private string? _waitingFor;

    // The session that is up.
    private bool _mirrorsMutations;
    private bool _mirrorsWrites;
    private ulong _watchedApplied;
    private long _progressMs;
    private long _heardMs;
    private long _pingedMs;
    private long _silenceAllowedUntilMs;
    private long _watchDueMs;

    private enum SessionPhase : byte
    {
        None,
        Dialling,

        /// <summary>Hello is sent.</summary>
        Greeting,

        /// <summary>The peer tells its marks.</summary>
        Marks,
        Up,
    }

    private long WatchIntervalMs => Math.Clamp(_options.Timings.DetectionMs / 20, 50, 500);

    /// <summary>Keeps a session with the peer from now on. Callers may repeat it.</summary>
    /// <param name="inSync">The record names the peer and both copies are equal; otherwise a resync runs.</param>
    public void AttachPeer(long epoch, bool inSync)
    {
        if (_stopping || (_attached && _attachedInSync == inSync && !_attachmentEnded))
            return;
        EndAttachment("attached anew");
        SetEpoch(epoch);
        (_attached, _attachedInSync, _attachmentEnded, _lossReported) = (true, inSync, false, false);
        (_attachedMs, _pauseMs) = (_nowMs, PauseMsMin);
        Dial();
        Settle();
    }

    /// <summary>The peer is out of the record, confirmed: what it may lack is marked, what waited for it is released.</summary>
    public void DetachPeer(long epoch)
    {
        // First no frame of the older epoch leaves any more, then what was held goes.
        EndAttachment("the peer is out of the record");
        SetEpoch(epoch);
        _waitingFor = null;
        LosePeer();
        Settle();
    }

    public void Connected(int attempt, int link)
    {
        if (attempt != _attempt || _phase != SessionPhase.Dialling)
        {
            _effects.CloseLink(link, "not needed any more", afterSending: false);
            return;
        }
        var state = _surroundings.State;
        var session = _greetingSession = _surroundings.NewGuid();
        var hello = new Hello(
            _options.Module, session, _options.Incarnation, _epoch, state.Record.Incarnation, state.SyncBase, state.PendingSyncBase,
            Resuming ? SessionMode.Resumed : _attachedInSync ? SessionMode.InSync : SessionMode.Resync)
        {
            Directories = _options.Directories,
            Stream = Resuming ? _stream : Guid.Empty,
        };
        var payload = PayloadOf(2048);
        var length = hello.Write(payload);
        (_phase, _greetingLink) = (SessionPhase.Greeting, link);
        _effects.Send(link, new FrameHeader(FrameKind.Hello, FrameFlags.None, length, _epoch, 0, 0, 0), payload[..length]);
        _effects.NameSession(link, session);
    }

    /// <param name="refused">The peer's machine answers and nobody listens there: the process that had the session is gone.</param>
    public void DialFailed(int attempt, string reason, bool refused = false)
    {
        if (attempt != _attempt || _phase != SessionPhase.Dialling)
            return;
        if (Resuming && refused)
            GiveUpResuming(reason);
        else
            EndTry(reason, refusal: null);
        Settle();
    }

    /// <summary>The link has ended by itself: the peer, the network, or bytes that are no frame.</summary>
    public void LinkEnded(int link, string reason)
    {
        if (link == _link && _link != 0)
            EndSession(reason, byLink: true);
        else if (link == _greetingLink && _greetingLink != 0)
            EndTry(reason, refusal: null);
        Settle();
    }

    /// <summary>The send buffer has got room.</summary>
    public void RoomFreed()
    {
        _changed = true;
        Settle();
    }

    /// <summary>A sound frame of the peer.</summary>
    public void FrameArrived(int link, in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (link == 0 || (link != _link && link != _greetingLink))
            return;
        _heardMs = _nowMs;
        if (link == _greetingLink)
            Greeted(header, payload);
        else if (!Take(header, payload))
            LoseSession($"the peer sent a {header.Kind} that does not belong here");
        if (_changed)
            Settle();
    }

    private bool Take(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        switch (header.Kind)
        {
            case FrameKind.Ack:
                _changed = true;
                return _ledger.Applied(header.Sequence);
            case FrameKind.FlushAck:
                _changed = true;
                if (header.OffsetBytes is < 0 or >= WriteLedger.Slots || !_ledger.Flushed(header.Sequence, (int)header.OffsetBytes))
                    return false;
                ForgetFlushDeadline(ref _operations[header.OffsetBytes]);
                return true;
            case FrameKind.Failed:
                var failure = Failure.Read(payload) ?? new Failure(0, "no reason given");
                if (LinuxError.IsDiskFault(failure.ErrorNumber))
                    _marks.SuspectActive();
                LoseSession($"the peer could not apply: {failure.Reason}");
                return true;
            case FrameKind.HashAnswer:
                return TakeHash(payload);
            case FrameKind.EntriesAnswer:
                return TakeEntries(payload);
            case FrameKind.Ready or FrameKind.ManifestApplied or FrameKind.ReplicaUpToDate:
                _changed = true;
                return TakeResync(header, payload);
            default:
                return false;
        }
    }

    private void Dial()
    {
        (_phase, _triedMs, _dialDueMs) = (SessionPhase.Dialling, _nowMs, 0);
        _handshakeDueMs = _nowMs + _options.HandshakeDeadlineMs;
        _watchDueMs = Math.Min(_watchDueMs, _nowMs + WatchIntervalMs);
        _effects.Dial(++_attempt);
    }

    private void Greeted(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (_phase == SessionPhase.Greeting)
        {
            if (header.Kind == FrameKind.Refused && Refusal.Read(payload) is { } refusal)
                EndTry($"{refusal.Code}: {refusal.Text}", refusal);
            else if (header.Kind == FrameKind.HelloAnswer && HelloAnswer.Read(payload) is { } answer)
                Answered(answer, header.Sequence);
            else
                EndTry($"the peer answered the greeting with {header.Kind}", refusal: null);
        }
        else if (header.Kind == FrameKind.Ready)
        {
            Begin();
        }
        else if (header.Kind != FrameKind.MarksChunk || !TakeMarks(payload))
        {
            EndTry($"the peer sent {header.Kind} where its marks were expected", refusal: null);
        }
    }

    /// <param name="applied">Of the stream that is to be resumed.</param>
    private void Answered(HelloAnswer answer, ulong applied)
    {
        var state = _surroundings.State;
        // The replica has checked the same against its own state (NotInSync); both must be sure.
        var differs = answer.DataState != DataState.UpToDate || answer.SyncBase != state.SyncBase || answer.RecordEpoch != _epoch || answer.MarksDamaged;
        if (Resuming ? differs || answer.Incarnation != _peerIncarnation : _attachedInSync && (differs || _adopted > 0))
        {
            var refusal = new Refusal(RefusalCode.NotInSync, $"the peer's copy is {answer.DataState} in epoch {answer.RecordEpoch}, or has another base");
            EndTry($"{refusal.Code}: {refusal.Text}", refusal);
            return;
        }
        (_answer, _phase, _appliedThere) = (answer, SessionPhase.Marks, applied);
    }

    /// <summary>Takes over the peer's marks (rule S6). An in-sync peer has none that count.</summary>
    private bool TakeMarks(ReadOnlySpan<byte> payload)
    {
        for (; payload.Length >= ObjectRange.EncodedBytes; payload = payload[ObjectRange.EncodedBytes..])
        {
            if (!ObjectRange.TryRead(payload, out var range))
                return false;
            if (!_attachedInSync && !Resuming)
                _marks.Map.Mark(range, MarkKinds.Dirty);
        }
        return payload.IsEmpty;
    }

    private void Begin()
    {
        var resumes = Resuming;
        (_link, _greetingLink, _phase, _upMs) = (_greetingLink, 0, SessionPhase.Up, _nowMs);
        if (!resumes)
            BeginStream();
        _mirrorsMutations = _mirrorsWrites = resumes || _attachedInSync;
        _peer = _mirrorsWrites ? PeerPart.Member : PeerPart.Syncing;
        _waitingFor = null;
        _watchedApplied = 0;
        ExpectProgress();
        (_heardMs, _changed) = (_nowMs, true);
        if (resumes)
        {
            Resume();
            return;
        }
        _effects.SessionUp(_answer!.Incarnation);
        if (!_attachedInSync)
            BeginResync(_answer);
    }

    /// <summary>Ends a try whose session was never up.</summary>
    private void EndTry(string reason, Refusal? refusal)
    {
        if (_greetingLink != 0)
            _effects.CloseLink(_greetingLink, reason, afterSending: false);
        (_greetingLink, _phase, _answer) = (0, SessionPhase.None, null);
        _waitingFor = reason;
        if (Resuming)
        {
            // Who refuses has no memory of the stream, and will not get it back.
            if (refusal is not null)
                GiveUpResuming(reason);
            else
                DialAfterPause();
            return;
        }
        // The peer of a handover may need a moment until it follows: that is no loss yet.
        var hopeful = _attachedInSync && refusal is null or { Passing: true } && _nowMs - _attachedMs < _options.Timings.DegradeAfterMs;
        if (!_lossReported && !hopeful)
            ReportLoss(reason);
        DialAfterPause();
    }

    /// <summary>Ends the session from this side.</summary>
    /// <param name="byLink">The link is to blame: another may do better.</param>
    private void LoseSession(string reason, bool byLink = false)
    {
        if (_link == 0)
            return;
        _effects.CloseLink(_link, reason, afterSending: false);
        EndSession(reason, byLink);
    }

    /// <summary>The session is over. A peer that may be a member keeps its part: what waits for it is held until <see cref="DetachPeer"/>.</summary>
    private void EndSession(string reason, bool byLink)
    {
        var link = _link;
        var holds = LeaveSession(reason);
        if (holds && byLink && TryBeginResuming(link, reason))
            return;
        EndResuming(reason);
        // A peer that comes up and fails again, with its disk full say, is not dialled any faster for it.
        if (_nowMs - _triedMs > PauseMsMax)
            _pauseMs = PauseMsMin;
        ReportLoss(reason);
        _attachmentEnded = holds;
        if (!holds)
            DialAfterPause();
    }

    /// <returns>The peer may be a member.</returns>
    private bool LeaveSession(string reason)
    {
        (_link, _phase, _answer) = (0, SessionPhase.None, null);
        _mirrorsMutations = _mirrorsWrites = false;
        _waitingFor = reason;
        _changed = true;
        EndResync();
        InterruptVerify();
        if (_peer == PeerPart.Member)
            return true;
        LosePeer();
        return false;
    }

    private void EndAttachment(string reason)
    {
        _attached = false;
        _attempt++;
        EndResuming(reason);
        if (_greetingLink != 0)
            _effects.CloseLink(_greetingLink, reason, afterSending: false);
        (_greetingLink, _dialDueMs) = (0, 0);
        if (_link == 0)
        {
            _phase = SessionPhase.None;
            return;
        }
        _effects.CloseLink(_link, reason, afterSending: false);
        LeaveSession(reason);
    }

    /// <summary>What the peer may lack is marked, and nothing waits for it any more.</summary>
    private void LosePeer()
    {
        _peer = PeerPart.Out;
        FailFlushes();
        _marks.Map.PeerLost();
        _ledger.PeerConfirmedOut();
        _changed = true;
    }

    private void ReportLoss(string reason)
    {
        _lossReported = true;
        _effects.SessionLost(reason);
    }

    private void DialAfterPause()
    {
        if (!_attached)
            return;
        _dialDueMs = _nowMs + (long)(_pauseMs * (0.75 + (_surroundings.NextUnit() / 2)));
        _pauseMs = Math.Min(_pauseMs * 2, PauseMsMax);
        _watchDueMs = Math.Min(_watchDueMs, _dialDueMs);
    }

    /// <summary>For a step in which the peer is busy and acknowledges nothing.</summary>
    private void AllowSilence(long silenceMs) => _silenceAllowedUntilMs = _nowMs + silenceMs;

    private void ExpectProgress() => (_progressMs, _silenceAllowedUntilMs) = (_nowMs, 0);

    /// <summary>Sends a frame without a sequence.</summary>
    private void SendControl(FrameKind kind, FrameFlags flags, ReadOnlySpan<byte> payload) =>
        _effects.Send(_link, new FrameHeader(kind, flags, payload.Length, _epoch, 0, 0, 0), payload);

    private void Watch()
    {
        WatchWaiting();
        if (_stopping)
            return;
        WatchSettling();
        if (Resuming && _nowMs >= _resumeDueMs)
        {
            GiveUpResuming($"no other link within {_options.ResumeDeadlineMs} ms");
        }
        else if (_phase is SessionPhase.Dialling or SessionPhase.Greeting or SessionPhase.Marks && _nowMs > _handshakeDueMs)
        {
            _attempt++;
            EndTry("the peer could not be reached in time", refusal: null);
        }
        else if (_phase == SessionPhase.Up)
        {
            WatchSession();
        }
        if (_dialDueMs != 0 && _nowMs >= _dialDueMs && _phase == SessionPhase.None && _attached)
            Dial();
        if (_dialDueMs != 0)
            _watchDueMs = Math.Min(_watchDueMs, _dialDueMs);
    }

    private void WatchSession()
    {
        WatchResync();
        if (_link == 0)
            return;
        if (_silenceAllowedUntilMs != 0)
        {
            if (_nowMs > _silenceAllowedUntilMs)
                LoseSession("the peer did not finish a step of the session in time");
            return;
        }
        if (_ledger.LastApplied != _watchedApplied || _ledger.LastSent == _ledger.LastApplied)
        {
            (_watchedApplied, _progressMs) = (_ledger.LastApplied, _nowMs);
        }
        else if (_nowMs - _progressMs > _options.ProgressDeadlineMs)
        {
            LoseSession(
                $"the peer owes acknowledgements of {_ledger.LastSent - _ledger.LastApplied} frames ({_ledger.UnacknowledgedBytes} bytes) for more than {_options.ProgressDeadlineMs} ms",
                byLink: true);
            return;
        }
        if (_flushesOut > 0 && FirstFlushDueMs() < _nowMs)
        {
            LoseSession("a flush on the peer takes too long");
            return;
        }
        var silenceMs = _nowMs - _heardMs;
        if (silenceMs > _options.ProgressDeadlineMs * 2)
        {
            LoseSession($"nothing was heard from the peer for {silenceMs} ms", byLink: true);
        }
        else if (silenceMs > _options.ProgressDeadlineMs / 2 && _nowMs - _pingedMs > _options.ProgressDeadlineMs / 4)
        {
            _pingedMs = _nowMs;
            SendControl(FrameKind.Ping, FrameFlags.None, []);
        }
    }

    private long FirstFlushDueMs()
    {
        var first = long.MaxValue;
        foreach (ref readonly var operation in _operations.AsSpan())
        {
            if (operation.FlushDueMs != 0)
                first = Math.Min(first, operation.FlushDueMs);
        }
        return first;
    }

    /// <summary>Operations that wait for room in the activity log longer than they may.</summary>
    private void WatchWaiting()
    {
        for (var slot = _waiting.First; slot >= 0;)
        {
            var next = _waiting.After(slot);
            ref var operation = ref _operations[slot];
            if (operation.Step == Step.Log && _nowMs - operation.LogSinceMs > _options.ActivityLogRoomDeadlineMs)
            {
                RaiseLocalFault($"the activity log failed: no room, or no write of it, within {_options.ActivityLogRoomDeadlineMs} ms");
                _waiting.Remove(slot);
                if (operation.Kind == OperationKind.Write)
                    EndWrite(slot, LinuxError.InputOutput, 0);
                else
                    EndMutation(slot, LinuxError.InputOutput, sent: false);
            }
            slot = next;
        }
    }
}
