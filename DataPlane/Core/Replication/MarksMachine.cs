using System.Runtime.InteropServices;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>What of a module may differ from the peer's copy (rule S6): the marks in memory and the decisions about their durable shadow,
/// which together are the same before and after a crash.</summary>
/// <remarks>
/// <para><b>Activity log.</b> The durable list of the 1 MiB extents in which the copies may differ without a mark in a checkpoint: an extent is
/// in it before its data is written, and an operation pins its extents until its marks are set for good.</para>
/// <code>
///   absent ──placed──► pending ──sector stored──► active ──not pinned, and no mark that the checkpoint lacks──► absent
/// </code>
/// <para>An operation gets slots for all its extents or for none, so none waits for room while it holds some. A slot is taken from an
/// extent by a clock. The sector on disk keeps the old entry until the new one is stored over it: what is on disk is never less
/// than what is promised.</para>
/// <para><b>Checkpoint.</b> All marks, stored when the log needs room, at the end of a resync and when the module is closed. While one is
/// being stored nothing counts as covered: a mark that is set after its snapshot was taken would seem covered by the old one, which is
/// about to go.</para>
/// <para>A store that fails leaves the content of the files unknown: from then on nothing can be activated.</para>
/// </remarks>
internal sealed class MarksMachine
{
    private readonly IMarksStore store;
    private readonly ActivityLogImage log;
    private readonly byte[] sector = new byte[ActivityLogImage.SectorBytes];

    // By log slot.
    private readonly int[] pins;
    private readonly long[] placedAt;
    private readonly bool[] used;

    // By group: the number of the last placing, the last one whose sector is being stored or was asked to be, and the last stable one.
    private readonly long[] placed;
    private readonly long[] storing;
    private readonly long[] stored;
    private readonly bool[] sectorRuns;

    private readonly Dictionary<LogEntry, int> index;
    private readonly Stack<int> free = new();
    private readonly Activation[] activations = new Activation[WriteLedger.Slots];
    private readonly int logSlots;
    private RangeSet? saved;
    private bool savedEverything;
    private int hand;
    private bool roomWanted;
    private bool sectorsWanted;

    private long checkpointsAsked;
    private long checkpointsStarted;
    private bool checkpointRuns;
    private List<ObjectRange> snapshot = [];
    private bool repairs;
    private bool snapshotRepairs;
    private bool logReplaces;

    public MarksMachine(RecoveredMarks recovered, int pagesMax, IMarksStore store)
    {
        this.store = store;
        log = recovered.Log;
        logSlots = log.Entries.Length;
        Map = new DirtyMap(pagesMax);
        Map.Unite(CollectionsMarshal.AsSpan(recovered.Ranges.ToList()));
        EverythingMayDiffer = recovered.EverythingMayDiffer;
        Claim = recovered.Claim;
        pins = new int[logSlots];
        placedAt = new long[logSlots];
        used = new bool[logSlots];
        placed = new long[log.Groups];
        storing = new long[log.Groups];
        stored = new long[log.Groups];
        sectorRuns = new bool[log.Groups];
        index = new Dictionary<LogEntry, int>(logSlots);
        for (var slot = logSlots - 1; slot >= 0; slot--)
        {
            // An extent that moved from one slot to another may stand in both.
            if (log.Entries[slot].Object == 0 || !index.TryAdd(log.Entries[slot], slot))
                Clear(slot);
        }
        saved = new(recovered.CheckpointRanges);
        savedEverything = EverythingMayDiffer;
    }

    public enum Activity
    {
        /// <summary>The extents are in the durable log and pinned.</summary>
        Active,

        /// <summary>To be asked again when a store has ended.</summary>
        Waiting,
    }

    public DirtyMap Map { get; }

    /// <summary>Marks were lost: everything may differ until a full resync.</summary>
    public bool EverythingMayDiffer { get; private set; }

    /// <summary>A full resync that was begun and can go on by marks.</summary>
    public ResyncClaim Claim { get; private set; }

    public int ActiveExtents => index.Count;

    /// <summary>Why nothing can be activated or stored any more, or null.</summary>
    public string? Failure { get; private set; }

    /// <summary>Checkpoints that are stable.</summary>
    public long CheckpointsStored { get; private set; }

    /// <summary>Nothing is being stored.</summary>
    public bool Idle => !checkpointRuns && !logReplaces && !sectorRuns.AsSpan().Contains(true);

