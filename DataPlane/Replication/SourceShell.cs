using System.Diagnostics;
using System.Numerics;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

/// <summary>Drives a <see cref="SourceMachine"/>, and hands it the operations of <see cref="EngineVolume"/>.</summary>
/// <remarks>An operation's pool buffer travels in the upper bits of its tag, so that its end releases it without a look-up.</remarks>
internal sealed class SourceShell : EngineShell
{
    private const int BufferShift = 40;
    private const ulong DeviceMask = (1UL << BufferShift) - 1;

    private readonly SourceMachine _machine;
    private readonly IVolumeCompletions _completions;
    private readonly KeyValuePair<string, object?> _moduleTag;
    private readonly Dictionary<ulong, Action<int, ObjectAttributes>> _mutations = [];
    private readonly Queue<Action> _parked = new();
    private readonly long[] _beganTicks;
    private ulong _mutationLast;
    private int _writesOpen;
    private readonly long[] _flushBeganTicks = new long[sizeof(ulong) * 8];
    private readonly SessionSpans _spans;
    private ulong _flushSlotsFree = ulong.MaxValue;
    private bool _verifying;

    public SourceShell(
        ModuleLoop place, ReplicationOptions options, LocalCopy copy, in SourceStart start, VolumeReferences references, IVolumeCompletions completions,
        KeyValuePair<string, object?> moduleTag)
        : base(place, options, copy)
    {
        (References, _completions, _moduleTag) = (references, completions, moduleTag);
        _beganTicks = new long[place.Buffers.Count];
        _spans = new SessionSpans(options.Module);
        Volume = new EngineVolume(this, completions);
        _machine = new SourceMachine(EngineOptions, this, this, copy.Marks, start, Environment.TickCount64);
    }

    public EngineVolume Volume { get; }

    public VolumeReferences References { get; }

    public SourceMachine Machine => _machine;

    public override bool MayAdmit => Stopping.IsCompleted || (_machine.CanAdmit && _parked.Count == 0);

    public override EngineStatus Status => _machine.Status;

    protected override bool WantsFrames => true;

    protected override bool MayMoveLinks => _machine.MayMoveLink;

    protected override bool HoldsEndings => Volume.Freezing || (!Stopping.IsCompleted && _machine.Reads == ReadGate.Held);

    protected override bool IsOnlyOperation => _writesOpen == 0;

    /// <summary>Begins an operation now, or as soon as the machine takes one.</summary>
    public void Admit(Action operation)
    {
        if (MayAdmit)
            operation();
        else
            _parked.Enqueue(operation);
    }

    /// <summary>Does it when something has ended: there is no room now.</summary>
    public void Park(Action operation) => _parked.Enqueue(operation);

    /// <summary>No front end uses the object any more.</summary>
    public void Unreferenced(ulong obj)
    {
        if (!Stopping.IsCompleted)
            _machine.Unreferenced(obj);
    }

    /// <summary>Begins a write whose data lies in a pool buffer, of which the operation gets a reference of its own.</summary>
    public void Write(ulong obj, long offsetBytes, int buffer, int lengthBytes, OperationTag tag)
    {
        if (Stopping.IsCompleted)
        {
            _completions.Completed(tag, Native.Errno.EIO, 0);
            return;
        }
        Place.Buffers.AddReference(buffer);
        _beganTicks[buffer] = Stopwatch.GetTimestamp();
        _writesOpen++;
        _machine.Write(tag with { Device = tag.Device | (ulong)(buffer + 1) << BufferShift }, obj, offsetBytes, new DataRef(buffer, 0, lengthBytes));
    }

    public void Flush(ulong obj, bool dataOnly, OperationTag tag)
    {
        if (Stopping.IsCompleted)
            _completions.Completed(tag, Native.Errno.EIO, 0);
        else
            _machine.Flush(Measured(tag), obj, dataOnly);
    }

