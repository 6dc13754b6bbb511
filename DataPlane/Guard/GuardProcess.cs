using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Guard;

/// <summary>The inside of <c>pollux-host guard</c>: no VM executes without a lease, whatever becomes of the data plane.</summary>
/// <remarks>
/// It knows what its data plane says over <see cref="GuardSocket"/>, and outlives it. What it does to a domain whose lease has run out and
/// that is not known to be paused (rule S8):
/// <code>
/// runs ──lease over──► halted ──new lease, or paused──► goes on
///                        └──no line of the data plane for SilenceMaxMs──► killed
/// starts, or given up (until 0) ──lease over──► killed
/// </code>
/// A halted process executes nothing and keeps its memory, so a pause that the hypervisor was too slow for costs no VM. Halting and going
/// on are both repeated as long as they are wanted, so it does not matter who else sends signals. A domain that is new to this guard is
/// let go on once: an earlier guard may have halted it.
/// When the data plane dies, the mounts that are held for it keep their connections: the I/O of VMs waits in the kernel. A VM executes to
/// the end of its lease, no longer, and all is kept for <see cref="OrphanMsMax"/>: the next data plane asks for it and says the leases
/// anew. What nobody claims by then is ended: VMs killed, connections closed. A domain whose start was under way is not kept, since nobody
/// knows what comes of it: it is waited for and killed, since libvirt's daemon goes on with the start.
/// </remarks>
/// <param name="orphanMsMax">See <see cref="OrphanMsMax"/>.</param>
/// <param name="watchdog">Null: this host has none. The guard's own from now on.</param>
/// <param name="stopMsMax">How long a killed VM may take to go, milliseconds, before the watchdog is no longer fed.</param>
public sealed class GuardProcess(Func<long> nowMs, long orphanMsMax, GuardWatchdog? watchdog = null, long stopMsMax = GuardProcess.StopMsMax)
{
    /// <summary>How long VMs and mounts are kept without a data plane, milliseconds: it starts in a second or two, and systemd tries every
    /// second; an operator who has to mend something first needs longer, and then the peer has taken over long ago.</summary>
    public const long OrphanMsMax = 60_000;

    /// <summary>A data plane connects at once; one that has died meanwhile never does. Milliseconds.</summary>
    private const long FirstConnectMsMax = 30_000;

    /// <summary>A data plane that says nothing for so long, milliseconds, does not pause, stop or resume anything either: its halted VMs are
    /// ended. Not a matter of safety; long enough for a machine that is very busy.</summary>
    public const long SilenceMaxMs = 2_000;

    /// <summary>A killed process is gone within milliseconds, or when its I/O ends: connections of volumes end before this. Milliseconds.</summary>
    public const long StopMsMax = 60_000;

    /// <summary>As long as a start may take to give up (LibvirtHypervisor's deadline for it).</summary>
    private const long LingerMs = 30_000;

    /// <summary>A SIGKILL is repeated until the process is gone; one may be in an uninterruptible wait for its disk.</summary>
    private const int RepeatMs = 20;

    /// <summary>Interval of looking for the process of an expired domain: well within the margin of the shortest detection time (500 ms).</summary>
    private const int ExpiredWatchMs = 100;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, GuardedDomain> _domains = [];
    private readonly Dictionary<string, HeldMount> _mounts = [];

    /// <summary>Domains and mounts of a data plane that has died, since when; a new one has not claimed them.</summary>
    private readonly Dictionary<string, long> _orphanDomainsMs = [];
    private readonly Dictionary<string, long> _orphanMountsMs = [];
    private readonly long _startedMs = nowMs();
    private bool _connected;
    private bool _everConnected;
    private readonly AutoResetEvent _changed = new(initialState: false);

    /// <summary>Since when a domain is halted; the stepping thread's own. <see cref="Unknown"/>: perhaps, by an earlier guard.</summary>
    private readonly Dictionary<string, long> _haltedMs = [];
    private readonly HashSet<string> _known = [];
    private const long Unknown = -1;

    private long _heardMs;
    private string? _fenced;
    private bool _ended;

