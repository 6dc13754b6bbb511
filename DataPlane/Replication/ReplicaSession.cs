using System.Diagnostics;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>One session on the replica: applies frames in the order of their arrival on one thread, flushes on another beside it, and
/// acknowledges what has gathered whenever nothing more has arrived.</summary>
/// <remarks>
/// <code>
/// InSync session:  applying
/// Resync session:  greeted ──ResyncBegin, AllowResync──► tree ──manifest applied──► applying ──ResyncFinal, ConfirmResynced──► (UpToDate)
/// </code>
/// Nothing of the local copy changes before "tree" (rule S7); an older copy is kept by then, where the file system can (OlderCopy).
/// </remarks>
internal sealed class ReplicaSession
{
    /// <summary>Acknowledged at the latest after so many frames, although more have arrived: the source's window must not run dry.</summary>
    private const ulong AckFramesMax = 64;

    private readonly ReplicationOptions _options;
    private readonly FollowingReplica _replica;
    private readonly ObjectStore _store;
    private readonly Hello _hello;
    private readonly object _lock = new();
    private readonly ReplicaFlusher _flusher;
    private ManifestReader? _manifest = new();
    private Phase _phase;
    private long _epoch;
    private ulong _applied;
    private ulong _acknowledged;
    private Guid _syncBase;
    private Guid _allowed;
    private Guid _confirmed;
    private string? _waitingFor;

    public ReplicaSession(ReplicationOptions options, FollowingReplica replica, Stream stream, Hello hello)
    {
        (_options, _replica, _store, _hello, _epoch) = (options, replica, replica.Store, hello, hello.Epoch);
        _phase = hello.Mode == SessionMode.InSync ? Phase.Applying : Phase.Greeted;
        Link = new ReplicationLink(stream, options.Module, ReplicationLink.ReplicaSendBytesMax, Wake);
        _flusher = new ReplicaFlusher(options.Module, _store, this);
    }

    private enum Phase
    {
        Greeted,
        Tree,
        Applying,
    }

    public ReplicationLink Link { get; }

    public string? WaitingFor => Volatile.Read(ref _waitingFor);

    public long Epoch => Interlocked.Read(ref _epoch);

    public bool Resyncing { get; private set; }
    public long ReceivedBytes { get; private set; }

    public void Run()
    {
        using var activity = ReplicationMetrics.Source.StartActivity("replication.session", ActivityKind.Server);
        activity?.SetTag("module", _options.Module);
        activity?.SetTag("mode", _hello.Mode.ToString());
        // A source that is alive pings far more often.
        var silenceMax = (long)_options.Timings.DetectionMs * 4;
        using var watch = new Timer(
            _ =>
            {
                if (_waitingFor is null && Environment.TickCount64 - Link.LastReceivedMs > silenceMax)
                    Link.End("nothing was heard from the primary");
            },
            null, silenceMax, silenceMax);
        try
        {
            if (Answer())
                ApplyUntilTheEnd();
        }
        catch (Exception e)
        {
            Fail(0, 0, $"the replica's session failed: {e.GetType().Name}: {e.Message}");
        }
        finally
        {
            Link.DiscardRest();
            Link.End("the session has ended");
            _flusher.Stop();
            activity?.SetTag("end", Link.EndReason);
        }
    }

    public void Allow(Guid syncBase)
    {
        lock (_lock)
        {
            _allowed = syncBase;
            Monitor.PulseAll(_lock);
        }
    }

    public void Confirm(Guid syncBase)
    {
        lock (_lock)
        {
            _confirmed = syncBase;
            Monitor.PulseAll(_lock);
        }
    }

    /// <summary>The flusher has made everything before ResyncFinal stable: has it stored and tells the source.</summary>
    internal void FlushedForTheLastTime()
    {
        try
        {
            ManifestApplier.ContentArrived(_store);
        }
        catch (StorageException e)
        {
            Fail(0, e.Errno, e.Message);
            return;
        }
        _options.Events.ReplicaFlushed(_syncBase);
        if (!Await(() => _confirmed == _syncBase, "this host to store that it is up to date"))
            return;
        try
        {
            _replica.Marks.ClearAll();
        }
        catch (StorageException e)
        {
            Fail(0, e.Errno, $"the replica's marks could not be cleared: {e.Message}");
            return;
        }
        Resyncing = false;
        _replica.Older.Drop();
        Span<byte> payload = stackalloc byte[16];
        new WireWriter(payload).Guid(_syncBase);
        Link.Send(FrameKind.ReplicaUpToDate, FrameFlags.None, Epoch, 0, 0, 0, payload);
    }

    internal void Flushed(ulong sequence, long slot) => Link.Send(FrameKind.FlushAck, FrameFlags.None, Epoch, sequence, 0, slot, default);

