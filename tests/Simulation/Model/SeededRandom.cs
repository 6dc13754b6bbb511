namespace Pollux.Tests.Simulation.Model;

/// <summary>SplitMix64 (Steele, Lea, Flood 2014): an own generator, because System.Random may change between runtimes and a seed
/// must replay for ever.</summary>
internal sealed class SeededRandom(ulong seed)
{
    private ulong state = seed;

    public ulong Next()
    {
        var z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <returns>From <paramref name="low"/> to <paramref name="high"/>, both included.</returns>
    public long Between(long low, long high) => low + (long)(Next() % (ulong)(high - low + 1));

    public bool Chance(int perMille) => Between(1, 1000) <= perMille;

    public T Of<T>(IReadOnlyList<T> items) => items[(int)Between(0, items.Count - 1)];

    public Guid Guid()
    {
        Span<byte> bytes = stackalloc byte[16];
        BitConverter.TryWriteBytes(bytes, Next());
        BitConverter.TryWriteBytes(bytes[8..], Next());
        return new Guid(bytes);
    }
}
