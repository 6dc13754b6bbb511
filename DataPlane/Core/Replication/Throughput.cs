namespace Pollux.DataPlane.Core.Replication;

/// <summary>Bytes per second over the last seconds. Time comes from the caller, milliseconds.</summary>
internal sealed class Throughput
{
    private const int SampleMs = 250;
    private const int Samples = 16;

    private readonly long[] bytes = new long[Samples];
    private long beganMs;
    private long sample;

    public void Reset(long nowMs)
    {
        bytes.AsSpan().Clear();
        (beganMs, sample) = (nowMs, nowMs / SampleMs);
    }

    public void Add(long nowMs, long count)
    {
        Advance(nowMs);
        bytes[sample % Samples] += count;
    }

    public double BytesPerSecond(long nowMs)
    {
        Advance(nowMs);
        var sum = 0L;
        foreach (var count in bytes)
            sum += count;
        // The window begins with the oldest sample, the first of which may be younger.
        var windowMs = nowMs - Math.Max(beganMs, (sample - Samples + 1) * SampleMs);
        return windowMs <= 0 ? 0 : sum * 1000.0 / windowMs;
    }

    private void Advance(long nowMs)
    {
        var now = nowMs / SampleMs;
        if (now - sample >= Samples)
        {
            bytes.AsSpan().Clear();
            sample = now;
        }
        for (; sample < now; sample++)
            bytes[(sample + 1) % Samples] = 0;
    }
}

/// <summary>Lets a limited number of bytes per second pass. Time comes from the caller, milliseconds.</summary>
internal struct RateLimit
{
    private double tokens;
    private long filledMs;

    public long BytesPerSecondMax { get; set; }

    /// <summary>How long to wait until something may pass, milliseconds; 0: it may.</summary>
    public long WaitMs(long nowMs)
    {
        if (BytesPerSecondMax == long.MaxValue)
            return 0;
        // What was not used for longer than a quarter of a second is lost: a limit that saves up is none.
        tokens = Math.Min(tokens + BytesPerSecondMax / 1000.0 * (nowMs - filledMs), BytesPerSecondMax / 4.0);
        filledMs = nowMs;
        return tokens >= 0 ? 0 : (long)(-tokens * 1000 / BytesPerSecondMax) + 1;
    }

    public void Take(long bytes)
    {
        if (BytesPerSecondMax != long.MaxValue)
            tokens -= bytes;
    }
}