    /// <summary>Tells the source which frame could not be applied, and ends the session.</summary>
    internal void Fail(ulong sequence, int error, string reason)
    {
        var payload = new byte[2048];
        var length = new Failure(error, reason).Write(payload);
        Link.Send(FrameKind.Failed, FrameFlags.None, Epoch, sequence, 0, 0, payload.AsSpan(0, length));
        if (Resyncing && error is Errno.ENOSPC or Errno.EDQUOT)
            _replica.Older.GiveUp("the disk has no room left for the resync");
        Link.EndAfterSending(reason);
        if (error is Errno.EIO or Errno.EROFS)
            _options.Events.LocalFault(reason);
    }

    private bool Answer()
    {
        var state = _options.Bases.Current;
        var marks = _replica.Marks;
        var payload = new byte[MarksCodec.ChunkRangesMax * ObjectRange.EncodedBytes];
        var length = new HelloAnswer(_options.Incarnation, state.SyncBase, state.DataState, state.Record.Epoch, marks.Damaged).Write(payload);
        if (!Link.Send(FrameKind.HelloAnswer, FrameFlags.None, Epoch, 0, 0, 0, payload.AsSpan(0, length)))
            return false;
        if (_hello.Mode == SessionMode.Resync)
        {
            var ranges = marks.All();
            for (var first = 0; first < ranges.Count; first += MarksCodec.ChunkRangesMax)
            {
                var chunk = payload.AsSpan(0, Math.Min(MarksCodec.ChunkRangesMax, ranges.Count - first) * ObjectRange.EncodedBytes);
                MarksCodec.Write(ranges, first, chunk);
                if (!Link.Send(FrameKind.MarksChunk, FrameFlags.None, Epoch, 0, 0, 0, chunk))
                    return false;
            }
        }
        return Link.Send(FrameKind.Ready, FrameFlags.None, Epoch, 0, 0, 0, default);
    }

    private void ApplyUntilTheEnd()
    {
        while (Link.Receive(out var header, out var payload))
        {
            if (header.Epoch < _epoch)
            {
                Fail(header.Sequence, 0, $"a frame of epoch {header.Epoch} in a session of epoch {_epoch}");
                return;
            }
            if (header.Sequence != 0 && header.Sequence != _applied + 1)
            {
                Fail(header.Sequence, 0, $"frame {header.Sequence} came where {_applied + 1} was expected");
                return;
            }
            if (!Apply(header, payload, out var error, out var reason))
            {
                Fail(header.Sequence, error, reason);
                return;
            }
            if (header.Sequence != 0)
                _applied = header.Sequence;
            if (header.Kind == FrameKind.Ping || (_applied > _acknowledged && (_applied - _acknowledged >= AckFramesMax || !Link.HasReceivedFrame)))
            {
                _acknowledged = _applied;
                Link.Send(FrameKind.Ack, FrameFlags.None, _epoch, _applied, 0, 0, default);
            }
        }
    }

    private bool Apply(in FrameHeader header, ReadOnlySpan<byte> payload, out int error, out string reason)
    {
        error = 0;
        reason = "";
        ReceivedBytes += payload.Length;
        switch (header.Kind)
        {
            case FrameKind.Write when _phase == Phase.Applying:
                error = _store.Write(header.Object, header.OffsetBytes, payload);
                break;
            case FrameKind.ResyncData or FrameKind.ResyncHole when _phase == Phase.Applying && Resyncing:
                error = header.Kind == FrameKind.ResyncData
                    ? _store.Write(header.Object, header.OffsetBytes, payload)
                    : MakeHole(header.Object, header.OffsetBytes, new WireReader(payload).Int64());
                // Released by a mutation that overtook its copy.
                if (error == Errno.ESTALE)
                    error = 0;
                break;
            case FrameKind.Mutation when _phase == Phase.Applying && MutationCodec.Read(payload) is { } mutation:
                error = _store.Apply(mutation, out _, out _);
                // An object that lost its name before this session is not here.
                if (mutation.Kind == MutationKind.Release && error is Errno.ESTALE or Errno.ENOENT)
                    error = 0;
                if (error != 0)
                    reason = $"{mutation.Kind} of object {mutation.Object:x}: ";
                break;
            case FrameKind.Flush when _phase == Phase.Applying:
                _flusher.Add(header.Sequence, header.Object, header.Flags.HasFlag(FrameFlags.DataOnly), header.OffsetBytes);
                break;
            case FrameKind.EpochChanged:
                Interlocked.Exchange(ref _epoch, header.Epoch);
                _replica.RaiseEpoch(header.Epoch);
                break;
            case FrameKind.Ping:
                break;
            case FrameKind.ResyncBegin when _phase == Phase.Greeted:
                return BeginResync(payload, out reason);
            case FrameKind.ManifestChunk when _phase == Phase.Tree:
                return TakeManifest(header, payload, out error, out reason);
            case FrameKind.ResyncFinal when _phase == Phase.Applying && Resyncing && new WireReader(payload).Guid() == _syncBase:
                _flusher.AddFinal();
                break;
            default:
                reason = $"a {header.Kind} does not belong here";
                return false;
        }
        if (error == 0)
            return true;
        reason += $"{header.Kind} of object {header.Object:x} at {header.OffsetBytes}: {Errno.Describe(error)}";
        return false;
    }

