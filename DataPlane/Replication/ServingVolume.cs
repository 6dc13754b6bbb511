using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

/// <summary>How the peer takes part in operations that begin now.</summary>
internal enum PeerPart
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

/// <summary>The volume of a module while this host serves it: admits operations, does the local part, sends the peer's part, and completes
/// when the <see cref="WriteLedger"/> says so.</summary>
/// <remarks>
/// <para>One lock, <see cref="_gate"/>, guards ledger, flush coverage, marks, orphans and all flags. It is never held during disk or
/// network I/O (the exception, a stat after a failed write, is marked) nor while events or completions are raised. Mutations take
/// <see cref="_mutationLock"/> before it. Whoever waits for something waits on the gate; it is pulsed whenever an operation leaves, room
/// appears or a flag changes.</para>
/// <para>The way of a write: docs/architecture.md.</para>
/// </remarks>
internal sealed partial class ServingVolume : IModuleVolume
{
    /// <summary>Object ids that one durable write reserves.</summary>
    private const uint IdsReserved = 4096;

    private readonly ReplicationOptions _options;
    private readonly ObjectStore _store;
    private readonly ModuleMarks _marks;
    private readonly IVolumeCompletions _completions;
    private readonly KeyValuePair<string, object?> _moduleTag;
    private readonly object _gate;
    private readonly Lock _mutationLock = new();
    private readonly WriteLedger _ledger = new();
    private readonly FlushCoverage _coverage = new(WriteLedger.OperationsMax + WriteLedger.InternalMax);
    private readonly VolumeReferences _references;

    // Objects without a name that somebody still uses. They die with this primacy, so nothing of them is marked or sent.
    private readonly HashSet<ulong> _orphans = [];

    private PeerPart _peer;
    private SourceSession? _session;
    private bool _mirrorsMutations;
    private bool _mirrorsWrites;
    private long _epoch;
    private ulong _lastId;
    private ulong _reservedId;
    private volatile bool _frozen;
    private bool _quiescing;
    private volatile bool _stopping;
    private int _waiters;
    private string? _waitingFor;
    private long _replicatedBytes;
    private long _replicatedOperations;

    public ServingVolume(
        ReplicationOptions options, ObjectStore store, ModuleMarks marks, object gate, IVolumeCompletions completions, long epoch,
        bool peerIsMember, KeyValuePair<string, object?> moduleTag)
    {
        (_options, _store, _marks, _gate, _completions, _epoch, _moduleTag) = (options, store, marks, gate, completions, epoch, moduleTag);
        _peer = peerIsMember ? PeerPart.Member : PeerPart.Out;
        // Epoch first: no two primacies give the same id. The highest id of the tree guards against one that was restored from elsewhere.
        // One epoch may be served more than once, and its highest objects may be gone by then: what was reserved is never given again.
        _lastId = _reservedId = Math.Max(Math.Max((ulong)epoch << 32, store.HighestId), store.ReservedId());
        _references = new VolumeReferences(inheritedUpTo: store.KeepsUnlinked ? _lastId : 0);
        _orphans.UnionWith(store.Unlinked());
        Adopted = _store.AdoptUnnamed(() => TryNextId(out var id) is var error && error == 0
            ? id
            : throw new StorageException("reserving object ids", error)).Count;
    }

    /// <summary>Needs the mutation lock, or that nobody else has the volume yet.</summary>
    private int TryNextId(out ulong id)
    {
        id = 0;
        if (_lastId == _reservedId)
        {
            var error = _store.ReserveIds(_reservedId + IdsReserved);
            if (error != 0)
                return error;
            _reservedId += IdsReserved;
        }
        id = ++_lastId;
        return Errno.None;
    }

    /// <summary>Objects that had no identity when serving began: they appeared while no engine looked.</summary>
    public int Adopted { get; }

    public ObjectStore Store => _store;

    public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes)
    {
        attributes = default;
        if (!MayRead())
            return Errno.EIO;
        var error = _store.Lookup(parent, name, out attributes);
        if (error == 0)
            _references.Add(attributes.Object);
        return error;
    }

    public void Reference(ulong obj) => _references.Add(obj);

    public void Forget(ulong obj, ulong count)
    {
        if (_references.Drop(obj, count))
            ReleaseIfOrphan(obj);
    }

    public int GetAttributes(ulong obj, out ObjectAttributes attributes)
    {
        attributes = default;
        return MayRead() ? _store.GetAttributes(obj, out attributes) : Errno.EIO;
    }

    public int ReadLink(ulong obj, Span<byte> target, out int length)
    {
        length = 0;
        return MayRead() ? _store.ReadLink(obj, target, out length) : Errno.EIO;
    }

    /// <remarks>A handle is the object's id: an open file has no state of its own here.</remarks>
    public int Open(ulong obj, int flags, out ulong handle)
    {
        handle = obj;
        if (!MayRead())
            return Errno.EIO;
        var error = _store.Open(obj, flags);
        if (error == 0)
            _references.Add(obj);
        return error;
    }

    public void Close(ulong handle) => Forget(handle, 1);

    public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count)
    {
        count = 0;
        if (!MayRead())
            return Errno.EIO;
        var error = _store.Read(handle, offsetBytes, buffer, out count);
        // The lease may have ended during the read: what was read then is not given out either (rule S8).
        return MayRead() ? error : Errno.EIO;
    }

    public int Seek(ulong handle, long offsetBytes, int whence, out long result)
    {
        result = 0;
        return MayRead() ? _store.Seek(handle, offsetBytes, whence, out result) : Errno.EIO;
    }

    public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit) =>
        MayRead() ? _store.ReadDirectory(handle, cookie, visit) : Errno.EIO;

    public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length)
    {
        length = 0;
        return MayRead() ? _store.GetXattr(obj, name, value, out length) : Errno.EIO;
    }

    public int ListXattr(ulong obj, Span<byte> names, out int length)
    {
        length = 0;
        return MayRead() ? _store.ListXattr(obj, names, out length) : Errno.EIO;
    }

    public int StatFs(out VolumeSpace space)
    {
        space = default;
        try
        {
            return MayRead() ? _store.StatFs(out space) : Errno.EIO;
        }
        catch (ObjectDisposedException)
        {
            // The volume was shut in between.
            return Errno.EIO;
        }
    }

    /// <summary>Waits while the volume is frozen. False: it is shut.</summary>
    private bool MayRead()
    {
        if (!_frozen)
            return !_stopping;
        lock (_gate)
        {
            while (_frozen && !_stopping)
                Wait();
            return !_stopping;
        }
    }

    /// <summary>New operations may begin. Needs the gate.</summary>
    private bool IsOpen => !_frozen && !_quiescing && MayGoOn;

    /// <summary>Operations that have entered may go on. Needs the gate.</summary>
    private bool MayGoOn => !_frozen && (_peer != PeerPart.Member || _session is not null);

    /// <summary>Waits on the gate, which must be held.</summary>
    private void Wait()
    {
        _waiters++;
        Monitor.Wait(_gate);
        _waiters--;
    }

    /// <summary>Needs the gate.</summary>
    private void WakeAll()
    {
        if (_waiters > 0)
            Monitor.PulseAll(_gate);
    }

    /// <summary>The send buffer has got room. Takes the gate only if somebody waits.</summary>
    internal void RoomFreed()
    {
        if (Volatile.Read(ref _waiters) == 0)
            return;
        lock (_gate)
            WakeAll();
    }
}
