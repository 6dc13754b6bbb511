using System.Runtime.InteropServices;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Guard;

/// <summary>The inside of <c>pollux-host guard</c>: kills the process of a VM whose lease has run out, or whose data plane has died.</summary>
/// <remarks>
/// It knows nothing but the lines on its standard input, and does nothing but kill. A VM without its data plane has no disk any more
/// and, worse, may run on the other host soon (rule S8): so the end of the input kills every domain that was not forgotten, paused ones
/// too. A domain whose start was under way is waited for, since libvirt's daemon goes on with the start.
/// </remarks>
public sealed class GuardProcess(TextReader input, Func<long> nowMs)
{
    /// <summary>As long as a start may take to give up (LibvirtHypervisor's deadline for it).</summary>
    private const long LingerMs = 30_000;

    /// <summary>A SIGKILL is repeated until the process is gone; one may be in an uninterruptible wait for its disk.</summary>
    private const int RepeatMs = 20;

    /// <summary>Interval of looking for the process of an expired domain: well within the margin of the shortest detection time (500 ms).</summary>
    private const int ExpiredWatchMs = 100;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, GuardedDomain> _domains = [];
    private readonly AutoResetEvent _changed = new(initialState: false);
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
                GuardLines.Apply(line, _domains);
            _changed.Set();
        }

        lock (_gate)
            _ended = true;
        _changed.Set();
    }

    /// <returns>Milliseconds to the next look, or -1 when the input has ended.</returns>
    private int Step()
    {
        long now = nowMs(), next = long.MaxValue;
        var expired = new List<string>();
        lock (_gate)
        {
            if (_ended)
                return -1;
            foreach (var domain in _domains.Values)
            {
                if (domain.Phase == GuardedPhase.Paused)
                    continue;
                if (domain.UntilMs <= now)
                    expired.Add(domain.Domain);
                else
                    next = Math.Min(next, domain.UntilMs);
            }
        }

        var killed = false;
        foreach (var domain in expired)
            killed |= Kill(domain, "its lease has run out");
        // An expired domain stays under watch until the data plane forgets it: its process may not have appeared yet.
        return killed ? RepeatMs : (int)Math.Min(next - now, expired.Count > 0 ? ExpiredWatchMs : 1_000);
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
