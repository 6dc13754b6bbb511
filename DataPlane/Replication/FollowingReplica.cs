using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>The replica side while it is open: owns the local copy and lets one session at a time change it. A newer session replaces an
/// older one, which has ended for good before the newer is answered (rule S1).</summary>
internal sealed class FollowingReplica(ReplicationOptions options, ObjectStore store, OlderCopy older, ModuleMarks marks, long epoch) : IDisposable
{
    /// <summary>A replica that cannot end a session in this time has a hanging disk.</summary>
    private static readonly TimeSpan ReplaceDeadline = TimeSpan.FromSeconds(20);

    private readonly SemaphoreSlim _oneSession = new(1, 1);
    private readonly Lock _lock = new();
    private ReplicaSession? _session;
    private bool _stopped;
    private long _epochMin = epoch;
    private string? _lastEnd;

    public ObjectStore Store => store;
    public ModuleMarks Marks => marks;
    public OlderCopy Older => older;

    public string? WaitingFor
    {
        get
        {
            lock (_lock)
                return _session is { } session ? session.WaitingFor : _lastEnd ?? "a session of the primary";
        }
    }

    public ReplicaSession? Session
    {
        get
        {
            lock (_lock)
                return _session;
        }
    }

    /// <summary>A newer epoch is known: older sessions are refused from now on.</summary>
    public void RaiseEpoch(long newer)
    {
        lock (_lock)
            _epochMin = Math.Max(_epochMin, newer);
    }

    /// <summary>Runs a session to its end.</summary>
    public async Task RunAsync(Stream stream, Hello hello)
    {
        var older = Session;
        older?.Link.End("a newer session of the primary has come");
        if (!await _oneSession.WaitAsync(ReplaceDeadline).ConfigureAwait(false))
        {
            await RefuseAsync(stream, new Refusal(RefusalCode.Busy, "an older session has not ended yet")).ConfigureAwait(false);
            return;
        }
        try
        {
            if (Check(hello) is { } refusal)
            {
                await RefuseAsync(stream, refusal).ConfigureAwait(false);
                return;
            }
            var session = new ReplicaSession(options, this, stream, hello);
            lock (_lock)
            {
                if (_stopped)
                {
                    session.Link.End("this host no longer follows");
                    return;
                }
                _session = session;
                _epochMin = Math.Max(_epochMin, hello.Epoch);
            }
            try
            {
                await Task.Factory.StartNew(session.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
            }
            finally
            {
                lock (_lock)
                {
                    _session = null;
                    _lastEnd = $"a session of the primary; the last one ended: {session.Link.EndReason}";
                }
            }
        }
        finally
        {
            _oneSession.Release();
        }
    }

    /// <summary>Ends the session and waits until nothing is applied any more.</summary>
    public async Task StopAsync()
    {
        ReplicaSession? session;
        lock (_lock)
        {
            _stopped = true;
            session = _session;
        }
        session?.Link.End("this host no longer follows");
        await _oneSession.WaitAsync().ConfigureAwait(false);
    }

    public void Dispose()
    {
        marks.Dispose();
        older.Dispose();
        store.Dispose();
        _oneSession.Dispose();
    }

    private Refusal? Check(Hello hello)
    {
        var state = options.Bases.Current;
        long epochMin;
        lock (_lock)
        {
            if (_stopped)
                return new Refusal(RefusalCode.NotFollowing, "this host no longer follows");
            epochMin = Math.Max(_epochMin, state.Record.Epoch);
        }
        if (hello.Epoch < epochMin)
            return new Refusal(RefusalCode.OlderEpoch, $"epoch {hello.Epoch} is older than {epochMin}");
        if (state.Record.Incarnation != Guid.Empty && hello.RecordIncarnation != state.Record.Incarnation)
            return new Refusal(RefusalCode.ForeignRecord, "the record is another one: it was rebuilt or restored");
        if (hello.Mode == SessionMode.InSync
            && (state.DataState != DataState.UpToDate || state.SyncBase != hello.SyncBase || state.Record.Epoch != hello.Epoch || marks.Damaged))
            return new Refusal(RefusalCode.NotInSync, $"this copy is {state.DataState} in epoch {state.Record.Epoch}, or has another base");
        return null;
    }

    internal static async Task RefuseAsync(Stream stream, Refusal refusal)
    {
        var frame = new byte[FrameHeader.SizeBytes + 2048];
        var length = refusal.Write(frame.AsSpan(FrameHeader.SizeBytes));
        new FrameHeader(FrameKind.Refused, FrameFlags.None, length, 0, 0, 0, 0).Seal(frame.AsSpan(0, FrameHeader.SizeBytes + length));
        await using (stream.ConfigureAwait(false))
        {
            try
            {
                await stream.WriteAsync(frame.AsMemory(0, FrameHeader.SizeBytes + length)).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or ObjectDisposedException)
            {
                // The peer is gone already; it will ask again.
            }
        }
    }
}
