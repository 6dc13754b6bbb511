namespace Pollux.DataPlane.Core.Replication;

/// <summary>How fast a resync may be, and has to be.</summary>
/// <param name="BytesPerSecondMin">Kept up beside guests as far as disk and link allow; 0: guests always go first.</param>
/// <param name="BytesPerSecondMax">long.MaxValue: no limit.</param>
public readonly record struct ResyncLimits(long BytesPerSecondMin, long BytesPerSecondMax)
{
    /// <summary>8 MB/s at least: 1 TB takes about a day and a half at most.</summary>
    public static readonly ResyncLimits Default = new(8_000_000, long.MaxValue);

    public bool IsValid => BytesPerSecondMin >= 0 && BytesPerSecondMax >= Math.Max(BytesPerSecondMin, 1);
}
