namespace Pollux.Grains.Core;

/// <summary>How often this installation's database has been declared restored: 0 for most. Read when the silo starts, before it takes calls, and the
/// same as long as it runs; all silos are stopped for a restore.</summary>
/// <remarks>What was stored under an earlier generation is memory of the past: a record is not decided on, and hosts are not given orders by it, until
/// it has been recovered from the hosts' reports (rule S10).</remarks>
public sealed class ControlGeneration
{
    public long Number { get; private set; }

    /// <summary>Called once, by whoever composes the silo, before grains are active.</summary>
    public void Set(long number) => Number = number;
}