    /// <summary>Nothing is to be copied.</summary>
    public bool NothingDirty => Map is { DirtyBytes: 0, WholeObjects: 0 };

    public string? WaitingFor => roomWanted ? "room in the activity log" : null;

    /// <summary>Has the extents of a range pinned in the log for an operation, or says that they are not there yet.</summary>
    /// <param name="slot">The operation's slot in the ledger.</param>
    public Activity Activate(int slot, ulong obj, long startBytes, long endBytes)
    {
        ref var activation = ref activations[slot];
        if (!activation.Held && !TryHold(ref activation, obj, startBytes, endBytes))
        {
            roomWanted = true;
            if (checkpointsAsked == checkpointsStarted && !checkpointRuns)
                AskCheckpoint();
            return Activity.Waiting;
        }
        return IsDurable(activation) ? Activity.Active : Activity.Waiting;
    }

    /// <summary>The operation has set its marks for good, or is over.</summary>
    public void Release(int slot)
    {
        ref var activation = ref activations[slot];
        if (!activation.Held)
            return;
        for (var extent = activation.First; extent <= activation.Last; extent++)
            pins[activation.Single >= 0 ? activation.Single : index[new(activation.Object, extent)]]--;
        activation = default;
    }

    /// <summary>Asks for a checkpoint of the marks as they will be when it starts, soon.</summary>
    /// <returns>The value of <see cref="CheckpointsStored"/> at which it is stable.</returns>
    public long AskCheckpoint()
    {
        checkpointsAsked = checkpointsStarted + 1;
        StartCheckpoint();
        return checkpointsAsked;
    }

    /// <summary>Both copies were proven equal but for the marks in memory: damage and claims end with the next checkpoint.</summary>
    public long Repaired()
    {
        repairs = true;
        return AskCheckpoint();
    }

    /// <summary>Stores a claim; it holds once that checkpoint is stable.</summary>
    public long SetClaim(ResyncClaim claim)
    {
        Claim = claim;
        return AskCheckpoint();
    }

    /// <summary>The disk of a host has failed: a flush that it confirmed shortly before may have lost what it covered (a file system whose
    /// journal is aborted meanwhile may not say so). Every extent of the log is marked as missing there, as after a crash.</summary>
    public void SuspectActive()
    {
        foreach (var entry in index.Keys)
            Map.Mark(entry.Range, MarkKinds.Dirty);
    }

    /// <summary>Takes out of the log what needs not be in it and no operation has used since the last call: what has to be copied after a crash gets
    /// less by that.</summary>
    public void Trim()
    {
        for (var slot = 0; slot < logSlots; slot++)
        {
            var entry = log.Entries[slot];
            var wasUsed = used[slot];
            used[slot] = false;
            if (entry.Object == 0 || wasUsed || pins[slot] > 0 || !IsDurable(slot) || !IsCovered(entry.Range))
                continue;
            index.Remove(entry);
            Clear(slot);
            placed[slot / ActivityLogImage.SlotsPerGroup]++;
            sectorsWanted = true;
        }
    }

    /// <summary>Empties the log: no extent in it has to be suspected any more, since a checkpoint holds all marks. Nothing is pinned.</summary>
    public void EmptyLog()
    {
        for (var slot = 0; slot < logSlots; slot++)
        {
            if (log.Entries[slot].Object != 0)
                Clear(slot);
        }
        index.Clear();
        logReplaces = true;
        store.ReplaceLog(ActivityLogImage.Empty(logSlots));
    }

    public void LogReplaced(int errno)
    {
        logReplaces = false;
        if (errno != 0)
            Fail("the activity log could not be replaced", errno);
    }

    public void LogSectorStored(int group, int errno)
    {
        sectorRuns[group] = false;
        if (errno != 0)
        {
            Fail("the activity log could not be written", errno);
            return;
        }
        log.Stored(group);
        stored[group] = storing[group];
        sectorsWanted |= placed[group] > stored[group];
    }

    public void CheckpointStored(int errno)
    {
        checkpointRuns = false;
        roomWanted = false;
        if (errno != 0)
        {
            Fail("the marks could not be stored", errno);
            return;
        }
        saved = new(snapshot);
        if (snapshotRepairs)
            EverythingMayDiffer = false;
        savedEverything = EverythingMayDiffer;
        snapshot = [];
        CheckpointsStored = checkpointsStarted;
        StartCheckpoint();
    }

