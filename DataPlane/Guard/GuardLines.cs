using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fuse;

namespace Pollux.DataPlane.Guard;

/// <summary>What the domain does as far as the data plane knows.</summary>
public enum GuardedPhase
{
    /// <summary>A start is under way: its process may appear later.</summary>
    Starting,
    Running,

    /// <summary>Confirmed paused: does not execute, so a lease may end.</summary>
    Paused,
}

/// <summary>The latest word on one domain.</summary>
/// <param name="UntilMs">End of its right to execute, CLOCK_BOOTTIME milliseconds; <see cref="long.MaxValue"/>: no lease needed; 0: it is
/// given up, and to be ended.</param>
public readonly record struct GuardedDomain(string Domain, long UntilMs, GuardedPhase Phase);

/// <summary>The lines from data plane to guard: <c>lease UNTIL PHASE DOMAIN</c>, <c>forget DOMAIN</c>, and <c>alive</c>, which says only that
/// the data plane is there. The domain stands last: its name may contain spaces.</summary>
internal static class GuardLines
{
    public const string Alive = "alive";

    public static string Lease(GuardedDomain domain) =>
        string.Create(CultureInfo.InvariantCulture, $"lease {domain.UntilMs} {domain.Phase} {domain.Domain}");

    public static string Forget(string domain) => "forget " + domain;

    /// <summary>The data plane ends for good: whatever is not forgotten is killed.</summary>
    public const string Leave = "leave";

    /// <summary>Asks for all that is held, which the guard answers by a <c>lease</c> line for each domain, a <c>hold</c> line with its
    /// descriptors for each mount, and <see cref="Told"/>.</summary>
    public const string Tell = "tell";
    public const string Told = "told";

    /// <summary>With the descriptors of the directory and of the connection, in this order.</summary>
    public static string Hold(HeldMount mount) => string.Create(CultureInfo.InvariantCulture,
        $"hold {mount.Connection.Number} {mount.Connection.Negotiated.KernelMinor} {mount.Connection.Negotiated.Minor} {(ulong)mount.Connection.Negotiated.Flags} {mount.Connection.Negotiated.WriteBytesMax} {mount.Key} {mount.Path}");

    /// <summary>With a reason: the watchdog is not to be fed any more, so that this host is reset. Without one: taken back. For a guard that has a
    /// watchdog only; older ones do not know the line.</summary>
    public const string Fence = "fence ";

    public static string Release(string key) => "release " + key;

    /// <exception cref="FormatException">Not such a line, or without its descriptors.</exception>
    public static HeldMount ParseHold(string line, SafeFileHandle[] descriptors)
    {
        var words = line.Split(' ', 8);
        if (words is not ["hold", var number, var kernelMinor, var minor, var flags, var writeBytesMax, { Length: > 0 } key, { Length: > 0 } path]
            || descriptors.Length < 2)
            throw new FormatException($"'{line}' with {descriptors.Length} descriptors is no mount to hold");
        var negotiated = new FuseNegotiation(
            uint.Parse(kernelMinor, CultureInfo.InvariantCulture), uint.Parse(minor, CultureInfo.InvariantCulture),
            (FuseInitFlags)ulong.Parse(flags, CultureInfo.InvariantCulture), int.Parse(writeBytesMax, CultureInfo.InvariantCulture));
        return new HeldMount(key, path, descriptors[0],
            new FuseConnection(int.Parse(number, CultureInfo.InvariantCulture), negotiated, descriptors[1..]));
    }

    /// <summary>Applies a line to the set of guarded domains.</summary>
    /// <returns>The domain it is about; null if it is about none.</returns>
    /// <exception cref="FormatException">Not such a line.</exception>
    public static string? Apply(string line, Dictionary<string, GuardedDomain> domains)
    {
        var words = line.Split(' ', 4);
        if (words is ["lease", var until, var phase, { Length: > 0 } leased])
        {
            domains[leased] = new GuardedDomain(leased, long.Parse(until, CultureInfo.InvariantCulture), Enum.Parse<GuardedPhase>(phase));
            return leased;
        }

        if (line == Alive)
            return null;
        if (!line.StartsWith("forget ", StringComparison.Ordinal))
            throw new FormatException($"'{line}' is no line of the guard");
        var forgotten = line["forget ".Length..];
        domains.Remove(forgotten);
        return forgotten;
    }
}
