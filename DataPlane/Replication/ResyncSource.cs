using System.Diagnostics;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>The source's side of a resync, on a thread of its own beside the session's.</summary>
/// <remarks>
/// <code>
/// starting ──AllowResync──► tree ──ManifestApplied──► copying ──nothing dirty──► joining ──ReplicaUpToDate──► member
///      (pending base stored)   (mutations mirrored)      (writes mirrored)        (acknowledgements wait)
/// </code>
/// The session's end stops it at any step; only after the last one may the peer be a member.
/// </remarks>
internal sealed class ResyncSource(ReplicationOptions options, ServingVolume volume, SourceSession session, bool full)
{
    /// <summary>What is copied and not yet acknowledged while no guest operation is outstanding; and while some are, so that they do not
    /// queue behind much of it. Bytes.</summary>
    public const long WindowBytesMax = 4 << 20;
    public const long WindowBytesBesideGuests = 1 << 20;

    private readonly object _lock = new();
    private readonly List<ulong> _wholeObjects = [];
    private readonly Stopwatch _clock = new();
    private Guid _syncBase;
    private bool _allowed;
    private bool _ready;
    private bool _treeApplied;
    private bool _upToDate;
    private bool _ended;
    private long _totalBytes;
    private long _doneBytes;
    private Thread? _thread;

    public bool Full => full;
    public bool Running { get; private set; }
    public long TotalBytes => Interlocked.Read(ref _totalBytes);
    public long DoneBytes => Interlocked.Read(ref _doneBytes);
    public double BytesPerSecond => _clock.Elapsed.TotalSeconds is > 0 and var seconds ? DoneBytes / seconds : 0;

    public void Start()
    {
        Running = true;
        _thread = new Thread(Run) { IsBackground = true, Name = $"resync {options.Module}" };
        _thread.Start();
    }

    /// <summary>The machine has stored the pending base.</summary>
    public void Allow(Guid syncBase)
    {
        lock (_lock)
        {
            _allowed |= syncBase == _syncBase;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>Takes a frame of the replica; the session's thread.</summary>
    public bool Received(in FrameHeader header, ReadOnlySpan<byte> body)
    {
        lock (_lock)
        {
            switch (header.Kind)
            {
                case FrameKind.Ready:
                    _ready = true;
                    break;
                case FrameKind.ManifestApplied:
                    var reader = new WireReader(body);
                    while (reader.RestBytes >= sizeof(ulong))
                        _wholeObjects.Add(reader.UInt64());
                    if (!reader.Complete)
                        return false;
                    _treeApplied = header.Flags.HasFlag(FrameFlags.Last);
                    break;
                case FrameKind.ReplicaUpToDate:
                    _upToDate = new WireReader(body).Guid() == _syncBase;
                    break;
            }
            Monitor.PulseAll(_lock);
            return true;
        }
    }

    /// <summary>The session is over, and the volume knows: waits until nothing of the resync runs.</summary>
    public void EndWithSession()
    {
        lock (_lock)
        {
            _ended = true;
            Monitor.PulseAll(_lock);
        }
        _thread?.Join();
    }

    private void Run()
    {
        using var activity = ReplicationMetrics.Source.StartActivity("replication.resync");
        activity?.SetTag("module", options.Module);
        activity?.SetTag("full", full);
        _clock.Start();
        var caughtUp = false;
        try
        {
            caughtUp = Resync();
        }
        catch (StorageException e)
        {
            volume.RaiseLocalFault($"the tree could not be read for a resync: {e.Message}");
        }
        catch (Exception e)
        {
            session.Link.End($"the resync failed here: {e.GetType().Name}: {e.Message}");
        }
        _clock.Stop();
        Running = false;
        activity?.SetTag("bytes", DoneBytes);
        activity?.SetTag("caught-up", caughtUp);
        if (caughtUp)
            options.Events.PeerCaughtUp(_syncBase);
        else
            session.Link.End("the resync did not finish");
    }

    private bool Resync()
    {
        // A target that already carries the pending base of an earlier resync keeps matching if this one is cut off too.
        var pending = options.Bases.Current.PendingSyncBase;
        lock (_lock)
            _syncBase = session.PeerSyncBase == pending && pending != Guid.Empty ? pending : Guid.NewGuid();
        options.Events.ResyncStarting(_syncBase);
        if (!Await(static resync => resync._allowed, "this host to store the pending base"))
            return false;
        session.AllowSilence(options.ResyncStepDeadline);
        if (!SendBase(FrameKind.ResyncBegin, full ? FrameFlags.Full : FrameFlags.None) || !Await(static resync => resync._ready, "the peer to store that it is inconsistent"))
            return false;
        if (!volume.SendTree(session, full) || !Await(static resync => resync._treeApplied, "the peer to make its tree equal"))
            return false;
        session.ExpectProgress();
        var unsent = volume.MirrorWrites(session, _wholeObjects);
        Interlocked.Exchange(ref _totalBytes, volume.DirtyBytes);
        // A first flush takes most of the work off the last one, for which guests wait.
        if (!CopyAll() || !volume.AwaitEnd(session, unsent) || !volume.FlushEverything(withPeer: true).PeerConfirmed)
            return false;
        if (!volume.BeginJoining(session) || !CopyAll())
            return false;
        return volume.FlushForTheLastTime(session, () => SendBase(FrameKind.ResyncFinal, FrameFlags.None), () => Await(static resync => resync._upToDate, "the peer to store that it is up to date"));
    }

    private bool CopyAll()
    {
        var cursor = default(DirtyCursor);
        var unflushed = 0L;
        while (volume.CopyNext(session, ref cursor, out var bytes))
        {
            if (bytes == 0)
                return true;
            unflushed += bytes;
            if (unflushed >= options.ResyncFlushBytes)
            {
                unflushed = 0;
                if (!volume.FlushEverything(withPeer: true).PeerConfirmed)
                    return false;
            }
            var done = Interlocked.Add(ref _doneBytes, bytes);
            if (done > TotalBytes)
                Interlocked.Exchange(ref _totalBytes, done);
            ReplicationMetrics.Resynced.Add(bytes, new KeyValuePair<string, object?>("module", options.Module));
        }
        return false;
    }

    private bool SendBase(FrameKind kind, FrameFlags flags)
    {
        Span<byte> payload = stackalloc byte[16];
        var writer = new WireWriter(payload);
        writer.Guid(_syncBase);
        return session.Link.Send(kind, flags, volume.Epoch, 0, 0, 0, payload);
    }

    private bool Await(Func<ResyncSource, bool> condition, string what)
    {
        var clock = Stopwatch.StartNew();
        lock (_lock)
        {
            while (!condition(this))
            {
                var left = options.ResyncStepDeadline - clock.Elapsed;
                if (_ended)
                    return false;
                if (left <= TimeSpan.Zero)
                {
                    session.Link.End($"waited {options.ResyncStepDeadline.TotalSeconds:0} s for {what}");
                    return false;
                }
                Monitor.Wait(_lock, left);
            }
            return !_ended;
        }
    }
}
