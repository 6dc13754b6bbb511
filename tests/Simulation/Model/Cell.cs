using System.Buffers.Binary;
using System.Collections.Immutable;

namespace Pollux.Tests.Simulation.Model;

/// <summary>The least piece of a module that <see cref="Truth"/> follows: some bytes of a file, a time of it, or a name. What it holds is a
/// number: that of the operation that gave it its content, or 0 for zeros, or for a name that is not there.</summary>
/// <param name="read">Now, or what is stable.</param>
/// <param name="afterLoss">Everything that a loss of power may leave.</param>
internal sealed class Cell(string title, ulong obj, Func<SimDisk, bool, long> read, Func<SimDisk, IEnumerable<long>> afterLoss)
{
    /// <summary>A quarter of a sector: writes need not be whole sectors, and no cell can be torn.</summary>
    public const int Bytes = 128;

    private readonly List<(long Number, long Value)> allowed = [(0, 0)];
    private readonly List<(long Number, long Value)> unflushed = [];

    /// <summary>Newer changes than what the present VM found, which its host may lose power into: it has read what its memory had, and the disk may
    /// yet have the other. Until a flush.</summary>
    private readonly List<(long Number, long Value)> abandoned = [];

    /// <summary>Changes that a disk refused: the peer may have had them until the repair.</summary>
    private readonly HashSet<long> refused = [];

    /// <summary>The object whose flush makes it stable; 0 for names, which only a flush of everything does.</summary>
    public ulong Object => obj;

    /// <summary>The number of the last change that was acknowledged to the present VM, or that it found.</summary>
    public long AcknowledgedNumber { get; private set; }

    public override string ToString() => title;

    public long Now(SimDisk disk) => read(disk, false);

    public long Stable(SimDisk disk) => read(disk, true);

    public void ChangeBegins(long number, long value) => allowed.Add((number, value));

    /// <param name="keepOlder">A member may have lost it again with its power, as any unflushed change.</param>
    public void ChangeAcknowledged(long number, bool keepOlder)
    {
        foreach (var older in allowed)
        {
            if (older.Number < number)
                unflushed.Add(older);
        }

        if (!keepOlder)
            allowed.RemoveAll(entry => entry.Number < number);
        AcknowledgedNumber = Math.Max(AcknowledgedNumber, number);
    }

    public void ChangeRefused(long number) => refused.Add(number);

    public void FlushAcknowledged(long numberAtBegin)
    {
        unflushed.RemoveAll(entry => entry.Number < numberAtBegin);
        allowed.RemoveAll(entry => entry.Number < numberAtBegin);
        abandoned.Clear();
    }

    /// <summary>With its power, or because a write-back failed.</summary>
    public void MemberLostUnflushed()
    {
        foreach (var entry in unflushed.Concat(abandoned))
        {
            if (!allowed.Contains(entry))
                allowed.Add(entry);
        }

        allowed.Sort();
    }

    public bool MayBe(long value, long numberMin = 0) => allowed.Exists(entry => entry.Value == value && entry.Number >= numberMin);

    public bool MayBeStable(long value, long numberMin) =>
        MayBe(value, numberMin) || unflushed.Exists(entry => entry.Value == value && entry.Number >= numberMin);

    /// <summary>A VM begins to execute and reads this: its flushes are about that, and about what it writes.</summary>
    public void Found(long value) => AcknowledgedNumber = allowed.FindLast(entry => entry.Value == value).Number;

    /// <summary>A VM has begun to execute and reads this: from now on it is what was there.</summary>
    /// <param name="afterLoss">What a loss of power may leave on its host.</param>
    public void Seen(long value, IReadOnlySet<long> afterLoss)
    {
        var seen = allowed.FindLast(entry => entry.Value == value);
        // A newer one that the disk refused has been on the peer until it was repaired there: as long as neither is flushed, a loss of power
        // may bring back both.
        foreach (var other in allowed)
        {
            if (other.Number < seen.Number || refused.Contains(other.Number))
                unflushed.Add(other);
            else if (other.Number > seen.Number && afterLoss.Contains(other.Value))
                abandoned.Add(other);
        }

        allowed.Clear();
        allowed.Add(seen);
    }

    public string Allowed => string.Join(", ", allowed.Select(entry => $"{entry.Value}{(entry.Value == entry.Number ? "" : $" (by {entry.Number})")}"));

    public IReadOnlySet<long> AfterLoss(SimDisk disk) => afterLoss(disk).ToHashSet();

    public static Cell OfContent(ulong obj, long offsetBytes)
    {
        return new($"{obj}+{offsetBytes}", obj,
            (disk, stable) => disk.Find(obj) is not { } file ? 0
                : In(stable ? file.Stable(offsetBytes / SimDisk.SectorBytes) : file.Content(offsetBytes / SimDisk.SectorBytes), file.SizeBytes),
            disk => disk.Find(obj) is not { } file ? [0]
                : from content in file.ContentsAfterLoss(offsetBytes / SimDisk.SectorBytes) from size in file.SizesAfterLoss select In(content, size));

        long In(byte[]? content, long sizeBytes) =>
            content is null || offsetBytes >= sizeBytes ? 0 : NumberIn(content.AsSpan((int)(offsetBytes % SimDisk.SectorBytes), Bytes));
    }

    public static Cell OfTime(ulong obj) => OfNames($"time of {obj}", obj, names => names.GetValueOrDefault(obj)?.ModifyTimeNs ?? 0);

    public static Cell OfName(ulong parent, string name) => OfNames($"name {name}", 0, names => SimDisk.Lookup(names, parent, name)?.Uid ?? 0);

    private static Cell OfNames(string title, ulong obj, Func<ImmutableSortedDictionary<ulong, SimNode>, long> read) =>
        new(title, obj, (disk, stable) => read(stable ? disk.NamesStable : disk.Names), disk => disk.NamesAfterLoss.Select(read));

    public static void Fill(Span<byte> content, long number)
    {
        for (; content.Length >= sizeof(long); content = content[sizeof(long)..])
            BinaryPrimitives.WriteInt64LittleEndian(content, number);
    }

    /// <returns>−1 for a mixture, which nobody ever wrote.</returns>
    private static long NumberIn(ReadOnlySpan<byte> content)
    {
        var number = BinaryPrimitives.ReadInt64LittleEndian(content);
        return content[sizeof(long)..].SequenceEqual(content[..^sizeof(long)]) ? number : -1;
    }
}
