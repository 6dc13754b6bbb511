using System.Runtime.CompilerServices;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

/// <summary>The replication engine of one module. Either it serves (<see cref="SourceShell"/>) or it follows (<see cref="ReplicaShell"/>), never
/// both; the role machine decides which.</summary>
/// <remarks>The methods are called by the module's runtime, one at a time, and become inputs on the module's event loop, in their order.
/// <see cref="_lock"/> guards which part exists; what a part does belongs to the loop.</remarks>
public sealed class ReplicationEngine : IReplicationEngine
{
    /// <summary>A status is asked of the loop; one that does not answer in this time is busy with its disk.</summary>
    private static readonly TimeSpan StatusPatience = TimeSpan.FromMilliseconds(500);

    /// <summary>Beyond the machine's own deadline for local disk calls (20 s): then the loop itself hangs.</summary>
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(30);

    private readonly ReplicationOptions _options;
    private readonly ModuleLoop _place;
    private readonly CacheTrust _trust = new();
    private readonly Lock _lock = new();
    private SourceShell? _source;
    private ReplicaShell? _replica;
    private ReplicationStatus _lastStatus;
    private ResyncLimits _limits = ResyncLimits.Default;

    public ReplicationEngine(ReplicationOptions options)
    {
        _options = options;
        ModuleTag = new KeyValuePair<string, object?>("module", options.Module);
        _place = new ModuleLoop(options.Module, options.FlushDeadline, Fault);
        ReplicationMetrics.Add(this);
    }

    public IModuleVolume Volume => Serving.Volume;

    /// <summary>Key and peer by which the <see cref="ReplicationListener"/> finds the engine.</summary>
    public string Module => _options.Module;

    public string PeerHost => _options.PeerHost;

    internal bool AllowsPlaintext => _options.AllowsPlaintext;

    internal KeyValuePair<string, object?> ModuleTag { get; }

    public ReplicationStatus Status
    {
        get
        {
            var shell = Shell;
            if (!_place.TryAsk(() => shell is null ? default(ReplicationStatus?) : ToStatus(shell), StatusPatience, out var status))
                return _lastStatus with { WaitingFor = _place.Stall ?? _lastStatus.WaitingFor };
            return _lastStatus = status ?? default;
        }
    }

    private EngineShell? Shell
    {
        get
        {
            lock (_lock)
                return (EngineShell?)_source ?? _replica;
        }
    }

    private SourceShell Serving =>
        ServingOrNone ?? throw new InvalidOperationException($"Module {_options.Module} is not being served.");

    private SourceShell? ServingOrNone
    {
        get
        {
            lock (_lock)
                return _source;
        }
    }

    private ReplicaShell? FollowingOrNone
    {
        get
        {
            lock (_lock)
                return _replica;
        }
    }

    /// <exception cref="StorageException">The local copy or its marks cannot serve; the fault says why.</exception>
    public async Task ServeAsync(long epoch, bool peerIsMember, IVolumeCompletions completions, CancellationToken cancel)
    {
        RequireIdle();
        var (copy, start, inheritedUpTo) = await RunLong(() => OpenSource(epoch, peerIsMember), cancel).ConfigureAwait(false);
        var source = await _place.AskAsync(() =>
        {
            var shell = new SourceShell(_place, _options, copy, start, new VolumeReferences(inheritedUpTo), completions, ModuleTag);
            _place.Drive(shell);
            return shell;
        }).ConfigureAwait(false);
        ResyncLimits limits;
        lock (_lock)
            (_source, limits) = (source, _limits);
        SetResyncLimits(limits);
    }

    public void AttachPeer(long epoch, bool inSync)
    {
        var source = Serving;
        Input(source, () => source.Machine.AttachPeer(epoch, inSync));
    }

    public void DetachPeer(long epoch)
    {
        if (ServingOrNone is { } source)
            Input(source, () => source.Machine.DetachPeer(epoch));
    }

    public void SetEpoch(long epoch)
    {
        if (ServingOrNone is { } source)
            Input(source, () => source.Machine.SetEpoch(epoch));
    }

    public void AllowResync(Guid syncBase)
    {
        if (ServingOrNone is { } source)
            Input(source, () => source.Machine.AllowResync(syncBase));
        else if (FollowingOrNone is { } replica)
            Input(replica, () => replica.AllowResync(syncBase));
    }

    public void ConfirmResynced(Guid syncBase)
    {
        if (FollowingOrNone is { } replica)
            Input(replica, () => replica.ConfirmResynced(syncBase));
    }

    /// <summary>Holds reads, writes and completions, reads and completions from now on. What is not served needs no freezing.</summary>
    public void Freeze()
    {
        if (ServingOrNone is not { } source)
            return;
        source.Volume.BeginFreezing();
        Input(source, () =>
        {
            source.Machine.Freeze();
            source.Volume.EndFreezing();
        });
    }

    /// <summary>Ends a freeze and a quiesce.</summary>
    public void Unfreeze()
    {
        if (ServingOrNone is { } source)
            Input(source, source.Machine.Unfreeze);
    }

    /// <summary>Ends with <see cref="IReplicationEvents.Quiesced"/>; <see cref="Unfreeze"/> opens the volume again.</summary>
    public void Quiesce()
    {
        var source = Serving;
        Input(source, source.Machine.Quiesce);
    }

    public async Task<string?> StartVerifyAsync(bool repair, long bytesPerSecondMax)
    {
        if (ServingOrNone is not { } source)
            return "this host does not serve the module: the primary compares";
        return await _place.AskAsync(() =>
            source.Stopping.IsCompleted ? "the volume is being shut"
            : source.Machine.StartVerify(repair, bytesPerSecondMax, out var refusal) ? null
            : refusal).ConfigureAwait(false);
    }

