using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

/// <summary>The replication engine of one module. Either it serves (<see cref="ServingVolume"/>, and a <see cref="SourceSession"/> while the peer is
/// attached) or it follows (<see cref="FollowingReplica"/>), never both; the role machine decides which.</summary>
/// <remarks>The methods are called by the module's runtime, one at a time. Sessions run on their own threads. <see cref="_lock"/> guards which
/// parts exist.</remarks>
public sealed class ReplicationEngine : IReplicationEngine
{
    private readonly ReplicationOptions _options;
    private readonly Lock _lock = new();
    private ServingVolume? _volume;
    private FollowingReplica? _replica;
    private PeerAttachment? _attachment;
    private OlderCopy? _older;

    public ReplicationEngine(ReplicationOptions options)
    {
        _options = options;
        ModuleTag = new KeyValuePair<string, object?>("module", options.Module);
        ReplicationMetrics.Add(this);
    }

    public IModuleVolume Volume => Serving;

    /// <summary>Key and peer by which the <see cref="ReplicationListener"/> finds the engine.</summary>
    public string Module => _options.Module;

    public string PeerHost => _options.PeerHost;

    internal bool AllowsPlaintext => _options.AllowsPlaintext;

    internal KeyValuePair<string, object?> ModuleTag { get; }

    public ReplicationStatus Status
    {
        get
        {
            lock (_lock)
            {
                if (_volume is { } volume)
                    return volume.Status(_attachment?.Session);
                if (_replica is { } replica)
                {
                    var session = replica.Session;
                    return new ReplicationStatus(
                        session is not null, session is { Resyncing: true }, false, replica.Marks.DirtyBytes, 0, session?.ReceivedBytes ?? 0, 0, 0, 0, 0,
                        replica.WaitingFor) { OlderCopy = replica.Older.Status };
                }
                return new ReplicationStatus(false, false, false, 0, 0, 0, 0, 0, 0, 0, null);
            }
        }
    }

    private ServingVolume Serving =>
        ServingOrNone ?? throw new InvalidOperationException($"Module {_options.Module} is not being served.");

    private ServingVolume? ServingOrNone
    {
        get
        {
            lock (_lock)
                return _volume;
        }
    }

    /// <exception cref="StorageException">The local copy or its marks cannot serve; the fault says why.</exception>
    public async Task ServeAsync(long epoch, bool peerIsMember, IVolumeCompletions completions, CancellationToken cancel)
    {
        RequireIdle();
        var volume = await RunLong(() => OpenVolume(epoch, peerIsMember, completions), cancel).ConfigureAwait(false);
        lock (_lock)
            _volume = volume;
    }

    public void AttachPeer(long epoch, bool inSync)
    {
        var volume = Serving;
        PeerAttachment? older;
        PeerAttachment attachment;
        lock (_lock)
        {
            // Level-triggered callers may repeat it.
            if (_attachment is { } current && current.InSync == inSync && !current.Ended)
                return;
            older = _attachment;
            _attachment = attachment = new PeerAttachment(_options, volume, inSync);
        }
        volume.SetEpoch(epoch);
        older?.Detach("attached anew");
        attachment.Start();
    }

    public void DetachPeer(long epoch)
    {
        ServingVolume? volume;
        PeerAttachment? attachment;
        lock (_lock)
            (volume, attachment, _attachment) = (_volume, _attachment, null);
        // First no frame of the older epoch leaves any more, then what was held goes.
        attachment?.Detach("the peer is out of the record");
        volume?.SetEpoch(epoch);
        volume?.PeerOut();
    }

    public void SetEpoch(long epoch) => ServingOrNone?.SetEpoch(epoch);

    public void AllowResync(Guid syncBase)
    {
        SourceSession? source;
        ReplicaSession? target;
        lock (_lock)
            (source, target) = (_attachment?.Session, _replica?.Session);
        source?.Resync?.Allow(syncBase);
        target?.Allow(syncBase);
    }

    public void ConfirmResynced(Guid syncBase)
    {
        ReplicaSession? target;
        lock (_lock)
            target = _replica?.Session;
        target?.Confirm(syncBase);
    }

    /// <summary>Holds reads, writes and completions. What is not served needs no freezing.</summary>
    public void Freeze() => ServingOrNone?.Freeze();

    /// <summary>Ends a freeze and a quiesce.</summary>
    public void Unfreeze() => ServingOrNone?.Unfreeze();

