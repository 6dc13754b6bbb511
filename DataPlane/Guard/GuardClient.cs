using System.ComponentModel;
using System.Diagnostics;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Guard;

/// <summary>Tells the guard process about the leases; starts it, and starts it anew if it ends.</summary>
public interface IGuard
{
    /// <summary>The latest word on a domain; to be said before it starts and with each renewal.</summary>
    void Lease(GuardedDomain domain);

    /// <summary>It is certain that the domain does not run.</summary>
    void Forget(string domain);
}

/// <summary>The data plane's end of the pipe. What waits to be written is one line per domain, so a guard that does not read costs
/// nothing here; the writing thread alone touches the pipe.</summary>
public sealed class GuardClient : IGuard, IDisposable
{
    private static readonly TimeSpan RestartPause = TimeSpan.FromMilliseconds(200);

    /// <summary>Interval of signs of life: a quarter of the silence after which the guard takes this process for a dead one.</summary>
    private static readonly TimeSpan AliveEvery = TimeSpan.FromMilliseconds(GuardProcess.SilenceMaxMs / 4);

    private readonly Func<ProcessStartInfo> _start;
    private readonly object _gate = new();
    private readonly Dictionary<string, GuardedDomain> _domains = [];
    private readonly HashSet<string> _unsaid = [];
    private readonly Thread _writer;
    private bool _stopping;

    /// <param name="start">How to start the guard; its standard input is ours.</param>
    public GuardClient(Func<ProcessStartInfo> start)
    {
        _start = start;
        _writer = new Thread(Run) { IsBackground = true, Name = "guard-pipe" };
        _writer.Start();
    }

    /// <summary>Starts this program as a guard.</summary>
    /// <param name="lockPath">See <see cref="GuardProcess.Lock"/>.</param>
    public static ProcessStartInfo OwnProgram(string lockPath)
    {
        var program = Environment.ProcessPath!;
        string[] arguments = Path.GetFileNameWithoutExtension(program) == "dotnet"
            ? [Path.Combine(AppContext.BaseDirectory, "pollux-host.dll"), "guard", "--lock", lockPath]
            : ["guard", "--lock", lockPath];
        return new ProcessStartInfo(program, arguments)
        {
            // The guard is small and has to stay so: no tiers, no concurrent collector.
            Environment = { ["DOTNET_TieredPGO"] = "0", ["DOTNET_gcConcurrent"] = "0", ["DOTNET_GCHeapHardLimit"] = "0x2000000" },
        };
    }

    public void Lease(GuardedDomain domain) => Say(domain.Domain, domain);

    public void Forget(string domain) => Say(domain, null);

    /// <summary>Closes the pipe: the guard kills what was not forgotten, and ends.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _stopping = true;
            Monitor.Pulse(_gate);
        }

        _writer.Join();
    }

    private void Say(string name, GuardedDomain? domain)
    {
        lock (_gate)
        {
            if (domain is { } known)
                _domains[name] = known;
            else
                _domains.Remove(name);
            _unsaid.Add(name);
            Monitor.Pulse(_gate);
        }
    }

    private void Run()
    {
        while (true)
        {
            try
            {
                var start = _start();
                start.RedirectStandardInput = true;
                using var process = Process.Start(start)!;
                process.EnableRaisingEvents = true;
                process.Exited += (_, _) =>
                {
                    lock (_gate)
                        Monitor.Pulse(_gate);
                };
                lock (_gate)
                    _unsaid.UnionWith(_domains.Keys);
                if (Feed(process))
                    return;
                HostLog.Error("guard", "the guard process ended; starting it anew");
            }
            catch (Exception e) when (e is Win32Exception or IOException or InvalidOperationException)
            {
                HostLog.Error("guard", "the guard process cannot be used; starting it anew", ("reason", e.Message));
            }

            lock (_gate)
            {
                if (_stopping)
                    return;
                Monitor.Wait(_gate, RestartPause);
            }
        }
    }

    /// <returns>True when this end is stopping, false when the guard has ended.</returns>
    private bool Feed(Process process)
    {
        while (true)
        {
            var lines = new List<string>();
            lock (_gate)
            {
                var due = false;
                while (_unsaid.Count == 0 && !_stopping && !process.HasExited && !due)
                    due = !Monitor.Wait(_gate, AliveEvery) && _domains.Count > 0;
                if (due)
                    lines.Add(GuardLines.Alive);
                foreach (var name in _unsaid)
                    lines.Add(_domains.TryGetValue(name, out var domain) ? GuardLines.Lease(domain) : GuardLines.Forget(name));
                _unsaid.Clear();
            }

            foreach (var line in lines)
                process.StandardInput.WriteLine(line);
            process.StandardInput.Flush();
            if (process.HasExited)
                return false;
            if (lines.Count > 0 || !_stopping)
                continue;
            process.StandardInput.Close();
            process.WaitForExit();
            return true;
        }
    }
}
