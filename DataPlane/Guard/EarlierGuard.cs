using System.Net.Sockets;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Guard;

/// <summary>The guard of an earlier data plane of this host, and what it has kept: the VMs that may still execute and the mounts whose users
/// wait. Each is taken by the module that it belongs to.</summary>
public sealed class EarlierGuard
{
    /// <summary>Interval of questions while the guard still ends something, milliseconds, and how long that may take.</summary>
    private const int AskAgainMs = 50;
    private const long EndingMsMax = 35_000;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, GuardedDomain> _domains;
    private readonly Dictionary<string, HeldMount> _mounts;

    private EarlierGuard(Socket socket, Dictionary<string, GuardedDomain> domains, Dictionary<string, HeldMount> mounts) =>
        (Socket, _domains, _mounts) = (socket, domains, mounts);

    /// <summary>The connection with it.</summary>
    internal Socket Socket { get; }

    /// <summary>Keys of the mounts that nobody has taken yet.</summary>
    public IReadOnlyList<string> Mounts
    {
        get
        {
            lock (_gate)
                return [.. _mounts.Keys];
        }
    }

    /// <summary>Asks the guard that listens there; waits until it has ended what it does not keep.</summary>
    /// <returns>Null if there is none.</returns>
    public static EarlierGuard? Find(string socketPath)
    {
        if (GuardSocket.TryConnect(socketPath) is not { } socket)
            return null;
        try
        {
            var until = BootClock.NowMs + EndingMsMax;
            while (true)
            {
                var (domains, mounts) = Ask(socket);
                if (BootClock.NowMs >= until || !domains.Values.Any(static domain => domain.Phase == GuardedPhase.Starting || domain.UntilMs == 0))
                {
                    HostLog.Info("guard", "found the guard of an earlier process", ("vms", domains.Count), ("mounts", mounts.Count));
                    return new EarlierGuard(socket, domains, mounts);
                }

                foreach (var mount in mounts.Values)
                    mount.Close();
                Thread.Sleep(AskAgainMs);
            }
        }
        catch (Exception e) when (e is IOException or FormatException)
        {
            HostLog.Warn("guard", "the guard of an earlier process does not answer", ("reason", e.Message));
            socket.Dispose();
            return null;
        }
    }

    /// <summary>What is known of a domain that may still execute.</summary>
    public GuardedDomain? Domain(string domain)
    {
        lock (_gate)
            return _domains.TryGetValue(domain, out var known) ? known : null;
    }

    /// <summary>A mount by its key, once; the taker closes it.</summary>
    public HeldMount? Take(string key)
    {
        lock (_gate)
            return _mounts.Remove(key, out var mount) ? mount : null;
    }

    private static (Dictionary<string, GuardedDomain> Domains, Dictionary<string, HeldMount> Mounts) Ask(Socket socket)
    {
        var domains = new Dictionary<string, GuardedDomain>();
        var mounts = new Dictionary<string, HeldMount>();
        GuardSocket.Send(socket, GuardLines.Tell, []);
        while (GuardSocket.Receive(socket, out var descriptors) is { } line)
        {
            if (line == GuardLines.Told)
                return (domains, mounts);
            if (line.StartsWith("hold ", StringComparison.Ordinal))
            {
                var mount = GuardLines.ParseHold(line, descriptors);
                mounts[mount.Key] = mount;
            }
            else
            {
                GuardLines.Apply(line, domains);
            }
        }

        throw new IOException("the guard closed the connection");
    }
}
