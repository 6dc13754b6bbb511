using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Replication;

// Mutations: one at a time, applied and queued for the peer under one lock, so both namespaces see the same order.
internal sealed partial class ServingVolume
{
    // By ledger slot.
    private readonly PendingMutation?[] _mutations = new PendingMutation?[WriteLedger.Slots];

    public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed)
    {
        if (!MutationCodec.Fits(mutation))
        {
            completed(mutation.Name.Length > 255 || mutation.NewName.Length > 255 ? Errno.ENAMETOOLONG : Errno.E2BIG, default);
            return;
        }
        var orphan = 0UL;
        int slot;
        lock (_mutationLock)
        {
            var (start, end) = ContentRange(mutation);
            slot = Enter(OperationKind.Mutation, mutation.Object, start, end, default);
            if (slot >= 0)
            {
                _mutations[slot] = new PendingMutation(completed);
                orphan = Apply(slot, mutation);
            }
        }
        if (slot < 0)
            completed(Errno.EIO, default);
        DeliverEnded();
        if (orphan != 0)
            ReleaseIfOrphan(orphan);
    }

    /// <summary>The bytes of its object that a mutation may change; other operations on them wait.</summary>
    private static (long StartBytes, long EndBytes) ContentRange(Mutation mutation) => mutation.Kind switch
    {
        MutationKind.SetAttributes when mutation.Mask.HasFlag(AttributeMask.Size) => (0, long.MaxValue),
        MutationKind.Allocate when mutation.OffsetBytes >= 0 && mutation.LengthBytes > 0
            && mutation.OffsetBytes <= long.MaxValue - mutation.LengthBytes => (mutation.OffsetBytes, mutation.OffsetBytes + mutation.LengthBytes),
        _ => (0, 0),
    };

    /// <summary>Needs the mutation lock.</summary>
    /// <returns>An object that lost its last name by it; 0 if none.</returns>
    private ulong Apply(int slot, Mutation mutation)
    {
        var error = Errno.None;
        if (CreatesObject(mutation.Kind))
        {
            error = TryNextId(out var id);
            mutation = mutation with { Object = id };
        }
        var (changedFrom, changedTo) = ChangedBytes(mutation);
        var pin = default(ActivationPin);
        if (error == 0 && changedTo > changedFrom)
            error = Activate(mutation.Object, changedFrom, changedTo, out pin);
        var attributes = default(ObjectAttributes);
        var orphan = 0UL;
        if (error == 0)
            error = _store.Apply(mutation, out attributes, out orphan);
        if (error is Errno.EIO or Errno.EROFS)
            RaiseLocalFault($"{mutation.Kind} of object {mutation.Object:x} failed: {Errno.Describe(error)}");
        if (error == 0 && GivesReference(mutation.Kind))
            _references.Add(attributes.Object);

        var sent = false;
        SourceSession? session = null;
        lock (_gate)
        {
            _ledger.Start(slot);
            if (error == 0)
            {
                if (orphan != 0)
                {
                    _orphans.Add(orphan);
                    _marks.Forget(orphan);
                }
                sent = Send(slot, mutation, out session);
                _coverage.Changed(mutation.Object != 0 ? mutation.Object : attributes.Object);
                _coverage.Changed(mutation.Parent);
                _coverage.Changed(mutation.NewParent);
            }
            if (changedTo > changedFrom && !_orphans.Contains(mutation.Object))
            {
                if (sent && session == _session)
                    _marks.Written(mutation.Object, changedFrom, changedTo);
                else
                    _marks.Dirty(mutation.Object, changedFrom, changedTo);
            }
            _mutations[slot]!.Attributes = attributes;
            _ledger.LocalDone(slot, error, 0);
        }
        pin.Dispose();
        return orphan;
    }

    private static bool CreatesObject(MutationKind kind) =>
        kind is MutationKind.CreateFile or MutationKind.MakeDirectory or MutationKind.MakeNode or MutationKind.Symlink;

    private static bool GivesReference(MutationKind kind) => CreatesObject(kind) || kind == MutationKind.Link;

    /// <summary>What of the content changes: a cut to the old length, a range that is punched, zeroed or allocated.</summary>
    private (long StartBytes, long EndBytes) ChangedBytes(Mutation mutation)
    {
        var (start, end) = ContentRange(mutation);
        if (mutation.Kind == MutationKind.Allocate || end == 0)
            return (start, end);
        return _store.GetAttributes(mutation.Object, out var attributes) == 0 && attributes.SizeBytes > mutation.SizeBytes
            ? (mutation.SizeBytes, attributes.SizeBytes)
            : (0, 0);
    }

    /// <summary>Queues the mutation for the peer. Needs the gate; waits for room, so what was true before may have changed after.</summary>
    private bool Send(int slot, Mutation mutation, out SourceSession? session)
    {
        session = null;
        if (_orphans.Contains(mutation.Object) && mutation.Kind != MutationKind.Release)
            return false;
        var payloadBytes = MutationCodec.SizeOf(mutation);
        FrameReservation frame;
        while (true)
        {
            if (_stopping)
                return false;
            if (_session is null || !_mirrorsMutations)
            {
                // A member that is out of reach: the operation is done here and held until the record says what the peer is.
                if (_peer == PeerPart.Member)
                    _ledger.NeedsPeer(slot);
                return false;
            }
            if (_ledger.CanSend && _session.Link.TryReserve(payloadBytes, out frame))
                break;
            Wait();
        }
        session = _session;
        var header = SendReserved(slot, payloadBytes, mutation.Object) with { Kind = FrameKind.Mutation };
        MutationCodec.Write(mutation, session.Link.PayloadOf(frame));
        session.Link.Commit(frame, header, mayInline: false);
        return true;
    }

    /// <summary>Lets the storage of an object go that has neither a name nor a user.</summary>
    private void ReleaseIfOrphan(ulong obj)
    {
        lock (_gate)
        {
            // Held volumes release nothing: what is left without a name is removed when the store is next opened.
            if (!_orphans.Contains(obj) || _references.Any(obj) || !IsOpen)
                return;
        }
        Mutate(new Mutation(MutationKind.Release) { Object = obj }, static (_, _) => { });
        lock (_gate)
            _orphans.Remove(obj);
    }

    private sealed class PendingMutation(Action<int, ObjectAttributes> completed)
    {
        public Action<int, ObjectAttributes> Completed { get; } = completed;
        public ObjectAttributes Attributes { get; set; }
    }
}
