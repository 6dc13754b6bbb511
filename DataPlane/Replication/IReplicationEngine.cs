using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

/// <summary>Replicates one module's volume. It decides nothing about authority: it obeys the role machine's effects, one method each,
/// and reports back through <see cref="IReplicationEvents"/>. See <see cref="RoleEffect"/> for the meaning of each step.</summary>
public interface IReplicationEngine : IAsyncDisposable
{
    /// <summary>Usable between the end of <see cref="ServeAsync"/> and <see cref="StopServingAsync"/>.</summary>
    IModuleVolume Volume { get; }

    /// <summary>Prepares the local copy (scan, adopt, recover marks) and starts serving in this epoch.</summary>
    Task ServeAsync(long epoch, bool peerIsMember, IVolumeCompletions completions, CancellationToken cancel);

    void AttachPeer(long epoch, bool inSync);
    void DetachPeer(long epoch);
    void SetEpoch(long epoch);
    void AllowResync(Guid syncBase);
    void ConfirmResynced(Guid syncBase);
    void Freeze();
    void Unfreeze();
    void Quiesce();
    Task StopServingAsync();

    /// <summary>Compares both copies while the volume is served; see <see cref="SourceMachine.StartVerify"/>.</summary>
    /// <returns>Null, or why nothing was begun.</returns>
    Task<string?> StartVerifyAsync(bool repair, long bytesPerSecondMax);

    /// <summary>Takes effect at once; nothing if no verify runs.</summary>
    void SetVerifyLimit(long bytesPerSecondMax);

    void StopVerify();

    /// <summary>Holds for the running resync and for later ones.</summary>
    void SetResyncLimits(ResyncLimits limits);

    Task FollowAsync(long epoch, CancellationToken cancel);
    Task StopFollowingAsync();

    ReplicationStatus Status { get; }
}

/// <summary>Raised by the engine on its own threads, never under its locks; the runtime turns each into the <see cref="RoleInput"/> of the same name.</summary>
public interface IReplicationEvents
{
    void SessionUp(Guid peerIncarnation);
    void SessionLost(string reason);
    void ResyncStarting(Guid syncBase);
    void ReplicaFlushed(Guid syncBase);
    void PeerCaughtUp(Guid syncBase);
    void Quiesced();
    void LocalFault(string reason);

    /// <summary>A verify has come to its end, whatever that was.</summary>
    void VerifyEnded(VerifyReport report)
    {
    }

    /// <summary>Something for the module's history that decides nothing: a stable dotted kind and a sentence.</summary>
    void Noted(string kind, string text)
    {
    }
}

/// <summary>The parts of the durable state that the engine needs when a session starts; owned by the role machine.</summary>
public interface ISyncBases
{
    LocalState Current { get; }
}

/// <summary>A snapshot for operators and metrics.</summary>
/// <param name="DirtyBytes">Bytes that may differ from the peer and are not yet copied.</param>
/// <param name="ResyncTotalBytes">Bytes to copy of the running or last resync; <paramref name="ResyncDoneBytes"/> of them are copied.</param>
/// <param name="HeldOperations">Operations waiting for the peer, the arbiter or an unfreeze.</param>
public readonly record struct ReplicationStatus(
    bool SessionUp, bool Resyncing, bool FullResync, long DirtyBytes, long ResyncTotalBytes, long ResyncDoneBytes, double ResyncBytesPerSecond,
    int HeldOperations, long ReplicatedBytes, long ReplicatedOperations, string? WaitingFor)
{
    /// <summary>Of the target of a resync; null where there is nothing to say of one.</summary>
    public OlderCopyStatus? OlderCopy { get; init; }

    /// <summary>Of the running or last resync of this run of serving.</summary>
    public ResyncStatus Resync { get; init; }

    /// <summary>Of the running or last verify of this run of serving; null if there was none.</summary>
    public VerifyReport? Verify { get; init; }

    /// <summary>The network that carries the session (<see cref="LinkConnection.Network"/>); 0: none, or the peer dialled.</summary>
    public int Network { get; init; }
}