    public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed)
    {
        if (Stopping.IsCompleted)
        {
            completed(Native.Errno.EIO, default);
            return;
        }
        _mutations.Add(++_mutationLast, completed);
        _machine.Mutate(new OperationTag(_mutationLast, 0), mutation);
    }

    public override void Stop() => _machine.Stop();

    protected override void FinishTurn() => _machine.FinishTurn();

    protected override void TellTime(long nowMs) => _machine.Tick(nowMs);

    protected override bool IsReferenced(ulong obj) => References.Any(obj);

    protected override bool AdmitParked()
    {
        // One that finds no buffer puts itself back: each gets one try.
        var parked = _parked.Count;
        for (var tries = parked; tries > 0 && (Stopping.IsCompleted || _machine.CanAdmit); tries--)
            _parked.Dequeue()();
        return _parked.Count < parked;
    }

    protected override void TurnEnded()
    {
        if (_verifying != _machine.IsVerifying)
        {
            _verifying = _machine.IsVerifying;
            if (!_verifying)
                Options.Events.VerifyEnded(VerifyReport.Of(_machine.Status.Verify, Store));
        }
        if (Stopping.IsCompleted)
        {
            // They find that nothing is served any more.
            while (_parked.TryDequeue(out var operation))
                operation();
        }
        Volume.SetGate(Stopping.IsCompleted ? ReadGate.Closed : _machine.Reads);
    }

    /// <summary>Notes when a flush begins, if fewer run than there is room for. Numbers behind those of the buffers mean flushes.</summary>
    private OperationTag Measured(in OperationTag tag)
    {
        if (_flushSlotsFree == 0)
            return tag;
        var slot = BitOperations.TrailingZeroCount(_flushSlotsFree);
        _flushSlotsFree &= ~(1UL << slot);
        _flushBeganTicks[slot] = Stopwatch.GetTimestamp();
        return tag with { Device = tag.Device | (ulong)(_beganTicks.Length + 1 + slot) << BufferShift };
    }

    protected override void Telling(EngineEventKind kind, string reason)
    {
        switch (kind)
        {
            case EngineEventKind.SessionUp:
                _spans.SessionUp();
                break;
            case EngineEventKind.ResyncStarting:
                _spans.ResyncStarting();
                break;
            case EngineEventKind.PeerCaughtUp:
                _spans.PeerCaughtUp(_machine.Status.Resync);
                break;
            case EngineEventKind.SessionLost or EngineEventKind.Stopped:
                _spans.Ended(kind == EngineEventKind.Stopped ? "this host no longer serves" : reason, _machine.Status);
                break;
        }
    }

    protected override void Deliver(in OperationTag tag, int errno, int count)
    {
        var numbered = tag.Device >> BufferShift;
        if (numbered > (ulong)_beganTicks.Length)
        {
            var slot = (int)numbered - _beganTicks.Length - 1;
            _flushSlotsFree |= 1UL << slot;
            ReplicationMetrics.FlushDuration.Record(Stopwatch.GetElapsedTime(_flushBeganTicks[slot]).TotalSeconds, _moduleTag);
        }
        else if (numbered != 0)
        {
            var buffer = (int)numbered - 1;
            _writesOpen--;
            ReplicationMetrics.WriteDuration.Record(Stopwatch.GetElapsedTime(_beganTicks[buffer]).TotalSeconds, _moduleTag);
            Place.Buffers.Release(buffer);
        }
        _completions.Completed(tag with { Device = tag.Device & DeviceMask }, errno, count);
    }

    protected override void DeliverMutation(in OperationTag tag, int errno, in ObjectAttributes attributes)
    {
        if (!_mutations.Remove(tag.Unique, out var completed))
            throw new InvalidOperationException($"Mutation {tag.Unique} ended that nobody began, or twice.");
        completed(errno, attributes);
    }

    protected override void Mutated(Mutation mutation, in ObjectAttributes attributes)
    {
        if (EngineVolume.GivesReference(mutation.Kind))
            References.Add(attributes.Object);
    }

    protected override void Connected(int attempt, int link) => _machine.Connected(attempt, link);

    protected override void DialFailed(int attempt, string reason, bool refused) => _machine.DialFailed(attempt, reason, refused);

    protected override void FrameArrived(int link, in FrameHeader header, ReadOnlySpan<byte> payload, DataRef data) =>
        _machine.FrameArrived(link, header, payload);

    protected override void LinkEnded(int link, string reason) => _machine.LinkEnded(link, reason);

    protected override void RoomFreed() => _machine.RoomFreed();

    protected override void LocalWritten(int slot, int errno) => _machine.LocalWritten(slot, errno);

    protected override void LocalFlushed(int slot, int errno) => _machine.LocalFlushed(slot, errno);

    protected override void LocalMutated(int slot, int errno, in ObjectAttributes attributes, ulong orphan) =>
        _machine.LocalMutated(slot, errno, attributes, orphan);

    protected override void EntriesDescribed(int batch, int errno, IReadOnlyList<EntryDigest> entries) => _machine.EntriesDescribed(batch, errno, entries);

    protected override void LocalHashed(int slot, int errno, in RangeHash hash) => _machine.LocalHashed(slot, errno, hash);

    protected override void LocalStatted(int slot, int errno, in ObjectAttributes attributes) => _machine.LocalStatted(slot, errno, attributes);

    protected override void LocalRepairRead(int slot, int errno, long sizeBytes, DataRef data) =>
        _machine.LocalRepairRead(slot, errno, sizeBytes, data);

    protected override void LocalCopyRead(int slot, int errno, in CopyPiece piece, DataRef data) => _machine.LocalCopyRead(slot, errno, piece, data);

    protected override void ManifestTaken(string? fault, IReadOnlyList<ManifestEntry> entries) => _machine.ManifestTaken(fault, entries);

    protected override void IdsReserved(int errno) => _machine.IdsReserved(errno);

    protected override void LogSectorStored(int group, int errno) => _machine.LogSectorStored(group, errno);

    protected override void CheckpointStored(int errno) => _machine.CheckpointStored(errno);

    protected override void LogReplaced(int errno) => _machine.LogReplaced(errno);
}
