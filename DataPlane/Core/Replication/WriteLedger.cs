namespace Pollux.DataPlane.Core.Replication;

public enum OperationKind : byte
{
    Write = 1,
    Mutation,
    Flush,

    /// <summary>A resync's copy of a range: excludes writes of that range while it is read and sent.</summary>
    Copy,
}

/// <summary>An operation that has ended: everything that its submitter needs.</summary>
public readonly record struct EndedOperation(
    int Slot, OperationKind Kind, ulong Object, long StartBytes, long EndBytes, ulong TagUnique, ulong TagDevice, int ErrorNumber, int Count,
    bool Guest, bool PeerConfirmed, long BeganTicks);

/// <summary>The outstanding operations of a volume: which part of each is done, what it waits for, and which others must wait for it.
/// Pure and not thread-safe: the owner's lock guards it; it allocates nothing after its construction except when object tables grow.</summary>
/// <remarks>
/// <code>
/// Enter ──► (waits for earlier overlapping ones) ──MayProceed──► Sent? ──► LocalDone ┐
///                                                                 └──────► Applied ──┴─► ready ──TryTakeEnded──► free
/// </code>
/// An operation that was sent with <c>waits</c> is ready when both parts are done. <see cref="PeerConfirmedOut"/> (the peer is out of the
/// record) turns the peer's part off. While <see cref="Hold"/> is set nothing leaves (rule S8: completions are held too).
/// Operations of one object are kept in order of arrival, and one may proceed when no earlier one overlaps it: so a truncation is not
/// starved by writes that come after it, and both hosts see overlapping operations in the same order.
/// </remarks>
public sealed class WriteLedger
{
    /// <summary>Operations of front ends outstanding at once. The kernel's FUSE queue is far shorter (some hundreds); a power of two.</summary>
    public const int OperationsMax = 1024;

    /// <summary>Slots kept for the engine's own copies and flushes, so that guest operations cannot shut them out.</summary>
    public const int InternalMax = 16;

    /// <summary>Bytes of outstanding writes: what a peer that has stopped reading can make the source owe it. About a quarter of a
    /// second of a 1 Gb/s link.</summary>
    public const long BytesMax = 32L << 20;

    /// <summary>Frames sent and not acknowledged. More than operations, because copies of a resync are frames too.</summary>
    public const int UnacknowledgedMax = 4096;

    private readonly Slot[] _slots = new Slot[OperationsMax + InternalMax];
    private readonly Dictionary<ulong, ObjectQueue> _objects = new(OperationsMax);
    private readonly int[] _sentSlot = new int[UnacknowledgedMax];
    private readonly int[] _sentBytes = new int[UnacknowledgedMax];
    private int _freeHead;
    private int _readyHead = -1;
    private int _readyTail = -1;
    private long _guestBytes;

    public WriteLedger()
    {
        for (var i = 0; i < _slots.Length; i++)
            _slots[i].Next = i + 1 < _slots.Length ? i + 1 : -1;
    }

    /// <summary>No ended operation leaves while this is set.</summary>
    public bool Hold { get; set; }

    /// <summary>Operations that have entered and not left.</summary>
    public int Count { get; private set; }

    /// <summary>Of these, the ones of front ends.</summary>
    public int GuestCount { get; private set; }

    /// <summary>Of all, the ones whose local part is done and that wait for the peer or are held.</summary>
    public int HeldCount { get; private set; }

    public ulong LastSent { get; private set; }
    public ulong LastApplied { get; private set; }
    public long UnacknowledgedBytes { get; private set; }
    public bool CanSend => LastSent - LastApplied < UnacknowledgedMax;
    public bool CanSendTwo => LastSent - LastApplied < UnacknowledgedMax - 1;

    /// <summary>How many slot numbers there are.</summary>
    public const int Slots = OperationsMax + InternalMax;

