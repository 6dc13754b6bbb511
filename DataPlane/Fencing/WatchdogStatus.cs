using System.Globalization;

namespace Pollux.DataPlane.Fencing;

/// <summary>What the guard has made of the watchdog.</summary>
public enum WatchdogState
{
    /// <summary>Held, and not counting: no VM is there to be watched. To Armed with the first VM, to Unusable.</summary>
    Off,

    /// <summary>Counting and fed. To Off, Unfed.</summary>
    Armed,

    /// <summary>Counting, and not fed: the host is reset when the timeout has passed. To Armed if the cause passes before.</summary>
    Unfed,

    /// <summary>Not held; it is tried again. To Off.</summary>
    Unusable,
}

/// <summary>The guard's word on its watchdog, a small file in the run directory: the guard has no other way to tell, and must not wait for anybody.</summary>
/// <param name="GuardPid">The guard that says so; a status of another one is an old one.</param>
/// <param name="LateMs">How long after the end of the shortest lease a reset may come; 0: before the peer may take over.</param>
/// <param name="Reason">Why it is unfed or unusable; else empty.</param>
public sealed record WatchdogStatus(int GuardPid, WatchdogState State, string Device, long TimeoutMs, long LateMs, string Reason)
{
    /// <summary>The file's name in the run directory.</summary>
    public const string FileName = "watchdog";

    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(string path)
    {
        var next = path + ".next";
        File.WriteAllLines(next,
        [
            GuardPid.ToString(CultureInfo.InvariantCulture), State.ToString(), Device, TimeoutMs.ToString(CultureInfo.InvariantCulture),
            LateMs.ToString(CultureInfo.InvariantCulture), Reason.ReplaceLineEndings(" "),
        ]);
        File.Move(next, path, overwrite: true);
    }

    /// <returns>Null if there is none, or the process that wrote it is gone.</returns>
    public static WatchdogStatus? Read(string path)
    {
        try
        {
            if (File.ReadAllLines(path) is [var pid, var state, var device, var timeout, var late, var reason])
            {
                var status = new WatchdogStatus(
                    int.Parse(pid, CultureInfo.InvariantCulture), Enum.Parse<WatchdogState>(state), device, long.Parse(timeout, CultureInfo.InvariantCulture),
                    long.Parse(late, CultureInfo.InvariantCulture), reason);
                return Directory.Exists($"/proc/{pid}") ? status : null;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FormatException or ArgumentException or OverflowException)
        {
            // No word, or one of another version: unknown.
        }

        return null;
    }
}
