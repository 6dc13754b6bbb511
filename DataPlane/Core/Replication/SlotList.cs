namespace Pollux.DataPlane.Core.Replication;

/// <summary>Slots of the ledger in order of arrival; each at most once. Allocates nothing after its construction.</summary>
internal sealed class SlotList
{
    private const int None = -1;
    private const int Absent = -2;

    private readonly int[] next = new int[WriteLedger.Slots];
    private readonly int[] previous = new int[WriteLedger.Slots];
    private int last = None;

    public SlotList()
    {
        next.AsSpan().Fill(Absent);
        previous.AsSpan().Fill(Absent);
    }

    public int First { get; private set; } = None;

    public bool IsEmpty => First < 0;

    public int Count { get; private set; }

    public bool Contains(int slot) => next[slot] != Absent;

    /// <summary>The slot behind one that is in the list; negative at the end.</summary>
    public int After(int slot) => next[slot];

    public void Add(int slot)
    {
        if (Contains(slot))
            return;
        (previous[slot], next[slot]) = (last, None);
        if (last >= 0)
            next[last] = slot;
        else
            First = slot;
        last = slot;
        Count++;
    }

    public void Remove(int slot)
    {
        if (!Contains(slot))
            return;
        if (previous[slot] >= 0)
            next[previous[slot]] = next[slot];
        else
            First = next[slot];
        if (next[slot] >= 0)
            previous[next[slot]] = previous[slot];
        else
            last = previous[slot];
        next[slot] = previous[slot] = Absent;
        Count--;
    }
}