    /// <summary>Waits until the guard of an earlier data plane, if there is one, has done its work and gone, then holds the lock for as long as
    /// the result lives: an old guard must never meet a VM that a new data plane has started.</summary>
    /// <exception cref="IOException">It is held for longer than an old guard may linger.</exception>
    public static FileStream Lock(string path)
    {
        var until = Environment.TickCount64 + LingerMs + 5_000;
        while (true)
        {
            try
            {
                // FileShare.None is an exclusive flock(2), which ends with the process.
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (Environment.TickCount64 < until)
            {
                Thread.Sleep(RepeatMs);
            }
        }
    }

    /// <summary>Returns when nobody is connected, and nothing is guarded or held any more.</summary>
    public void Run()
    {
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, static context => context.Cancel = true);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, static context => context.Cancel = true);
        while (Step() is var waitMs and >= 0)
            _changed.WaitOne(waitMs);
        KillAll();
        watchdog?.Dispose();
    }

    /// <summary>A data plane has connected.</summary>
    public void Arrived()
    {
        lock (_gate)
            (_connected, _everConnected, _heardMs, _fenced) = (true, true, nowMs(), null);
    }

    /// <summary>The data plane is gone without a word.</summary>
    public void Gone()
    {
        lock (_gate)
        {
            _connected = false;
            foreach (var domain in _domains.Keys)
                _orphanDomainsMs.TryAdd(domain, nowMs());
            foreach (var module in _mounts.Keys)
                _orphanMountsMs.TryAdd(module, nowMs());
            HostLog.Warn("guard", "the data plane is gone", ("vms", _domains.Count), ("mounts", _mounts.Count));
        }

        _changed.Set();
    }

    /// <param name="descriptors">Those that came with the line; the guard's from now on.</param>
    /// <exception cref="FormatException">Not a line of the guard.</exception>
    public void Take(string line, SafeFileHandle[] descriptors)
    {
        lock (_gate)
        {
            _heardMs = nowMs();
            if (line == GuardLines.Leave)
            {
                _ended = true;
            }
            else if (line.StartsWith(GuardLines.Fence, StringComparison.Ordinal))
            {
                _fenced = line[GuardLines.Fence.Length..] is { Length: > 0 } reason ? reason : null;
            }
            else if (line.StartsWith("hold ", StringComparison.Ordinal))
            {
                var mount = GuardLines.ParseHold(line, descriptors);
                LetGo(mount.Key);
                _mounts[mount.Key] = mount;
            }
            else if (line.StartsWith("release ", StringComparison.Ordinal))
            {
                LetGo(line["release ".Length..]);
            }
            else if (GuardLines.Apply(line, _domains) is { } domain)
            {
                _orphanDomainsMs.Remove(domain);
            }
        }

        _changed.Set();
    }

    /// <summary>All that is guarded and held, as lines with their descriptors, which stay the guard's.</summary>
    public IReadOnlyList<(string Line, IReadOnlyList<SafeFileHandle> Descriptors)> Tell()
    {
        lock (_gate)
        {
            return
            [
                .. _domains.Values.Select(static domain => (GuardLines.Lease(domain), (IReadOnlyList<SafeFileHandle>)[])),
                .. _mounts.Values.Select(static mount => (GuardLines.Hold(mount), mount.Descriptors)),
                (GuardLines.Told, []),
            ];
        }
    }

    private void LetGo(string module)
    {
        _orphanMountsMs.Remove(module);
        if (_mounts.Remove(module, out var mount))
            mount.Close();
    }

    /// <returns>Milliseconds to the next look, or -1 when there is nothing more to do but to kill what is left.</returns>
    private int Step()
    {
        GuardedDomain[] domains;
        Dictionary<string, long> orphans;
        long heardMs;
        long? silentMs;
        string? fenced;
        lock (_gate)
        {
            foreach (var (module, sinceMs) in _orphanMountsMs.ToArray())
            {
                if (nowMs() - sinceMs < orphanMsMax)
                    continue;
                HostLog.Error("guard", "gave up a mount: no data plane has claimed it", ("module", module));
                LetGo(module);
            }

            var idle = !_connected && _domains.Count == 0 && _mounts.Count == 0;
            if (_ended || (idle && (_everConnected || nowMs() - _startedMs >= FirstConnectMsMax)))
                return -1;
            domains = [.. _domains.Values];
            orphans = new(_orphanDomainsMs);
            heardMs = _heardMs;
            silentMs = _connected ? nowMs() - _heardMs : null;
            fenced = _fenced;
        }

        long now = nowMs(), next = now + 1_000;
        var names = domains.Select(static domain => domain.Domain).ToHashSet();
        _known.IntersectWith(names);
        foreach (var gone in _haltedMs.Keys.Except(names).ToArray())
            _haltedMs.Remove(gone);
        foreach (var domain in domains)
        {
            if (_known.Add(domain.Domain))
                _haltedMs[domain.Domain] = Unknown;
            var orphaned = orphans.TryGetValue(domain.Domain, out var orphanedMs);
            if (orphaned && (domain.Phase == GuardedPhase.Starting || domain.UntilMs == 0 || now - orphanedMs >= orphanMsMax))
            {
                End(domain, now - orphanedMs);
                next = Math.Min(next, now + RepeatMs);
            }
            else if (domain.Phase == GuardedPhase.Paused || domain.UntilMs > now)
            {
                Continue(domain.Domain);
                if (domain.Phase != GuardedPhase.Paused)
                    next = Math.Min(next, domain.UntilMs);
            }
            else
            {
                // An expired domain stays under watch until the data plane forgets it: its process may not have appeared yet.
                next = Math.Min(next, now + (Expired(domain, now, orphaned ? now : heardMs) ? RepeatMs : ExpiredWatchMs));
            }
        }

        if (watchdog is not null)
        {
            // A new look at the clock: what was done above may have taken long.
            now = nowMs();
            fenced ??= LeftFor(orphans, now, orphanMsMax + stopMsMax);
            next = Math.Min(next, now + watchdog.Turn(now, domains, silentMs, fenced));
        }

        return (int)Math.Max(0, next - now);
    }

    /// <summary>A VM that nobody claimed, was killed, and does not go.</summary>
    private static string? LeftFor(Dictionary<string, long> orphans, long now, long ms) =>
        orphans.Where(orphan => now - orphan.Value >= ms && EmulatorProcess.Find(orphan.Key) is not null)
            .Select(static orphan => $"{orphan.Key} was killed and does not end").FirstOrDefault();

    /// <summary>A domain that nobody claims: killed, and forgotten when it is certain that nothing comes of its start.</summary>
    private void End(GuardedDomain domain, long orphanedMs)
    {
        var killed = Kill(domain.Domain, "the data plane has ended");
        lock (_gate)
        {
            if (!_orphanDomainsMs.ContainsKey(domain.Domain))
                return;
            if (killed)
            {
                _domains[domain.Domain] = domain with { UntilMs = 0, Phase = GuardedPhase.Running };
            }
            else if (domain.Phase != GuardedPhase.Starting || orphanedMs >= LingerMs)
            {
                _domains.Remove(domain.Domain);
                _orphanDomainsMs.Remove(domain.Domain);
            }
        }
    }

    /// <returns>True if there was a process to kill.</returns>
    private bool Expired(GuardedDomain domain, long now, long heardMs)
    {
        if (domain.Phase == GuardedPhase.Starting || domain.UntilMs == 0)
            return Kill(domain.Domain, "it has no lease");
        if (!_haltedMs.TryGetValue(domain.Domain, out var sinceMs) || sinceMs == Unknown)
        {
            if (EmulatorProcess.Halt(domain.Domain) is not { } pid)
                return false;
            _haltedMs[domain.Domain] = now;
            HostLog.Warn("guard", "halted a VM: its lease has run out", ("domain", domain.Domain), ("pid", pid));
            return false;
        }

        if (now - Math.Max(sinceMs, heardMs) >= SilenceMaxMs)
            return Kill(domain.Domain, "its lease has run out, and the data plane is silent");
        EmulatorProcess.Halt(domain.Domain);
        return false;
    }

    private void Continue(string domain)
    {
        if (!_haltedMs.Remove(domain, out var sinceMs) || EmulatorProcess.Find(domain) is not { } pid || !EmulatorProcess.IsHalted(pid))
            return;
        EmulatorProcess.Continue(domain);
        HostLog.Warn("guard", "let a halted VM go on", ("domain", domain), ("pid", pid), ("haltedMs", sinceMs == Unknown ? null : nowMs() - sinceMs));
    }

    private void KillAll()
    {
        GuardedDomain[] domains;
        lock (_gate)
            domains = [.. _domains.Values];
        var lingerUntil = nowMs() + LingerMs;
        var fenceAt = nowMs() + stopMsMax;
        var open = domains.Select(domain => (domain.Domain, MayAppear: domain.Phase == GuardedPhase.Starting)).ToList();
        while (open.Count > 0)
        {
            for (var i = open.Count - 1; i >= 0; i--)
            {
                if (Kill(open[i].Domain, "the data plane has ended"))
                    open[i] = open[i] with { MayAppear = false };
                else if (!open[i].MayAppear || nowMs() >= lingerUntil)
                    open.RemoveAt(i);
            }

            if (open.Count == 0)
                break;
            var now = nowMs();
            var left = open.Find(static one => !one.MayAppear).Domain;
            watchdog?.Turn(now, domains, silentMs: null, now >= fenceAt && left is not null ? $"{left} was killed and does not end" : null);
            Thread.Sleep(RepeatMs);
        }
    }

    /// <returns>True if there was a process to kill.</returns>
    private static bool Kill(string domain, string reason)
    {
        if (EmulatorProcess.Kill(domain) is not { } pid)
            return false;
        HostLog.Error("guard", "killed a VM", ("domain", domain), ("pid", pid), ("reason", reason));
        return true;
    }
}
