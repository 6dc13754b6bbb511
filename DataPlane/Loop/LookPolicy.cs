namespace Pollux.DataPlane.Loop;

/// <summary>Whether a loop should look for what comes next, giving its core away between two looks, before it sleeps. Putting a thread and
/// its core to sleep and waking both takes tens of microseconds, which a lone writer pays at each hop.</summary>
/// <remarks>
/// Looking pays when it often finds something. Whether it would cannot be told asleep: waits are longer then, because this side and the
/// other sleep. So it is tried when waits are shorter than <see cref="TryFactor"/> times the longest look on average, and given up when
/// fewer than a third of the looks find anything; then it rests for <see cref="RestWaits"/> waits. An idle loop does not look: its waits
/// are long.
/// </remarks>
/// <param name="lookTicks">The longest look.</param>
internal struct LookPolicy(long lookTicks)
{
    public const int TryFactor = 3;
    public const int RestWaits = 64;

    /// <summary>A wait that is very long counts as no more than this many of the longest looks.</summary>
    private const int WaitLooksMax = 2 * TryFactor;

    /// <summary>Looks that found something, of so many; new ones count with a sixteenth.</summary>
    private const int All = 1 << 10;

    private long _meanTicks = WaitLooksMax * lookTicks;
    private int _found;
    private int _rest;

    /// <summary>The next wait should begin with a look.</summary>
    public bool Looks { get; private set; }

    /// <param name="ticks">How long a wait was, with the look if it began with one.</param>
    public void Waited(long ticks)
    {
        _meanTicks += (Math.Min(ticks, WaitLooksMax * lookTicks) - _meanTicks) / 8;
        if (Looks)
        {
            _found += ((ticks < lookTicks ? All : 0) - _found) / 16;
            if (_found >= All / 3)
                return;
            Looks = false;
            _rest = RestWaits;
        }
        else if (_rest > 0)
            _rest--;
        else if (_meanTicks < TryFactor * lookTicks)
            (Looks, _found) = (true, All / 2);
    }
}
