namespace Pollux.Lab.Guest;

/// <summary>What a disk file holds: per slot the number of the record and the boot of the guest that wrote it (0: none).</summary>
public sealed class RecordScan
{
    private readonly ulong[] _numbers;

    public RecordScan(int slots, ulong[] numbers, ulong[] boots, IReadOnlyList<int> badSlots)
    {
        Slots = slots;
        _numbers = numbers;
        BadSlots = badSlots;
        Max = numbers.Max();
        Missing = [.. Expected(Max, slots).Where(number => numbers[number % (ulong)slots] != number)];
        WritersTookTurns = BootsAreContiguous(numbers, boots);
    }

    public int Slots { get; }

    /// <summary>The highest record, 0 when there is none.</summary>
    public ulong Max { get; }

    public int Records => _numbers.Count(number => number != 0);

    /// <summary>Slots whose content is neither a record nor zero.</summary>
    public IReadOnlyList<int> BadSlots { get; }

    /// <summary>Numbers at or below the highest that are neither there nor replaced by their successor in the slot.</summary>
    public IReadOnlyList<ulong> Missing { get; }

    /// <summary>False when records of one boot lie between records of another: two guests wrote at the same time.</summary>
    public bool WritersTookTurns { get; }

    public bool IsWhole => BadSlots.Count == 0 && Missing.Count == 0 && WritersTookTurns;

    /// <summary>The acknowledged numbers of the range that this file lost: neither there nor rightly replaced.</summary>
    public IReadOnlyList<ulong> LostOf(AcknowledgedRange range)
    {
        var lost = new List<ulong>();
        for (var number = range.First; number <= range.Last; number++)
        {
            var replaced = number + (ulong)Slots <= Max;
            if (!replaced && _numbers[number % (ulong)Slots] != number)
                lost.Add(number);
        }
        return lost;
    }

    public override string ToString() =>
        $"records={Records} max={Max} bad={BadSlots.Count} missing={Missing.Count}{(WritersTookTurns ? "" : " two writers at once")}";

    private static IEnumerable<ulong> Expected(ulong max, int slots)
    {
        for (var number = max >= (ulong)slots ? max - (ulong)slots + 1 : 1; number <= max; number++)
            yield return number;
    }

    private static bool BootsAreContiguous(ulong[] numbers, ulong[] boots)
    {
        var seen = new HashSet<ulong>();
        var current = 0ul;
        foreach (var (_, boot) in numbers.Zip(boots).Where(pair => pair.First != 0).OrderBy(pair => pair.First))
        {
            if (boot != current && !seen.Add(boot))
                return false;
            current = boot;
        }
        return true;
    }
}

/// <summary>Record numbers, both ends included, each of which the guest reported as flushed.</summary>
public readonly record struct AcknowledgedRange(ulong First, ulong Last);