    private bool BeginResync(ReadOnlySpan<byte> payload, out string reason)
    {
        _syncBase = new WireReader(payload).Guid();
        reason = "the resync names no base";
        if (_syncBase == Guid.Empty)
            return false;
        // Half of what the source waits for this answer; the rest is for storing that this copy is inconsistent.
        Volatile.Write(ref _waitingFor, "keeping an older copy of the directory");
        _replica.Older.Preserve(_options.Bases.Current, _options.ResyncStepDeadline / 2, () => Link.EndReason);
        Volatile.Write(ref _waitingFor, null);
        // Without a resync this copy stays what it is, and the next session may keep what this one could not.
        reason = "the session ended before the resync began";
        if (Link.EndReason is not null)
            return false;
        reason = "the resync was not allowed in time";
        _options.Events.ResyncStarting(_syncBase);
        if (!Await(() => _allowed == _syncBase, "this host to store that it is inconsistent"))
            return false;
        _phase = Phase.Tree;
        Resyncing = true;
        return Link.Send(FrameKind.Ready, FrameFlags.None, _epoch, 0, 0, 0, default);
    }

    private bool TakeManifest(in FrameHeader header, ReadOnlySpan<byte> payload, out int error, out string reason)
    {
        error = 0;
        reason = "the manifest could not be applied";
        try
        {
            _manifest!.Append(payload);
            if (!header.Flags.HasFlag(FrameFlags.Last))
                return true;
            if (!_manifest.Complete)
                return false;
            Volatile.Write(ref _waitingFor, "making the tree equal");
            var whole = ManifestApplier.Apply(_store, _manifest.Entries.ToList());
            _manifest = null;
            Volatile.Write(ref _waitingFor, null);
            _phase = Phase.Applying;
            return SendWholeObjects(whole);
        }
        catch (StorageException e)
        {
            (error, reason) = (e.Errno, e.Message);
            return false;
        }
    }

    private bool SendWholeObjects(IReadOnlyList<ulong> whole)
    {
        const int ChunkMax = 8192;
        var payload = new byte[ChunkMax * sizeof(ulong)];
        var first = 0;
        do
        {
            var writer = new WireWriter(payload);
            for (; first < whole.Count && writer.RoomBytes > 0; first++)
                writer.UInt64(whole[first]);
            var flags = first == whole.Count ? FrameFlags.Last : FrameFlags.None;
            if (!Link.Send(FrameKind.ManifestApplied, flags, _epoch, 0, 0, 0, payload.AsSpan(0, writer.Length)))
                return false;
        }
        while (first < whole.Count);
        return true;
    }

    private int MakeHole(ulong obj, long offsetBytes, long lengthBytes)
    {
        if (lengthBytes <= 0)
            return Errno.EINVAL;
        var error = _store.PunchHole(obj, offsetBytes, lengthBytes);
        if (error != Errno.EOPNOTSUPP)
            return error;
        // A file system without holes gets zeros.
        var zeros = new byte[FrameHeader.DataBytesMax];
        for (var done = 0L; done < lengthBytes; done += zeros.Length)
        {
            error = _store.Write(obj, offsetBytes + done, zeros.AsSpan(0, (int)Math.Min(zeros.Length, lengthBytes - done)));
            if (error != 0)
                return error;
        }
        return 0;
    }

    /// <summary>Waits for the role machine; the link's end wakes it too.</summary>
    private bool Await(Func<bool> condition, string what)
    {
        var clock = Stopwatch.StartNew();
        lock (_lock)
        {
            Volatile.Write(ref _waitingFor, what);
            while (!condition() && Link.EndReason is null && clock.Elapsed < _options.ResyncStepDeadline)
                Monitor.Wait(_lock, _options.ResyncStepDeadline);
            Volatile.Write(ref _waitingFor, null);
            return condition() && Link.EndReason is null;
        }
    }

    private void Wake()
    {
        lock (_lock)
            Monitor.PulseAll(_lock);
    }
}
