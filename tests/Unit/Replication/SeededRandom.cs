namespace Pollux.Tests.Unit.Replication;

/// <summary>splitmix64 (Steele, Lea, Flood 2014): the same numbers from the same seed on every runtime.</summary>
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

    /// <summary>A number below <paramref name="bound"/>.</summary>
    public int Below(int bound) => (int)(Next() % (ulong)bound);

    public long Below(long bound) => (long)(Next() % (ulong)bound);

    public void Fill(Span<byte> buffer)
    {
        foreach (ref var b in buffer)
            b = (byte)Next();
    }
}
