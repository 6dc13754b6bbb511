using System.Collections.Concurrent;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>The production engine of a recorded ALONE host, without a peer.</summary>
internal sealed class LoneEngine : IReplicationEvents, ISyncBases, IAsyncDisposable
{
    private readonly ReplicationEngine _engine;

    /// <param name="openStore">Opens the store under the mount.</param>
    public LoneEngine(string stateDirectory, Func<ObjectStore> openStore) => _engine = new ReplicationEngine(new ReplicationOptions
    {
        Module = "m",
        PeerHost = "nobody",
        Incarnation = Guid.NewGuid(),
        Timings = new RoleTimings(RoleTimings.DetectionMsMin),
        StateDirectory = stateDirectory,
        OpenStore = openStore,
        Dial = static _ => throw new IOException("there is no peer"),
        Bases = this,
        Events = this,
    });

    public LocalState Current => LocalState.Fresh;

    public ConcurrentQueue<string> Faults { get; } = new();

    public async Task<IModuleVolume> ServeAsync(long epoch, IVolumeCompletions completions)
    {
        await _engine.ServeAsync(epoch, peerIsMember: false, completions, CancellationToken.None);
        return _engine.Volume;
    }

    public ValueTask DisposeAsync() => _engine.DisposeAsync();

    public void LocalFault(string reason) => Faults.Enqueue(reason);

    public void SessionUp(Guid peerIncarnation)
    {
    }

    public void SessionLost(string reason)
    {
    }

    public void ResyncStarting(Guid syncBase)
    {
    }

    public void ReplicaFlushed(Guid syncBase)
    {
    }

    public void PeerCaughtUp(Guid syncBase)
    {
    }

    public void Quiesced()
    {
    }
}
