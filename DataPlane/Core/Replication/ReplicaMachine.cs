namespace Pollux.DataPlane.Core.Replication;

public sealed partial class ReplicaMachine
{
    public ReplicaMachine(EngineOptions options, IEngineEffects effects, IEngineSurroundings surroundings, RecoveredMarks marks, long epoch, long nowMs) => throw new NotSupportedException();

    // The link.

    /// <summary>An authenticated connection of the peer whose greeting names this module.</summary>
    public void Accepted(int link, Hello hello) => throw new NotSupportedException();

    /// <summary>False: the shell leaves arrived frames where they are, and feeds them when this has changed; it looks after every input.</summary>
    public bool WantsFrames => throw new NotSupportedException();

    /// <param name="payload">All of it, for the call only.</param>
    /// <param name="data">The same bytes; see <see cref="DataRef"/>.</param>
    public void FrameArrived(int link, in FrameHeader header, ReadOnlySpan<byte> payload, DataRef data) => throw new NotSupportedException();
    public void LinkEnded(int link, string reason) => throw new NotSupportedException();
    public void RoomFreed() => throw new NotSupportedException();

    // The role machine.

    /// <summary>A newer epoch is known: sessions and frames of older ones are refused from now on.</summary>
    public void RaiseEpoch(long epoch) => throw new NotSupportedException();
    public void AllowResync(Guid syncBase) => throw new NotSupportedException();
    public void ConfirmResynced(Guid syncBase) => throw new NotSupportedException();

    /// <summary>Ends the session; when nothing is applied any more, <see cref="IEngineEvents.Stopped"/>.</summary>
    public void Stop() => throw new NotSupportedException();
    public EngineStatus Status => throw new NotSupportedException();

    // Answers of the local copy, by slot.
    public void LocalWritten(int slot, int errno) => throw new NotSupportedException();
    public void LocalFlushed(int slot, int errno) => throw new NotSupportedException();
    public void LocalMutated(int slot, int errno, in ObjectAttributes attributes, ulong orphan) => throw new NotSupportedException();
    public void LocalHashed(int slot, int errno, in RangeHash hash) => throw new NotSupportedException();

    /// <param name="wholeObjects">Files whose whole content must come: new ones, and those of earlier manifests that were never settled.</param>
    public void ManifestApplied(int errno, string? fault, IReadOnlyList<ulong> wholeObjects) => throw new NotSupportedException();
    public void ContentSettled(int errno, string? fault) => throw new NotSupportedException();

    // Answers of the durable marks.
    public void CheckpointStored(int errno) => throw new NotSupportedException();
    public void LogReplaced(int errno) => throw new NotSupportedException();

    // Time.
    public void Tick(long nowMs) => throw new NotSupportedException();
    public long NextDeadlineMs => throw new NotSupportedException();

    /// <summary>Everything that had come was fed: acknowledgements become effects now.</summary>
    public void FinishTurn() => throw new NotSupportedException();
}