    /// <summary>Takes a slot, or −1 when a limit is reached: the submitter waits until something has left.</summary>
    /// <param name="endBytes">Exclusive; equal to <paramref name="startBytes"/> for an operation that excludes no other.</param>
    public int Enter(OperationKind kind, bool guest, ulong obj, long startBytes, long endBytes, ulong tagUnique, ulong tagDevice, long nowTicks)
    {
        var bytes = kind == OperationKind.Write ? endBytes - startBytes : 0;
        if (guest && (GuestCount >= OperationsMax || (_guestBytes + bytes > BytesMax && _guestBytes > 0)))
            return -1;
        if (_freeHead < 0)
            return -1;
        var slot = _freeHead;
        ref var entry = ref _slots[slot];
        _freeHead = entry.Next;
        entry = new Slot
        {
            InUse = true, Kind = kind, Guest = guest, Object = obj, StartBytes = startBytes, EndBytes = endBytes, TagUnique = tagUnique,
            TagDevice = tagDevice, BeganTicks = nowTicks, Next = -1, Previous = -1, NextReady = -1, NextWaiter = -1, Bytes = bytes,
        };
        Count++;
        if (guest)
        {
            GuestCount++;
            _guestBytes += bytes;
        }
        if (endBytes > startBytes)
            Append(slot, ref entry);
        return slot;
    }

    /// <summary>No earlier operation overlaps this one.</summary>
    public bool MayProceed(int slot)
    {
        ref readonly var entry = ref _slots[slot];
        if (entry.EndBytes <= entry.StartBytes)
            return true;
        for (var earlier = entry.Previous; earlier >= 0; earlier = _slots[earlier].Previous)
        {
            ref readonly var other = ref _slots[earlier];
            if (other.StartBytes < entry.EndBytes && entry.StartBytes < other.EndBytes)
                return false;
        }
        return true;
    }

    /// <summary>The operation has been marked and, if it is sent, numbered; its local part runs.</summary>
    public void Start(int slot) => _slots[slot].Started = true;

    public bool Started(int slot) => _slots[slot].Started;

    /// <summary>The operation's local disk calls are over; it stays in its local part to repair the peer's copy.</summary>
    public void Repairs(int slot) => _slots[slot].Repairs = true;

    /// <summary>Disk calls of another operation of the same object run. Those that only repair do not count: two would wait for each other.</summary>
    public bool OthersRun(int slot)
    {
        for (var other = _objects[_slots[slot].Object].Tail; other >= 0; other = _slots[other].Previous)
        {
            if (other != slot && _slots[other] is { Started: true, LocalDone: false, Repairs: false })
                return true;
        }
        return false;
    }

    public void RangeOf(int slot, out ulong obj, out long startBytes, out long endBytes)
    {
        ref readonly var entry = ref _slots[slot];
        (obj, startBytes, endBytes) = (entry.Object, entry.StartBytes, entry.EndBytes);
    }

    /// <summary>Leaves without an end to report: the submitter has answered by itself.</summary>
    public void Abandon(int slot) => Free(slot);

    /// <summary>Gives the next sequence of the session to a frame. <see cref="CanSend"/> must be true.</summary>
    /// <param name="slot">The operation, or −1 for a frame without one.</param>
    /// <param name="waits">The operation ends only when the peer has done its part.</param>
    public ulong Sent(int slot, int bytes, bool waits)
    {
        if (!CanSend)
            throw new InvalidOperationException("Too many unacknowledged frames.");
        var sequence = ++LastSent;
        _sentSlot[sequence % UnacknowledgedMax] = slot;
        _sentBytes[sequence % UnacknowledgedMax] = bytes;
        UnacknowledgedBytes += bytes;
        if (slot >= 0)
        {
            ref var entry = ref _slots[slot];
            entry.Sequence = sequence;
            entry.NeedsPeer = waits;
        }
        return sequence;
    }

    /// <summary>A second frame for the same operation (it sends what was really written): its acknowledgement counts instead.</summary>
    /// <param name="waits">Operations wait for the peer now; this one may have begun before they did.</param>
    public ulong SentAgain(int slot, int bytes, bool waits)
    {
        var sequence = Sent(slot, bytes, waits || _slots[slot].NeedsPeer);
        _slots[slot].PeerDone = false;
        return sequence;
    }

