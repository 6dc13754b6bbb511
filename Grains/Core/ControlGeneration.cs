namespace Pollux.Grains.Core;

/// <summary>How often this installation's database has been declared restored: 0 for most. Read when the silo starts, before it takes calls, and the
/// same as long as it runs; all silos are stopped for a restore. One that was not stopped finds a later one stored, and from then on grants and orders
/// nothing until it is started anew.</summary>
/// <remarks>What was stored under an earlier generation is memory of the past: a record is not decided on, and hosts are not given orders by it, until
/// it has been recovered from the hosts' reports (rule S10).</remarks>
public sealed class ControlGeneration
{
    private Func<Task<long>>? _readStored;
    private volatile bool _superseded;

    public long Number { get; private set; }

    /// <summary>Called once, by whoever composes the silo, before grains are active.</summary>
    /// <param name="readStored">Reads the number that is stored now.</param>
    public void Set(long number, Func<Task<long>> readStored) => (Number, _readStored) = (number, readStored);

    /// <summary>Looks whether the database was declared restored while this silo ran; once true, for ever. An answer that grants something is given only
    /// after a look that began after its write: what was answered before the declaration is in the hosts' reports, and what was not is in none.</summary>
    public async Task<bool> IsSupersededAsync()
    {
        if (!_superseded && _readStored is { } read && await read() > Number) _superseded = true;
        return _superseded;
    }
}
