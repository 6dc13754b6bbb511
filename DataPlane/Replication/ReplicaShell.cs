using System.Diagnostics;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Replication;

/// <summary>Drives a <see cref="ReplicaMachine"/>.</summary>
internal sealed class ReplicaShell : EngineShell
{
    private readonly ReplicaMachine _machine;
    private readonly KeyValuePair<string, object?> _moduleTag;
    private readonly long[] _flushBeganTicks = new long[WriteLedger.Slots];

    public ReplicaShell(ModuleLoop place, ReplicationOptions options, LocalCopy copy, long epoch)
        : base(place, options, copy)
    {
        _moduleTag = new KeyValuePair<string, object?>("module", options.Module);
        _machine = new ReplicaMachine(EngineOptions, this, this, copy.Marks, epoch, Environment.TickCount64);
    }

    public override EngineStatus Status => _machine.Status;

    protected override bool WantsFrames => _machine.WantsFrames;

    /// <summary>A flush of the source with nothing behind it: nobody sends before it is answered, or it can wait as long.</summary>
    protected override bool IsOnlyOperation => true;

    public void Accept(LinkConnection connection, Hello hello) => _machine.Accepted(AddLink(connection, greeted: true), hello);

    public void RaiseEpoch(long epoch) => _machine.RaiseEpoch(epoch);

    public void AllowResync(Guid syncBase) => _machine.AllowResync(syncBase);

    public void ConfirmResynced(Guid syncBase) => _machine.ConfirmResynced(syncBase);

    public override void Stop() => _machine.Stop();

    protected override void FinishTurn() => _machine.FinishTurn();

    protected override void TellTime(long nowMs) => _machine.Tick(nowMs);

    protected override void Connected(int attempt, int link) => throw new InvalidOperationException("A replica does not dial.");

    protected override void DialFailed(int attempt, string reason, bool refused) => throw new InvalidOperationException("A replica does not dial.");

    protected override void FrameArrived(int link, in FrameHeader header, ReadOnlySpan<byte> payload, DataRef data) =>
        _machine.FrameArrived(link, header, payload, data);

    protected override void LinkEnded(int link, string reason) => _machine.LinkEnded(link, reason);

    protected override void RoomFreed() => _machine.RoomFreed();

    protected override void LocalWritten(int slot, int errno) => _machine.LocalWritten(slot, errno);

    protected override void FlushBegins(int slot) => _flushBeganTicks[slot] = Stopwatch.GetTimestamp();

    protected override void LocalFlushed(int slot, int errno)
    {
        ReplicationMetrics.FlushDuration.Record(Stopwatch.GetElapsedTime(_flushBeganTicks[slot]).TotalSeconds, _moduleTag);
        _machine.LocalFlushed(slot, errno);
    }

    protected override void LocalMutated(int slot, int errno, in ObjectAttributes attributes, ulong orphan) =>
        _machine.LocalMutated(slot, errno, attributes, orphan);

    protected override void EntriesDescribed(int batch, int errno, IReadOnlyList<EntryDigest> entries) => _machine.EntriesDescribed(batch, errno, entries);

    protected override void LocalHashed(int slot, int errno, in RangeHash hash) => _machine.LocalHashed(slot, errno, hash);

    protected override void ManifestApplied(int errno, string? fault, IReadOnlyList<ulong> wholeObjects, IReadOnlyList<ulong> newObjects) =>
        _machine.ManifestApplied(errno, fault, wholeObjects, newObjects);

    protected override void ContentSettled(int errno, string? fault) => _machine.ContentSettled(errno, fault);

    protected override void CopyPreserved() => _machine.CopyPreserved();

    protected override void CheckpointStored(int errno) => _machine.CheckpointStored(errno);

    protected override void LogReplaced(int errno) => _machine.LogReplaced(errno);
}
