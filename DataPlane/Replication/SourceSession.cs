using System.Diagnostics;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Replication;

/// <summary>One connection from the primary to the replica: greeting, then acknowledgements in, resync beside. Its thread is the only one
/// that receives; a timer watches that the peer makes progress.</summary>
internal sealed class SourceSession
{
    private readonly ReplicationOptions _options;
    private readonly ServingVolume _volume;
    private readonly bool _inSync;
    private readonly object _flushLock = new();
    private readonly long[] _flushDueMs = new long[WriteLedger.Slots];
    private int _flushesOut;

    private ulong _watchedApplied;
    private long _progressMs;
    private long _phaseDeadlineMs;

    public SourceSession(ReplicationOptions options, ServingVolume volume, Stream stream, bool inSync)
    {
        (_options, _volume, _inSync) = (options, volume, inSync);
        Link = new ReplicationLink(stream, options.Module, ReplicationLink.SendBytesMax, volume.RoomFreed);
    }

    public ReplicationLink Link { get; }

    public ResyncSource? Resync { get; private set; }

    private string EndReason => Refused is { } refusal ? $"{refusal.Code}: {refusal.Text}" : Link.EndReason ?? "";

    /// <summary>The session was up: its end is a loss.</summary>
    public bool WasUp { get; private set; }

    /// <summary>The base that the peer named.</summary>
    public Guid PeerSyncBase { get; private set; }

    /// <summary>Why the peer did not accept, if it said so.</summary>
    public Refusal? Refused { get; private set; }

    /// <summary>The peer may be a member after the session has ended: what waits for it is held.</summary>
    public bool PeerHolds { get; private set; }

    /// <summary>Runs the session to its end on the calling thread. When it returns, nothing of it runs and all its events were raised.</summary>
    /// <returns>Why it ended.</returns>
    public string Run()
    {
        using var activity = ReplicationMetrics.Source.StartActivity("replication.session", ActivityKind.Client);
        activity?.SetTag("module", _options.Module);
        activity?.SetTag("mode", _inSync ? "in-sync" : "resync");
        _progressMs = Environment.TickCount64;
        AllowSilence(_options.HandshakeDeadline);
        using var watch = new Timer(Watch, null, 50, (int)Math.Clamp(_options.Timings.DetectionMs / 20, 50, 500));
        try
        {
            if (Greet() is { } answer && Begin(answer))
                ReceiveUntilTheEnd();
        }
        catch (Exception e)
        {
            // A fault of the engine is a lost session with its reason: the role machine excludes the peer or dials again.
            Link.End($"the session failed here: {e.GetType().Name}: {e.Message}");
        }
        finally
        {
            Link.End("the session has ended");
            PeerHolds = _volume.SessionEnded(this, EndReason);
            // The caller reports the loss after this: "caught up" must not come later than that.
            Resync?.EndWithSession();
        }
        activity?.SetTag("end", EndReason);
        return EndReason;
    }

    /// <summary>For a step in which the peer is busy and acknowledges nothing.</summary>
    public void AllowSilence(TimeSpan silence) => Interlocked.Exchange(ref _phaseDeadlineMs, Environment.TickCount64 + (long)silence.TotalMilliseconds);

    public void ExpectProgress()
    {
        Interlocked.Exchange(ref _progressMs, Environment.TickCount64);
        Interlocked.Exchange(ref _phaseDeadlineMs, 0);
    }

    /// <param name="deadline">How long the peer may take for it.</param>
    public void FlushSent(int slot, TimeSpan deadline)
    {
        lock (_flushLock)
        {
            _flushDueMs[slot] = Environment.TickCount64 + (long)deadline.TotalMilliseconds;
            _flushesOut++;
        }
    }

    public void FlushEnded(int slot)
    {
        lock (_flushLock)
        {
            if (_flushDueMs[slot] == 0)
                return;
            _flushDueMs[slot] = 0;
            _flushesOut--;
        }
    }

    private HelloAnswer? Greet()
    {
        var state = _options.Bases.Current;
        var hello = new Hello(
            _options.Module, Guid.NewGuid(), _options.Incarnation, _volume.Epoch, state.Record.Incarnation, state.SyncBase, state.PendingSyncBase,
            _inSync ? SessionMode.InSync : SessionMode.Resync);
        var payload = new byte[2048];
        var length = hello.Write(payload);
        if (!Link.Send(FrameKind.Hello, FrameFlags.None, hello.Epoch, 0, 0, 0, payload.AsSpan(0, length)) || !Link.Receive(out var header, out var body))
            return null;
        switch (header.Kind)
        {
            case FrameKind.HelloAnswer when HelloAnswer.Read(body) is { } answer:
                return answer;
            case FrameKind.Refused when Refusal.Read(body) is { } refusal:
                Refused = refusal;
                Link.End($"refused: {refusal.Text}");
                return null;
            default:
                Link.End($"the peer answered the greeting with {header.Kind}");
                return null;
        }
    }

