namespace Pollux.Tests.Simulation.Model;

/// <summary>A host's copy: per block the number of the write it holds, in memory and on stable storage, and the durable marks (S6).</summary>
internal sealed class Volume
{
    public const int Blocks = 6;

    public long[] Applied { get; } = new long[Blocks];

    /// <summary>The highest ever applied: tells an unapplied write from one that a loss of power took away again.</summary>
    public long[] AppliedMax { get; } = new long[Blocks];

    public long[] Stable { get; } = new long[Blocks];

    /// <summary>Stored before the data is written: the copies may differ here.</summary>
    public bool[] Marks { get; } = new bool[Blocks];

    public void Apply(int block, long number)
    {
        Applied[block] = number;
        AppliedMax[block] = Math.Max(AppliedMax[block], number);
    }

    /// <summary>Each block holds its flushed content or, if the disk was quick, a newer one.</summary>
    public void LosePower(SeededRandom random)
    {
        for (var block = 0; block < Blocks; block++)
        {
            if (random.Chance(500))
                Applied[block] = Stable[block];
            Stable[block] = Applied[block];
        }
    }
}