    /// <summary>Who sent a frame that is not acknowledged, if that operation still holds what it sent.</summary>
    public bool Holds(ulong sequence, out int slot)
    {
        slot = _sentSlot[sequence % UnacknowledgedMax];
        return slot >= 0 && _slots[slot].InUse && _slots[slot].Sequence == sequence;
    }

    /// <summary>A flush whose frame the peer has taken, and that it has not confirmed.</summary>
    public bool AwaitsFlush(int slot, ulong upTo) =>
        _slots[slot] is { InUse: true, Kind: OperationKind.Flush, Sequence: > 0, PeerDone: false } entry && entry.Sequence <= upTo;

    /// <summary>The operation waits for the peer although it could not be sent: the peer may be a member that is out of reach.</summary>
    public void NeedsPeer(int slot) => _slots[slot].NeedsPeer = true;

    public void LocalDone(int slot, int errorNumber, int count)
    {
        ref var entry = ref _slots[slot];
        entry.LocalDone = true;
        entry.ErrorNumber = errorNumber;
        entry.Count = count;
        HeldCount++;
        MakeReadyIfDone(slot);
    }

    /// <summary>The peer has applied everything up to the sequence. A flush is only begun by that: it ends by <see cref="Flushed"/>.</summary>
    /// <returns>False if the sequence was never sent or goes backwards: the peer breaks the protocol.</returns>
    public bool Applied(ulong upTo)
    {
        if (upTo > LastSent || upTo < LastApplied)
            return false;
        while (LastApplied < upTo)
        {
            var sequence = ++LastApplied;
            UnacknowledgedBytes -= _sentBytes[sequence % UnacknowledgedMax];
            var slot = _sentSlot[sequence % UnacknowledgedMax];
            if (slot < 0)
                continue;
            ref readonly var entry = ref _slots[slot];
            if (entry.InUse && entry.Sequence == sequence && entry.Kind != OperationKind.Flush)
                PeerDone(slot);
        }
        return true;
    }

    /// <summary>The flush with this sequence is stable on the peer.</summary>
    /// <param name="slot">The slot that the flush had when it was sent.</param>
    public bool Flushed(ulong sequence, int slot)
    {
        if (sequence > LastSent || slot < 0 || slot >= _slots.Length)
            return false;
        ref readonly var entry = ref _slots[slot];
        if (entry.InUse && entry.Kind == OperationKind.Flush && entry.Sequence == sequence)
            PeerDone(slot);
        return true;
    }

    /// <summary>The operation ends when <paramref name="leader"/> ends, with its error: both are flushes.</summary>
    public void Join(int slot, int leader)
    {
        _slots[slot].NextWaiter = _slots[leader].NextWaiter;
        _slots[leader].NextWaiter = slot;
        HeldCount++;
        _slots[slot].LocalDone = true;
        _slots[slot].Joined = true;
        if (!_slots[leader].Ready)
            return;
        _slots[slot].ErrorNumber = _slots[leader].ErrorNumber;
        MakeReady(slot);
    }

    /// <summary>A new session: sequences start again, nothing is sent. What waited for the peer goes on waiting.</summary>
    public void NewSession()
    {
        LastSent = LastApplied = 0;
        UnacknowledgedBytes = 0;
        for (var i = 0; i < _slots.Length; i++)
            _slots[i].Sequence = 0;
    }

    /// <summary>The peer is out of the record, or never was in: nothing waits for it any more.</summary>
    public void PeerConfirmedOut()
    {
        for (var i = 0; i < _slots.Length; i++)
        {
            if (_slots[i] is { InUse: true, NeedsPeer: true, PeerDone: false })
            {
                _slots[i].NeedsPeer = false;
                MakeReadyIfDone(i);
            }
        }
    }

    /// <summary>Ends every guest operation whose local part is done with an error, whatever it waits for (the volume is shut).</summary>
    public void EndAll(int errorNumber)
    {
        for (var i = 0; i < _slots.Length; i++)
        {
            ref var entry = ref _slots[i];
            if (!entry.InUse || !entry.LocalDone || entry.Ready || entry.Joined)
                continue;
            entry.NeedsPeer = false;
            entry.ErrorNumber = errorNumber;
            MakeReadyIfDone(i);
        }
    }

