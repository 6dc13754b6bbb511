using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Telemetry;

/// <summary>The one clock of leases and deadlines: CLOCK_BOOTTIME in milliseconds. It counts suspended time and never steps (rule S8).</summary>
public static class BootClock
{
    public static long NowMs => Libc.BootTimeNs() / 1_000_000;

    /// <summary>The wall-clock time of a moment on this clock, for people and for traces only.</summary>
    public static DateTimeOffset ToWall(long bootMs) => DateTimeOffset.UtcNow.AddMilliseconds(bootMs - NowMs);
}