    public void SetVerifyLimit(long bytesPerSecondMax)
    {
        if (ServingOrNone is { } source)
            Input(source, () => source.Machine.SetVerifyLimit(bytesPerSecondMax));
    }

    public void StopVerify()
    {
        if (ServingOrNone is { } source)
            Input(source, source.Machine.StopVerify);
    }

    public void SetResyncLimits(ResyncLimits limits)
    {
        if (!limits.IsValid)
            throw new ArgumentOutOfRangeException(nameof(limits), limits, "The least is not between 0 and the most.");
        SourceShell? source;
        lock (_lock)
            (_limits, source) = (limits, _source);
        if (source is not null)
            Input(source, () => source.Machine.SetResyncLimits(limits.BytesPerSecondMin, limits.BytesPerSecondMax));
    }

    public async Task StopServingAsync()
    {
        if (ServingOrNone is not { } source)
            return;
        await StopAsync(source).ConfigureAwait(false);
        lock (_lock)
            _source = null;
    }

    /// <exception cref="StorageException">The local copy cannot be opened; the fault says why.</exception>
    public async Task FollowAsync(long epoch, CancellationToken cancel)
    {
        if (FollowingOrNone is { } following)
        {
            Input(following, () => following.RaiseEpoch(epoch));
            return;
        }
        RequireIdle();
        var copy = await RunLong(() => LocalCopy.Open(_options, EngineShell.LogSlots, ResyncPart.Target, _trust), cancel).ConfigureAwait(false);
        var replica = await _place.AskAsync(() =>
        {
            var shell = new ReplicaShell(_place, _options, copy, epoch);
            _place.Drive(shell);
            return shell;
        }).ConfigureAwait(false);
        lock (_lock)
            _replica = replica;
    }

    public async Task StopFollowingAsync()
    {
        if (FollowingOrNone is not { } replica)
            return;
        await StopAsync(replica).ConfigureAwait(false);
        lock (_lock)
            _replica = null;
    }

    public async ValueTask DisposeAsync()
    {
        ReplicationMetrics.Remove(this);
        await StopServingAsync().ConfigureAwait(false);
        await StopFollowingAsync().ConfigureAwait(false);
        _place.Dispose();
    }

    /// <summary>Hands an accepted connection, whose greeting names this module, to the replica.</summary>
    internal async Task AcceptAsync(LinkConnection connection, Hello hello)
    {
        // Whoever comes first has the connection: the loop, or the refusal when the loop has not come to it in time.
        var owned = new StrongBox<int>();
        var accepted = FollowingOrNone is { } replica && _place.TryAsk(
            () =>
            {
                if (replica.Stopping.IsCompleted || Interlocked.Exchange(ref owned.Value, 1) != 0)
                    return false;
                replica.Accept(connection, hello);
                return true;
            },
            ReplicationListener.GreetingDeadline, out var taken) && taken;
        if (!accepted && Interlocked.Exchange(ref owned.Value, 1) == 0)
            await connection.RefuseAsync(new Refusal(RefusalCode.NotFollowing, "this host does not follow now")).ConfigureAwait(false);
    }

    private static Task<T> RunLong<T>(Func<T> work, CancellationToken cancel) =>
        Task.Factory.StartNew(work, cancel, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);

    private static ReplicationStatus ToStatus(EngineShell shell)
    {
        var status = shell.Status;
        return new(
            status.SessionUp, status.Resync.Running, status.Resync.Full, status.DirtyBytes, status.Resync.TotalBytes, status.Resync.DoneBytes,
            status.Resync.BytesPerSecond, status.HeldOperations, status.ReplicatedBytes, status.ReplicatedOperations, status.WaitingFor)
        {
            Network = shell.Network,
            OlderCopy = (shell as ReplicaShell)?.Older.Status,
            Resync = status.Resync,
            Verify = status.Verify.Running || status.Verify.End is not null ? VerifyReport.Of(status.Verify, shell.Store) : null,
        };
    }

    private bool Input(EngineShell shell, Action input) => _place.Loop.Post(() =>
    {
        if (!shell.Stopping.IsCompleted)
            input();
    });

    private async Task StopAsync(EngineShell shell)
    {
        try
        {
            // The end of a loop has been told as a fault; nothing of its machine runs.
            if (Input(shell, shell.Stop))
                await shell.Stopping.WaitAsync(StopPatience).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            Fault($"the engine did not stop within {StopPatience.TotalSeconds:0} s: {_place.Stall ?? "it waits for the disk"}");
        }
        await RunLong(
            () =>
            {
                shell.Close();
                return true;
            },
            CancellationToken.None).ConfigureAwait(false);
    }

    private void Fault(string reason)
    {
        _trust.Fault();
        _options.Events.LocalFault(reason);
    }

    private void RequireIdle()
    {
        lock (_lock)
        {
            if (_source is not null || _replica is not null)
                throw new InvalidOperationException($"Module {_options.Module} already {(_source is not null ? "serves" : "follows")}.");
        }
    }

    private (LocalCopy Copy, SourceStart Start, ulong InheritedUpTo) OpenSource(long epoch, bool peerIsMember)
    {
        var copy = LocalCopy.Open(_options, EngineShell.LogSlots, ResyncPart.Source, _trust);
        try
        {
            // Who may serve is up to date.
            copy.Older.Drop();
            var ids = new ObjectIds(copy.Store, epoch);
            var inheritedUpTo = copy.Store.KeepsUnlinked ? ids.Reserved : 0;
            var adopted = copy.Store.AdoptUnnamed(ids.Next).Count;
            return (copy, new SourceStart(epoch, peerIsMember, ids.Reserved, adopted, [.. copy.Store.Unlinked()]), inheritedUpTo);
        }
        catch
        {
            copy.Dispose();
            throw;
        }
    }
}
