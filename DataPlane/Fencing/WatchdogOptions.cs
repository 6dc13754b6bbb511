namespace Pollux.DataPlane.Fencing;

/// <summary>The watchdog of this host as <c>fencing.json</c> names it.</summary>
/// <param name="Device">A device below <c>/dev</c>; any other path is a plain file, for a drill.</param>
/// <param name="TimeoutSeconds">Without feeding for so long the host is reset.</param>
/// <param name="Required">Without it no VM starts on this host.</param>
public sealed record WatchdogOptions(string Device = "/dev/watchdog", int TimeoutSeconds = WatchdogOptions.TimeoutSecondsDefault, bool Required = true)
{
    /// <summary>Fits into the lease of the default detection time (30 s: a lease of 15 s).</summary>
    public const int TimeoutSecondsDefault = 10;

    /// <summary>Devices count in seconds; some take no more than this.</summary>
    public const int TimeoutSecondsMax = 60;

    public long TimeoutMs => TimeoutSeconds * 1000L;

    /// <summary>Null if it can be used as far as can be seen.</summary>
    public string? Refusal() => TimeoutSeconds is < 1 or > TimeoutSecondsMax
        ? $"timeoutSeconds of the watchdog is {TimeoutSeconds}; it can be 1 to {TimeoutSecondsMax}."
        : IsPlainFile(Device)
            ? File.Exists(Device) ? null : $"{Device} does not exist."
            : KernelWatchdog.Refusal(Device);

    /// <exception cref="WatchdogException">It cannot be used.</exception>
    public IWatchdogDevice Open() => IsPlainFile(Device) ? new DrillWatchdog(Device, TimeoutMs) : KernelWatchdog.Open(Device, TimeoutMs);

    private static bool IsPlainFile(string path) => !path.StartsWith("/dev/", StringComparison.Ordinal);
}