    /// <summary>Ends with <see cref="IReplicationEvents.Quiesced"/>; <see cref="Unfreeze"/> opens the volume again.</summary>
    public void Quiesce()
    {
        var volume = Serving;
        RunLong(
            () =>
            {
                try
                {
                    if (volume.Quiesce())
                        _options.Events.Quiesced();
                }
                catch (Exception e)
                {
                    volume.RaiseLocalFault($"quiescing failed: {e.GetType().Name}: {e.Message}");
                }
                return true;
            },
            CancellationToken.None);
    }

    public async Task StopServingAsync()
    {
        ServingVolume? volume;
        PeerAttachment? attachment;
        lock (_lock)
        {
            (volume, attachment) = (_volume, _attachment);
            _attachment = null;
        }
        if (volume is null)
            return;
        attachment?.Detach("this host no longer serves");
        await RunLong(
            () =>
            {
                volume.Stop();
                return true;
            },
            CancellationToken.None).ConfigureAwait(false);
        // A resync reads the local copy until its session is over.
        if (attachment is not null)
            await attachment.Ending.ConfigureAwait(false);
        await RunLong(
            () =>
            {
                volume.Close();
                _older?.Dispose();
                return true;
            },
            CancellationToken.None).ConfigureAwait(false);
        lock (_lock)
            _volume = null;
    }

    /// <exception cref="StorageException">The local copy cannot be opened; the fault says why.</exception>
    public async Task FollowAsync(long epoch, CancellationToken cancel)
    {
        lock (_lock)
        {
            if (_replica is { } following)
            {
                following.RaiseEpoch(epoch);
                return;
            }
        }
        RequireIdle();
        var replica = await RunLong(() => OpenReplica(epoch), cancel).ConfigureAwait(false);
        lock (_lock)
            _replica = replica;
    }

    public async Task StopFollowingAsync()
    {
        FollowingReplica? replica;
        lock (_lock)
            replica = _replica;
        if (replica is null)
            return;
        await replica.StopAsync().ConfigureAwait(false);
        replica.Dispose();
        lock (_lock)
            _replica = null;
    }

    public async ValueTask DisposeAsync()
    {
        ReplicationMetrics.Remove(this);
        await StopServingAsync().ConfigureAwait(false);
        await StopFollowingAsync().ConfigureAwait(false);
    }

    /// <summary>Runs an accepted session whose greeting names this module, to its end.</summary>
    internal async Task AcceptAsync(Stream stream, Hello hello)
    {
        FollowingReplica? replica;
        lock (_lock)
            replica = _replica;
        try
        {
            await (replica is null
                ? FollowingReplica.RefuseAsync(stream, new Refusal(RefusalCode.NotFollowing, "this host does not follow now"))
                : replica.RunAsync(stream, hello)).ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            // It came while this host stopped following.
            await stream.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            await stream.DisposeAsync().ConfigureAwait(false);
            _options.Events.LocalFault($"a session of the peer failed: {e.GetType().Name}: {e.Message}");
        }
    }

    private static Task<T> RunLong<T>(Func<T> work, CancellationToken cancel) =>
        Task.Factory.StartNew(work, cancel, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);

    private void RequireIdle()
    {
        lock (_lock)
        {
            if (_volume is not null || _replica is not null)
                throw new InvalidOperationException($"Module {_options.Module} already {(_volume is not null ? "serves" : "follows")}.");
        }
    }

    private ServingVolume OpenVolume(long epoch, bool peerIsMember, IVolumeCompletions completions)
    {
        var gate = new object();
        var marks = ModuleMarks.Open(_options.StateDirectory, gate);
        ObjectStore? store = null;
        try
        {
            store = _options.OpenStore();
            // Who may serve is up to date.
            _older = OlderCopy.Open(store, _options.Events.Noted);
            _older.Drop();
            return new ServingVolume(_options, store, marks, gate, completions, epoch, peerIsMember, ModuleTag);
        }
        catch
        {
            _older?.Dispose();
            store?.Dispose();
            marks.Dispose();
            throw;
        }
    }

    private FollowingReplica OpenReplica(long epoch)
    {
        var marks = ModuleMarks.Open(_options.StateDirectory, new object());
        ObjectStore? store = null;
        try
        {
            store = _options.OpenStore();
            return new FollowingReplica(_options, store, OlderCopy.Open(store, _options.Events.Noted), marks, epoch);
        }
        catch
        {
            store?.Dispose();
            marks.Dispose();
            throw;
        }
    }
}
