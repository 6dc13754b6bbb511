namespace Pollux.Lab.Soak;

/// <summary>SplitMix64 (Steele, Lea, Flood 2014): an own generator, because System.Random may change between runtimes and a seed has to
/// choose the same faults for ever.</summary>
public sealed class SeededRandom(ulong seed)
{
    private ulong _state = seed;

    /// <returns>From <paramref name="low"/> to <paramref name="high"/>, both included.</returns>
    public int Between(int low, int high)
    {
        var z = _state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return low + (int)((z ^ (z >> 31)) % (ulong)(high - low + 1));
    }

    public T Of<T>(IReadOnlyList<T> items) => items[Between(0, items.Count - 1)];
}
