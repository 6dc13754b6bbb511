using System.Collections.Concurrent;
using System.Diagnostics;
using Pollux.DataPlane.Core.Replication;

namespace Pollux.DataPlane.Storage;

/// <summary>What the activity log asks of its owner when it runs out of slots.</summary>
public interface IActivityLogRoom
{
    /// <summary>Whether no write to the range is on its way and every mark of it is in a durable checkpoint (or there is none). Called
    /// under the log's lock: it may take the owner's lock, so the owner must not call the log while holding that.</summary>
    bool MayLeave(in ObjectRange extent);

    /// <summary>Makes extents leavable: stores a checkpoint, or flushes both hosts. Called under no lock; may wait for the disk.</summary>
    void MakeRoom();
}

/// <summary>Limits of an activity log.</summary>
public sealed record ActivityLogOptions
{
    public static readonly ActivityLogOptions Default = new();

    /// <summary>Extents that may be active at once, a multiple of 128. 1024 of 1 MiB: after a crash at most 1 GiB is copied on
    /// suspicion, 9 s at 1 Gb/s.</summary>
    public int Slots { get; init; } = 1024;

    /// <summary>How long an activation waits for room before it fails.</summary>
    public TimeSpan RoomDeadline { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>The durable list of the 1 MiB extents in which the copies may differ without a mark in a checkpoint (rule S6): an extent is
/// in it before its data is written. After a crash everything in it counts as dirty.</summary>
/// <remarks>
/// <para>An extent that is active is found without a lock and pinned by an interlocked addition; the pin keeps it from leaving until
/// the caller has set its marks. New extents go to slots and are written by whichever thread comes first, for all that wait
/// (one O_DSYNC write for each group of slots concerned); only then are they active.</para>
/// <para>A slot is taken from an extent by the clock: not pinned, and the owner says that it may leave. To decide, the pin count is
/// first made very negative, so nobody pins meanwhile. <see cref="gate"/> owns everything but the pins and <see cref="active"/>'s readers.</para>
/// </remarks>
public sealed class ActivityLog : IDisposable
{
    public const int ExtentBytes = 1 << 20;

    /// <summary>An activation of more extents than this (a long truncation) takes one slot for the whole object.</summary>
    public const int ExtentsPerCallMax = 64;

    private const long WholeExtent = -1;
    private const int Leaving = int.MinValue / 2;

    private readonly Lock writerGate = new();
    private readonly object gate = new();
    private readonly ActivityLogFile file;
    private readonly IActivityLogRoom room;
    private readonly ActivityLogOptions options;
    private readonly ConcurrentDictionary<(ulong Object, long Extent), int> active = new();
    private readonly Dictionary<(ulong Object, long Extent), int> pending = [];
    private readonly (ulong Object, long Extent)[] slots;
    private readonly int[] pins;
    private readonly Stack<int> free = new();
    private readonly bool[] groupChanged;
    private StorageException? failure;
    private string? waitingFor;
    private bool writing;
    private bool makingRoom;
    private bool closed;
    private int hand;

    private ActivityLog(ActivityLogFile file, List<(ulong Object, long Extent)[]> entries, IActivityLogRoom room, ActivityLogOptions options)
    {
        (this.file, this.room, this.options) = (file, room, options);
        slots = [.. entries.SelectMany(e => e)];
        pins = new int[slots.Length];
        groupChanged = new bool[entries.Count];
        for (var slot = slots.Length - 1; slot >= 0; slot--)
        {
            if (slots[slot].Object == 0 || !active.TryAdd(slots[slot], slot))
                free.Push(slot);
        }
    }

    /// <summary>Number of extents that are active.</summary>
    public int ActiveExtents => active.Count;

    /// <summary>Why activations wait at this moment, or null.</summary>
    public string? WaitingFor => Volatile.Read(ref waitingFor);

    /// <summary>Opens a log and leaves its extents active.</summary>
    /// <param name="damage">Not null if the log is missing or damaged: everything may differ, and there is no log. Make that durable, then
    /// <see cref="Create"/> a new one.</param>
    /// <exception cref="StorageException">A newer version wrote it, or it cannot be read.</exception>
    public static ActivityLog? Open(string path, IActivityLogRoom room, ActivityLogOptions options, out string? damage)
    {
        var file = ActivityLogFile.Open(path, options.Slots, out var entries, out damage);
        return file is null ? null : new(file, entries, room, options);
    }

    /// <summary>Replaces whatever is there by an empty log.</summary>
    public static void Create(string path, ActivityLogOptions options) => ActivityLogFile.Create(path, options.Slots);

    /// <summary>The active extents: after a crash, what must be taken for dirty.</summary>
    public IReadOnlyList<ObjectRange> Recover() => [.. active.Keys.Select(RangeOf)];

    /// <summary>Makes the extents that a range of bytes touches active and durable, and keeps them so until the pin is disposed of: by
    /// then the marks must be set. Returns at once, without allocation, if they are active.</summary>
    /// <exception cref="StorageException">The log cannot be written, or no slot became free in time.</exception>
    public ActivationPin EnsureActive(ulong obj, long offsetBytes, long lengthBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(lengthBytes);
        var (first, last) = (offsetBytes / ExtentBytes, (offsetBytes + (lengthBytes - 1)) / ExtentBytes);
        if (last < first || last - first >= ExtentsPerCallMax)
            first = last = WholeExtent;
        for (var extent = first; extent <= last; extent++)
        {
            if (TryPin((obj, extent)))
                continue;
            try
            {
                Activate(obj, extent, last);
            }
            catch
            {
                if (extent > first)
                    Unpin(obj, first, extent - 1);
                throw;
            }
            break;
        }
        return new(this, obj, first, last);
    }

    public void Dispose()
    {
        lock (gate)
        {
            // Once only: the file's descriptor and memory may belong to somebody else by the next time.
            if (closed)
                return;
            closed = true;
            failure ??= new(StorageFault.Io, "The activity log is closed.");
            while (writing)
                Monitor.Wait(gate);
            Monitor.PulseAll(gate);
        }
        lock (writerGate)
            file.Dispose();
    }

    internal void Unpin(ulong obj, long first, long last)
    {
        for (var extent = first; extent <= last; extent++)
            Interlocked.Decrement(ref pins[active[(obj, extent)]]);
    }

    private static ObjectRange RangeOf((ulong Object, long Extent) entry) =>
        entry.Extent == WholeExtent ? ObjectRange.Whole(entry.Object) : new(entry.Object, entry.Extent * ExtentBytes, ExtentBytes);

    private bool TryPin((ulong Object, long Extent) key)
    {
        if (!active.TryGetValue(key, out var slot))
            return false;
        // With a positive count the slot cannot be taken, so what the second look finds stays. The first look may be outdated: the slot
        // may have been given away since, even to the same extent again, which is active only once it is durable.
        if (Interlocked.Increment(ref pins[slot]) > 0 && active.TryGetValue(key, out var again) && again == slot)
            return true;
        Interlocked.Decrement(ref pins[slot]);
        return false;
    }

    /// <summary>Activates and pins the extents from <paramref name="extent"/> to <paramref name="last"/>; pins none if it throws.</summary>
    private void Activate(ulong obj, long extent, long last)
    {
        var started = Stopwatch.GetTimestamp();
        var next = extent;
        var roomAsked = false;
        lock (gate)
        {
            try
            {
                while (next <= last)
                {
                    ThrowIfFailed();
                    var key = (obj, next);
                    if (TryPin(key))
                        next++;
                    else if (pending.ContainsKey(key) || TryPlace(obj, next, last))
                        WriteOrWait(started);
                    else
                        WaitForRoom(started, ref roomAsked);
                }
            }
            catch when (next > extent)
            {
                Unpin(obj, extent, next - 1);
                throw;
            }
        }
    }

    /// <summary>Gives slots to as many of the extents as possible, so that one write serves them; false if not even the first got one.</summary>
    private bool TryPlace(ulong obj, long first, long last)
    {
        for (var extent = first; extent <= last; extent++)
        {
            var key = (obj, extent);
            if (pending.ContainsKey(key) || active.ContainsKey(key))
                continue;
            if (!free.TryPop(out var slot) && !TryEvict(out slot))
                return extent > first;
            slots[slot] = key;
            pending.Add(key, slot);
            groupChanged[slot / ActivityLogFile.SlotsPerGroup] = true;
        }
        return true;
    }

    private bool TryEvict(out int slot)
    {
        for (var tried = 0; tried < slots.Length; tried++)
        {
            slot = hand;
            hand = (hand + 1) % slots.Length;
            if (slots[slot].Object == 0 || pending.ContainsKey(slots[slot]) || Interlocked.CompareExchange(ref pins[slot], Leaving, 0) != 0)
                continue;
            if (room.MayLeave(RangeOf(slots[slot])))
            {
                active.TryRemove(slots[slot], out _);
                slots[slot] = default;
                Interlocked.Add(ref pins[slot], -Leaving);
                return true;
            }
            Interlocked.Add(ref pins[slot], -Leaving);
        }
        slot = -1;
        return false;
    }

    /// <summary>One turn: writes what is pending, or waits for the thread that writes. Needs the gate, which it lets go meanwhile.</summary>
    private void WriteOrWait(long started)
    {
        if (writing)
        {
            Wait(started, "a write of the activity log");
            return;
        }
        var batch = pending.ToArray();
        var groups = new List<(int Group, (ulong Object, long Extent)[] Slots)>(groupChanged.Length);
        for (var group = 0; group < groupChanged.Length; group++)
        {
            if (!groupChanged[group])
                continue;
            groupChanged[group] = false;
            groups.Add((group, slots.AsSpan(group * ActivityLogFile.SlotsPerGroup, ActivityLogFile.SlotsPerGroup).ToArray()));
        }
        writing = true;
        Monitor.Exit(gate);
        StorageException? failed = null;
        try
        {
            lock (writerGate)
            {
                foreach (var (group, content) in groups)
                    file.Write(group, content);
            }
        }
        catch (StorageException e)
        {
            failed = e;
        }
        finally
        {
            Monitor.Enter(gate);
            writing = false;
            Monitor.PulseAll(gate);
        }
        // After a failed write the file's content is unknown, so no later activation may trust it.
        failure ??= failed;
        ThrowIfFailed();
        foreach (var (key, slot) in batch)
        {
            pending.Remove(key);
            active[key] = slot;
        }
    }

    /// <summary>One turn: asks the owner for room, or waits for the thread that does. Needs the gate, which it lets go meanwhile.</summary>
    private void WaitForRoom(long started, ref bool asked)
    {
        // Asked before and still full: every extent is pinned or marked again. Pins last for microseconds.
        const int RetryMs = 2;
        if (asked)
            _ = Monitor.Wait(gate, RetryMs);
        if (makingRoom)
        {
            Wait(started, "room in the activity log");
            return;
        }
        if (Stopwatch.GetElapsedTime(started) > options.RoomDeadline)
            throw new StorageException(StorageFault.ActivityLogFull, $"None of the {slots.Length} extents of the activity log could be freed within {options.RoomDeadline.TotalSeconds:0} s: writes find no room to be marked.");
        makingRoom = asked = true;
        Volatile.Write(ref waitingFor, "room in the activity log");
        Monitor.Exit(gate);
        try
        {
            room.MakeRoom();
        }
        finally
        {
            Monitor.Enter(gate);
            makingRoom = false;
            Volatile.Write(ref waitingFor, null);
            Monitor.PulseAll(gate);
        }
    }

    private void Wait(long started, string what)
    {
        var left = options.RoomDeadline - Stopwatch.GetElapsedTime(started);
        if (left <= TimeSpan.Zero || !Monitor.Wait(gate, left))
            throw new StorageException(StorageFault.ActivityLogFull, $"Waited {options.RoomDeadline.TotalSeconds:0} s for {what}.");
    }

    private void ThrowIfFailed()
    {
        if (failure is { } failed)
            throw new StorageException(failed.Fault, failed.Message);
    }
}

/// <summary>Keeps extents in the activity log; dispose of it once their marks are set.</summary>
public readonly struct ActivationPin : IDisposable
{
    private readonly ActivityLog? log;
    private readonly ulong obj;
    private readonly long first;
    private readonly long last;

    internal ActivationPin(ActivityLog log, ulong obj, long first, long last) => (this.log, this.obj, this.first, this.last) = (log, obj, first, last);

    public void Dispose() => log?.Unpin(obj, first, last);
}
