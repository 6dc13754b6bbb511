namespace Pollux.DataPlane.Core.Fencing;

/// <summary>What the guard knows of one domain when it asks whether the watchdog may be fed.</summary>
/// <param name="UntilMs">End of its right to execute; <see cref="long.MaxValue"/>: no lease needed.</param>
/// <param name="LeaseMs">The longest right that it was given at a time; 0: none was seen yet.</param>
/// <param name="AtRest">It certainly executes nothing: confirmed paused, no process, or no thread of it can execute.</param>
public readonly record struct WatchedDomain(string Domain, long UntilMs, long LeaseMs, bool AtRest);

/// <param name="Armed">The device counts down.</param>
/// <param name="Feed">It is set back now.</param>
/// <param name="Reason">Why it is not fed, for people; null: it is.</param>
/// <param name="LateMs">How much later than the lease of the shortest domain allows a reset may come; 0: never later.</param>
public readonly record struct WatchdogVerdict(bool Armed, bool Feed, string? Reason, long LateMs);

/// <summary>When the host's watchdog device is armed and fed (rule S8, docs/safety.md "Fencing").</summary>
/// <remarks>
/// A feeding at <c>now</c> lets the host run on unattended until <c>now + timeout</c>. So it is done only if nothing may execute then that
/// must not: each domain either is at rest, or has a right that lasts so long (and a part of the margin longer: the peer waits for all of
/// it). Feeding then begins to fail before the lease ends, and goes on as soon as the domain is paused or halted; the reset comes only if
/// nobody could do that.
/// A lease that is shorter than the timeout leaves no room for this: such a domain is fed for until its lease ends, and the reset may come
/// <see cref="WatchdogVerdict.LateMs"/> after it.
/// </remarks>
public static class WatchdogRule
{
    /// <summary>Data planes say something twice a second. One that is silent for so long, milliseconds, while it is connected cannot be waited for:
    /// nobody else can serve its volumes or stop its VMs in order, and a process that hangs in the kernel is ended by a reset only. As long as
    /// the guard keeps what a dead one has left.</summary>
    public const long SilenceMaxMs = 60_000;

    /// <summary>Intervals of feeding in a timeout: three may be lost.</summary>
    private const int FeedingsPerTimeout = 5;

    /// <summary>Interval of feeding, milliseconds.</summary>
    public static long FeedEveryMs(long timeoutMs) => Math.Max(100, timeoutMs / FeedingsPerTimeout);

    /// <summary>Whether the domain may execute all the time that one feeding gives.</summary>
    public static bool MayExecute(long nowMs, long timeoutMs, WatchedDomain domain)
    {
        if (domain.UntilMs == long.MaxValue)
            return true;
        return LateMs(timeoutMs, domain) > 0 ? nowMs < domain.UntilMs : nowMs + timeoutMs <= domain.UntilMs + SlackMs(domain);
    }

    /// <param name="silentMs">Since the data plane last said anything; null: none is connected, and the guard keeps the leases by itself.</param>
    /// <param name="fenced">Why this host is to be reset; null: it is not.</param>
    public static WatchdogVerdict Decide(long nowMs, long timeoutMs, IReadOnlyList<WatchedDomain> domains, long? silentMs, string? fenced)
    {
        if (domains.Count == 0 && fenced is null)
            return new WatchdogVerdict(Armed: false, Feed: false, null, 0);
        var reason = fenced;
        if (silentMs >= SilenceMaxMs)
            reason ??= $"the data plane has said nothing for {silentMs / 1000} s";
        var lateMs = 0L;
        foreach (var domain in domains)
        {
            lateMs = Math.Max(lateMs, LateMs(timeoutMs, domain));
            if (reason is null && !domain.AtRest && !MayExecute(nowMs, timeoutMs, domain))
            {
                reason = nowMs < domain.UntilMs
                    ? $"the lease of {domain.Domain} was not renewed"
                    : $"{domain.Domain} executes without a lease and does not stop";
            }
        }

        return new WatchdogVerdict(Armed: true, Feed: reason is null, reason, lateMs);
    }

    /// <summary>0 if two feedings fit between the renewal of a lease and the time from which it is too short for the timeout.</summary>
    private static long LateMs(long timeoutMs, WatchedDomain domain) =>
        domain.UntilMs == long.MaxValue || domain.LeaseMs == 0 || timeoutMs + 2 * FeedEveryMs(timeoutMs) <= domain.LeaseMs * 8 / 10
            ? 0
            : timeoutMs;

    /// <summary>The guard's time is lease + half a margin, which is five eighths of the detection time (RoleTimings); a tenth of it is a quarter of
    /// the margin. The last quarter stays for drift of clocks and for a device that counts inexactly.</summary>
    private static long SlackMs(WatchedDomain domain) => domain.LeaseMs / 10;
}
