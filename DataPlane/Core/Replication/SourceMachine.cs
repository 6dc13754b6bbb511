namespace Pollux.DataPlane.Core.Replication;

public sealed partial class SourceMachine
{
    public SourceMachine(EngineOptions options, IEngineEffects effects, IEngineSurroundings surroundings, RecoveredMarks marks, in SourceStart start, long nowMs) => throw new NotSupportedException();

    // Front ends.

    /// <summary>The machine takes another operation. False: the shell leaves requests where they are until this changes.</summary>
    public bool CanAdmit => throw new NotSupportedException();

    public ReadGate Reads => throw new NotSupportedException();

    /// <summary>Writes; the front end has checked that the object is there.</summary>
    public void Write(OperationTag tag, ulong obj, long offsetBytes, DataRef data) => throw new NotSupportedException();

    /// <summary>Makes all writes to the object (0: to the volume) that were completed before the call stable on every member.</summary>
    public void Flush(OperationTag tag, ulong obj, bool dataOnly) => throw new NotSupportedException();

    /// <summary>Applies a mutation on every member. For the kinds that create an object <see cref="Mutation.Object"/> is 0: the machine chooses
    /// the id. On success of a creation or a link the shell has counted a reference before it gives LocalMutated.</summary>
    public void Mutate(OperationTag tag, Mutation mutation) => throw new NotSupportedException();

    /// <summary>No front end uses the object any more (<see cref="IEngineSurroundings.IsReferenced"/> says so too).</summary>
    public void Unreferenced(ulong obj) => throw new NotSupportedException();

    // The role machine; see Roles.RoleEffect.
    public void AttachPeer(long epoch, bool inSync) => throw new NotSupportedException();
    public void DetachPeer(long epoch) => throw new NotSupportedException();
    public void SetEpoch(long epoch) => throw new NotSupportedException();
    public void AllowResync(Guid syncBase) => throw new NotSupportedException();
    public void Freeze() => throw new NotSupportedException();
    public void Unfreeze() => throw new NotSupportedException();
    public void Quiesce() => throw new NotSupportedException();

    /// <summary>Ends everything with EIO, what is held included; ends with <see cref="IEngineEvents.Stopped"/>.</summary>
    public void Stop() => throw new NotSupportedException();

    // Operators.

    /// <param name="minBytesPerSecond">Kept up beside guests as far as disk and link allow.</param>
    /// <param name="maxBytesPerSecond">long.MaxValue: no limit.</param>
    public void SetResyncLimits(long minBytesPerSecond, long maxBytesPerSecond) => throw new NotSupportedException();

    /// <returns>False, with the reason: nothing was begun.</returns>
    public bool StartVerify(bool repair, long bytesPerSecondMax, out string? refusal) => throw new NotSupportedException();
    public void StopVerify() => throw new NotSupportedException();
    public EngineStatus Status => throw new NotSupportedException();

    // The link.
    public void Connected(int attempt, int link) => throw new NotSupportedException();
    public void DialFailed(int attempt, string reason) => throw new NotSupportedException();
    public void FrameArrived(int link, in FrameHeader header, ReadOnlySpan<byte> payload) => throw new NotSupportedException();
    public void LinkEnded(int link, string reason) => throw new NotSupportedException();
    public void RoomFreed() => throw new NotSupportedException();

    // Answers of the local copy, by slot.
    public void LocalWritten(int slot, int errno) => throw new NotSupportedException();
    public void LocalFlushed(int slot, int errno) => throw new NotSupportedException();

    /// <param name="orphan">An object that lost its last name by it; 0 if none.</param>
    public void LocalMutated(int slot, int errno, in ObjectAttributes attributes, ulong orphan) => throw new NotSupportedException();
    public void LocalStatted(int slot, int errno, in ObjectAttributes attributes) => throw new NotSupportedException();
    public void LocalRepairRead(int slot, int errno, long sizeBytes, DataRef data) => throw new NotSupportedException();

    /// <param name="data">Of <see cref="CopyPiece.LengthBytes"/> bytes, for data only.</param>
    public void LocalCopyRead(int slot, int errno, in CopyPiece piece, DataRef data) => throw new NotSupportedException();
    public void LocalHashed(int slot, int errno, in RangeHash hash) => throw new NotSupportedException();

    /// <param name="fault">Why there is none, or null.</param>
    public void ManifestTaken(string? fault, IReadOnlyList<ManifestEntry> entries) => throw new NotSupportedException();
    public void IdsReserved(int errno) => throw new NotSupportedException();

    // Answers of the durable marks.
    public void LogSectorStored(int group, int errno) => throw new NotSupportedException();
    public void CheckpointStored(int errno) => throw new NotSupportedException();
    public void LogReplaced(int errno) => throw new NotSupportedException();

    // Time.

    /// <summary>The time now, milliseconds of a monotonic clock: at the start of each turn, and when <see cref="NextDeadlineMs"/> has come.</summary>
    public void Tick(long nowMs) => throw new NotSupportedException();
    public long NextDeadlineMs => throw new NotSupportedException();

    /// <summary>Everything that had come was fed: what was gathered (log sectors, acknowledgements) becomes effects now.</summary>
    public void FinishTurn() => throw new NotSupportedException();
}

/// <summary>How serving begins.</summary>
/// <param name="PeerIsMember">The record may name the peer: acknowledgements wait for it from the first operation on.</param>
/// <param name="ObjectIdLast">The highest id that was ever given or reserved; further ones follow it.</param>
/// <param name="AdoptedObjects">Objects that had no identity when the copy was opened: they appeared while no engine looked.</param>
public readonly record struct SourceStart(long Epoch, bool PeerIsMember, ulong ObjectIdLast, int AdoptedObjects);