    private bool Begin(HelloAnswer answer)
    {
        var state = _options.Bases.Current;
        PeerSyncBase = answer.SyncBase;
        if (_inSync)
        {
            // The replica has checked the same against its own state (NotInSync); both must be sure.
            if (answer.DataState != DataState.UpToDate || answer.SyncBase != state.SyncBase || answer.RecordEpoch != _volume.Epoch
                || answer.MarksDamaged || _volume.Adopted > 0)
            {
                Refused = new Refusal(RefusalCode.NotInSync, $"the peer's copy is {answer.DataState} in epoch {answer.RecordEpoch}, or has another base");
                Link.End(Refused.Text);
                return false;
            }
            if (!ReceiveMarks(static _ => { }))
                return false;
            _volume.BeginInSync(this);
        }
        else
        {
            var full = answer.MarksDamaged || _volume.EverythingMayDiffer || answer.SyncBase == Guid.Empty
                || (answer.SyncBase != state.SyncBase && answer.SyncBase != state.PendingSyncBase);
            if (!ReceiveMarks(_volume.Unite))
                return false;
            Resync = new ResyncSource(_options, _volume, this, full);
            _volume.BeginSyncing(this);
        }
        WasUp = true;
        ExpectProgress();
        _options.Events.SessionUp(answer.Incarnation);
        Resync?.Start();
        return true;
    }

    private bool ReceiveMarks(Action<ObjectRange> each)
    {
        while (Link.Receive(out var header, out var body))
        {
            if (header.Kind == FrameKind.Ready)
                return true;
            if (header.Kind != FrameKind.MarksChunk || !MarksCodec.Read(body, each))
            {
                Link.End($"the peer sent {header.Kind} where its marks were expected");
                return false;
            }
        }
        return false;
    }

    private void ReceiveUntilTheEnd()
    {
        while (Link.Receive(out var header, out var body))
        {
            var good = header.Kind switch
            {
                FrameKind.Ack => _volume.PeerApplied(this, header.Sequence),
                FrameKind.FlushAck => _volume.PeerFlushed(this, header.Sequence, header.OffsetBytes),
                FrameKind.Failed => EndByFailure(body),
                FrameKind.Ready or FrameKind.ManifestApplied or FrameKind.ReplicaUpToDate => Resync?.Received(header, body) ?? false,
                _ => false,
            };
            if (!good)
                Link.End($"the peer sent a {header.Kind} that does not belong here");
        }
    }

    private bool EndByFailure(ReadOnlySpan<byte> body)
    {
        var failure = Failure.Read(body) ?? new Failure(0, "no reason given");
        Link.End($"the peer could not apply: {failure.Reason}");
        return true;
    }

    private void Watch(object? _)
    {
        var now = Environment.TickCount64;
        var phaseDeadline = Interlocked.Read(ref _phaseDeadlineMs);
        if (phaseDeadline != 0)
        {
            if (now > phaseDeadline)
                Link.End("the peer did not finish a step of the session in time");
            return;
        }
        var (sent, applied, bytes) = _volume.Progress();
        if (applied != _watchedApplied || sent == applied)
        {
            _watchedApplied = applied;
            Interlocked.Exchange(ref _progressMs, now);
        }
        else if (now - Interlocked.Read(ref _progressMs) > (long)_options.ProgressDeadline.TotalMilliseconds)
        {
            Link.End($"the peer owes acknowledgements of {sent - applied} frames ({bytes} bytes) for more than {_options.ProgressDeadline.TotalSeconds:0.#} s");
            return;
        }
        if (FirstFlushDueMs() is var due && due != 0 && now > due)
        {
            Link.End("a flush on the peer takes too long");
            return;
        }
        var silence = now - Link.LastReceivedMs;
        if (silence > (long)_options.ProgressDeadline.TotalMilliseconds * 2)
            Link.End($"nothing was heard from the peer for {silence} ms");
        else if (silence > (long)_options.ProgressDeadline.TotalMilliseconds / 2 && Link.TryReserve(0, out var frame))
            Link.Commit(frame, new FrameHeader(FrameKind.Ping, FrameFlags.None, 0, _volume.Epoch, 0, 0, 0), mayInline: false);
    }

    private long FirstFlushDueMs()
    {
        lock (_flushLock)
        {
            if (_flushesOut == 0)
                return 0;
            var first = long.MaxValue;
            foreach (var dueMs in _flushDueMs)
            {
                if (dueMs != 0 && dueMs < first)
                    first = dueMs;
            }
            return first == long.MaxValue ? 0 : first;
        }
    }
}
