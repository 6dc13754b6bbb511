using System.Buffers.Binary;

namespace Pollux.Tests.Simulation.Model;

/// <summary>The least piece of a module that <see cref="Truth"/> follows: some bytes of a file, a time of it, or a name. What it holds is a
/// number: that of the operation that gave it its content, or 0 for zeros, or for a name that is not there.</summary>
internal sealed class Cell(string title, ulong obj, Func<SimDisk, bool, long> read)
{
    /// <summary>A quarter of a sector: writes need not be whole sectors, and no cell can be torn.</summary>
    public const int Bytes = 128;

    private readonly List<(long Number, long Value)> allowed = [(0, 0)];
    private readonly List<(long Number, long Value)> unflushed = [];

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
    }

    /// <summary>With its power, or because a write-back failed.</summary>
    public void MemberLostUnflushed()
    {
        foreach (var entry in unflushed)
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
    public void Seen(long value)
    {
        var seen = allowed.FindLast(entry => entry.Value == value);
        // A newer one that the disk refused has been on the peer until it was repaired there: as long as neither is flushed, a loss of power
        // may bring back both.
        foreach (var other in allowed)
        {
            if (other.Number < seen.Number || refused.Contains(other.Number))
                unflushed.Add(other);
        }

        allowed.Clear();
        allowed.Add(seen);
    }

    /// <summary>By an operator's word it holds this and nothing else, whatever was promised before.</summary>
    public void Declared(long number, long value)
    {
        unflushed.Clear();
        allowed.Clear();
        allowed.Add((number, value));
        AcknowledgedNumber = number;
    }

    public string Allowed => string.Join(", ", allowed.Select(entry => $"{entry.Value}{(entry.Value == entry.Number ? "" : $" (by {entry.Number})")}"));

    public static Cell OfContent(ulong obj, long offsetBytes) => new($"{obj}+{offsetBytes}", obj, (disk, stable) =>
    {
        if (disk.Find(obj) is not { } file)
            return 0;
        var sector = offsetBytes / SimDisk.SectorBytes;
        var content = stable ? file.Stable(sector) : file.Content(sector);
        return content is null || offsetBytes >= file.SizeBytes ? 0 : NumberIn(content.AsSpan((int)(offsetBytes % SimDisk.SectorBytes), Bytes));
    });

    public static Cell OfTime(ulong obj) => new(
        $"time of {obj}", obj, (disk, stable) => (stable ? disk.NamesStable : disk.Names).GetValueOrDefault(obj)?.ModifyTimeNs ?? 0);

    public static Cell OfName(ulong parent, string name) => new(
        $"name {name}", 0, (disk, stable) => SimDisk.Lookup(stable ? disk.NamesStable : disk.Names, parent, name)?.Uid ?? 0);

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