    /// <summary>Lists the writes that run now and were not sent: their ends will be marked as missing on the peer.</summary>
    public void CollectUnsent(List<(int Slot, long BeganTicks)> unsent)
    {
        for (var slot = 0; slot < _slots.Length; slot++)
        {
            if (_slots[slot] is { InUse: true, Started: true, LocalDone: false, Sequence: 0, Kind: OperationKind.Write or OperationKind.Mutation })
                unsent.Add((slot, _slots[slot].BeganTicks));
        }
    }

    /// <summary>The local part of that very operation runs still.</summary>
    public bool Runs(int slot, long beganTicks) => _slots[slot] is { InUse: true, LocalDone: false } && _slots[slot].BeganTicks == beganTicks;

    /// <summary>Takes an operation that has ended; its slot is free and its range open from now on.</summary>
    public bool TryTakeEnded(out EndedOperation ended)
    {
        if (Hold || _readyHead < 0)
        {
            ended = default;
            return false;
        }
        var slot = _readyHead;
        ref var entry = ref _slots[slot];
        _readyHead = entry.NextReady;
        if (_readyHead < 0)
            _readyTail = -1;
        ended = new EndedOperation(
            slot, entry.Kind, entry.Object, entry.StartBytes, entry.EndBytes, entry.TagUnique, entry.TagDevice, entry.ErrorNumber, entry.Count,
            entry.Guest, entry.PeerDone, entry.BeganTicks);
        HeldCount--;
        Free(slot);
        return true;
    }

    private void PeerDone(int slot)
    {
        _slots[slot].PeerDone = true;
        MakeReadyIfDone(slot);
    }

    private void MakeReadyIfDone(int slot)
    {
        ref var entry = ref _slots[slot];
        if (entry.Ready || !entry.LocalDone || (entry.NeedsPeer && !entry.PeerDone))
            return;
        MakeReady(slot);
        for (var waiter = entry.NextWaiter; waiter >= 0; waiter = _slots[waiter].NextWaiter)
        {
            _slots[waiter].ErrorNumber = entry.ErrorNumber;
            MakeReady(waiter);
        }
    }

    private void MakeReady(int slot)
    {
        _slots[slot].Ready = true;
        if (_readyTail >= 0)
            _slots[_readyTail].NextReady = slot;
        else
            _readyHead = slot;
        _readyTail = slot;
    }

    private void Append(int slot, ref Slot entry)
    {
        var known = _objects.TryGetValue(entry.Object, out var queue);
        entry.Previous = known ? queue.Tail : -1;
        if (known)
            _slots[queue.Tail].Next = slot;
        _objects[entry.Object] = new ObjectQueue(slot);
    }

    private void Free(int slot)
    {
        ref var entry = ref _slots[slot];
        if (entry.EndBytes > entry.StartBytes)
        {
            if (entry.Next >= 0)
                _slots[entry.Next].Previous = entry.Previous;
            else if (entry.Previous >= 0)
                _objects[entry.Object] = new ObjectQueue(entry.Previous);
            else
                _objects.Remove(entry.Object);
            if (entry.Previous >= 0)
                _slots[entry.Previous].Next = entry.Next;
        }
        Count--;
        if (entry.Guest)
        {
            GuestCount--;
            _guestBytes -= entry.Bytes;
        }
        entry = new Slot { Next = _freeHead };
        _freeHead = slot;
    }

    private readonly record struct ObjectQueue(int Tail);

    private struct Slot
    {
        public bool InUse;
        public bool Guest;
        public bool NeedsPeer;
        public bool PeerDone;
        public bool Started;
        public bool LocalDone;
        public bool Repairs;
        public bool Joined;
        public bool Ready;
        public OperationKind Kind;
        public int ErrorNumber;
        public int Count;
        public int Next;
        public int Previous;
        public int NextReady;
        public int NextWaiter;
        public ulong Object;
        public long StartBytes;
        public long EndBytes;
        public long Bytes;
        public ulong TagUnique;
        public ulong TagDevice;
        public ulong Sequence;
        public long BeganTicks;
    }
}
