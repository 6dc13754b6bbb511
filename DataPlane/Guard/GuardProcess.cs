using System.Runtime.InteropServices;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Guard;

/// <summary>The inside of <c>pollux-host guard</c>: no VM executes without a lease, whatever becomes of the data plane.</summary>
/// <remarks>
/// It knows nothing but the lines on its standard input. What it does to a domain whose lease has run out and that is not known to be
/// paused (rule S8):
/// <code>
/// runs ──lease over──► halted ──new lease, or paused──► goes on
///                        └──no line of the data plane for SilenceMaxMs──► killed
/// starts, or given up (until 0) ──lease over──► killed
/// </code>
/// A halted process executes nothing and keeps its memory, so a pause that the hypervisor was too slow for costs no VM. Halting and going
/// on are both repeated as long as they are wanted, so it does not matter who else sends signals. A domain that is new to this guard is
/// let go on once: an earlier guard may have halted it.
/// The end of the input kills every domain that was not forgotten, paused and halted ones too: a VM without its data plane has no disk
/// any more and may run on the other host soon. A domain whose start was under way is waited for, since libvirt's daemon goes on with the
/// start.
/// </remarks>
public sealed class GuardProcess(TextReader input, Func<long> nowMs)
{
    /// <summary>A data plane that says nothing for so long, milliseconds, does not pause, stop or resume anything either: its halted VMs are
    /// ended. Not a matter of safety; long enough for a machine that is very busy.</summary>
    public const long SilenceMaxMs = 2_000;

    /// <summary>As long as a start may take to give up (LibvirtHypervisor's deadline for it).</summary>
    private const long LingerMs = 30_000;

    /// <summary>A SIGKILL is repeated until the process is gone; one may be in an uninterruptible wait for its disk.</summary>
    private const int RepeatMs = 20;

    /// <summary>Interval of looking for the process of an expired domain: well within the margin of the shortest detection time (500 ms).</summary>
    private const int ExpiredWatchMs = 100;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, GuardedDomain> _domains = [];
    private readonly AutoResetEvent _changed = new(initialState: false);

    /// <summary>Since when a domain is halted; the stepping thread's own. <see cref="Unknown"/>: perhaps, by an earlier guard.</summary>
    private readonly Dictionary<string, long> _haltedMs = [];
    private readonly HashSet<string> _known = [];
    private const long Unknown = -1;

    private long _heardMs;
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

    /// <summary>Returns when the input has ended and no guarded domain runs any more.</summary>
    public void Run()
    {
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, static context => context.Cancel = true);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, static context => context.Cancel = true);
        new Thread(Read) { IsBackground = true, Name = "guard-input" }.Start();
        while (Step() is var waitMs and >= 0)
            _changed.WaitOne(waitMs);
        KillAll();
    }

    private void Read()
    {
        while (input.ReadLine() is { } line)
        {
            lock (_gate)
            {
                GuardLines.Apply(line, _domains);
                _heardMs = nowMs();
            }

            _changed.Set();
        }

        lock (_gate)
            _ended = true;
        _changed.Set();
    }

    /// <returns>Milliseconds to the next look, or -1 when the input has ended.</returns>
    private int Step()
    {
        GuardedDomain[] domains;
        long heardMs;
        lock (_gate)
        {
            if (_ended)
                return -1;
            domains = [.. _domains.Values];
            heardMs = _heardMs;
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
            if (domain.Phase == GuardedPhase.Paused || domain.UntilMs > now)
            {
                Continue(domain.Domain);
                if (domain.Phase != GuardedPhase.Paused)
                    next = Math.Min(next, domain.UntilMs);
            }
            else
            {
                // An expired domain stays under watch until the data plane forgets it: its process may not have appeared yet.
                next = Math.Min(next, now + (Expired(domain, now, heardMs) ? RepeatMs : ExpiredWatchMs));
            }
        }

        return (int)Math.Max(0, next - now);
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

            if (open.Count > 0)
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