    /// <summary>Has everything stored that operations wait for. What came in one turn is stored together.</summary>
    public void FinishTurn()
    {
        if (!sectorsWanted || Failure is not null || logReplaces)
            return;
        sectorsWanted = false;
        for (var group = 0; group < log.Groups; group++)
        {
            if (sectorRuns[group] || placed[group] == stored[group])
                continue;
            sectorRuns[group] = true;
            storing[group] = placed[group];
            store.StoreLogSector(group, log.NextSector(group, sector), sector);
        }
    }

    private bool TryHold(ref Activation activation, ulong obj, long startBytes, long endBytes)
    {
        var (first, last) = LogEntry.Touched(startBytes, endBytes);
        if (first == last && index.TryGetValue(new(obj, first), out var known))
        {
            pins[known]++;
            used[known] = true;
            activation = new Activation { Held = true, Object = obj, First = first, Last = last, Single = known };
            return true;
        }
        var missing = 0;
        for (var extent = first; extent <= last; extent++)
        {
            if (index.TryGetValue(new(obj, extent), out known))
                pins[known]++;
            else
                missing++;
        }
        while (free.Count < missing && TryEvict())
        {
        }
        var room = free.Count >= missing;
        for (var extent = first; extent <= last; extent++)
        {
            if (!index.TryGetValue(new(obj, extent), out known))
            {
                if (room)
                    Place(new(obj, extent));
                continue;
            }
            if (room)
                used[known] = true;
            else
                pins[known]--;
        }
        if (room)
            activation = new Activation { Held = true, Object = obj, First = first, Last = last, Single = -1 };
        return room;
    }

    private void Place(in LogEntry entry)
    {
        var slot = free.Pop();
        log.Entries[slot] = entry;
        index.Add(entry, slot);
        pins[slot] = 1;
        used[slot] = true;
        placedAt[slot] = ++placed[slot / ActivityLogImage.SlotsPerGroup];
        sectorsWanted = true;
    }

    private bool TryEvict()
    {
        for (var tried = 0; tried < logSlots; tried++)
        {
            var slot = hand;
            hand = (hand + 1) % logSlots;
            var entry = log.Entries[slot];
            if (entry.Object == 0 || pins[slot] > 0 || !IsDurable(slot) || !IsCovered(entry.Range))
                continue;
            index.Remove(entry);
            Clear(slot);
            return true;
        }
        return false;
    }

    private void Clear(int slot)
    {
        log.Entries[slot] = default;
        free.Push(slot);
    }

    /// <summary>Every mark of the range is in the durable checkpoint, or there is none; the same of what no flush has proven. While everything
    /// counts as different anyway, marks say nothing more, unless a resync is to go on by them.</summary>
    private bool IsCovered(in ObjectRange range) =>
        saved is not null && savedEverything && Claim.Part != ResyncPart.Source
        || !Map.MayDiffer(range)
        || saved is not null && Map.IsCoveredBy(saved, range);

    private bool IsDurable(in Activation activation)
    {
        if (activation.Single >= 0)
            return IsDurable(activation.Single);
        for (var extent = activation.First; extent <= activation.Last; extent++)
        {
            if (!IsDurable(index[new(activation.Object, extent)]))
                return false;
        }
        return true;
    }

    private bool IsDurable(int slot) => placedAt[slot] <= stored[slot / ActivityLogImage.SlotsPerGroup];

    private void StartCheckpoint()
    {
        if (checkpointRuns || Failure is not null || checkpointsStarted >= checkpointsAsked)
            return;
        checkpointsStarted = checkpointsAsked;
        checkpointRuns = true;
        saved = null;
        snapshot = [.. Map.RunsIfPeerIsLost()];
        snapshotRepairs = repairs;
        if (repairs)
            Claim = Claim.Part == ResyncPart.None ? Claim : ResyncClaim.None;
        repairs = false;
        store.StoreCheckpoint(CheckpointImage.Write(snapshot, EverythingMayDiffer && !snapshotRepairs, Claim));
    }

    private void Fail(string what, int errno) => Failure ??= $"{what} ({LinuxError.Describe(errno)})";

    private struct Activation
    {
        public bool Held;
        public ulong Object;
        public long First;
        public long Last;

        /// <summary>The log slot, if there is one extent; otherwise -1.</summary>
        public int Single;
    }
}
