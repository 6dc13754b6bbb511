using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Fencing;
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

/// <summary>The data plane's end of the <see cref="GuardSocket"/>. What waits to be said is one line per domain and mount, so a guard that
/// does not read costs nothing here; the writing thread alone says it.</summary>
public sealed class GuardClient : IGuard, IMountHolder, IDisposable
{
    private static readonly TimeSpan RestartPause = TimeSpan.FromMilliseconds(200);

    /// <summary>How long a guard may take until it listens, and the interval of tries.</summary>
    private static readonly TimeSpan ListenMax = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan ListenRetry = TimeSpan.FromMilliseconds(10);

    /// <summary>Interval of signs of life: a quarter of the silence after which the guard takes this process for a dead one.</summary>
    private static readonly TimeSpan AliveEvery = TimeSpan.FromMilliseconds(GuardProcess.SilenceMaxMs / 4);

    private readonly Func<ProcessStartInfo> _start;
    private readonly string _socketPath;
    private readonly object _gate = new();
    private readonly Dictionary<string, GuardedDomain> _domains = [];
    private readonly Dictionary<string, HeldMount> _mounts = [];
    private readonly HashSet<string> _unsaidDomains = [];
    private readonly HashSet<string> _unsaidMounts = [];
    private readonly Thread _writer;
    private Socket? _connected;
    private string? _fence;
    private bool _fenceUnsaid;
    private bool _broken;
    private bool _stopping;
    private bool _leaving;

    /// <param name="start">How to start a guard that listens on the path.</param>
    /// <param name="earlier">A guard that runs already.</param>
    public GuardClient(Func<ProcessStartInfo> start, string socketPath, EarlierGuard? earlier = null)
    {
        _start = start;
        _socketPath = socketPath;
        _connected = earlier?.Socket;
        _writer = new Thread(Run) { IsBackground = true, Name = "guard-socket" };
        _writer.Start();
    }

    /// <summary>Starts this program as a guard.</summary>
    /// <param name="lockPath">See <see cref="GuardProcess.Lock"/>.</param>
    /// <param name="watchdog">Null: none. With where its <see cref="WatchdogStatus"/> goes, and how long a killed VM may take to go.</param>
    public static ProcessStartInfo OwnProgram(
        string lockPath, string socketPath, (WatchdogOptions Options, string StatusPath, int StopSeconds)? watchdog = null)
    {
        var program = Environment.ProcessPath!;
        string[] arguments = ["guard", "--lock", lockPath, "--socket", socketPath];
        if (watchdog is var (options, statusPath, stopSeconds))
        {
            arguments =
            [
                .. arguments, "--watchdog", options.Device, "--watchdog-seconds", options.TimeoutSeconds.ToString(CultureInfo.InvariantCulture),
                "--watchdog-status", statusPath, "--stop-seconds", stopSeconds.ToString(CultureInfo.InvariantCulture),
            ];
        }

        if (Path.GetFileNameWithoutExtension(program) == "dotnet")
            arguments = [Path.Combine(AppContext.BaseDirectory, "pollux-host.dll"), .. arguments];
        return new ProcessStartInfo(program, arguments)
        {
            // The guard is small and has to stay so: no tiers, no concurrent collector.
            Environment = { ["DOTNET_TieredPGO"] = "0", ["DOTNET_gcConcurrent"] = "0", ["DOTNET_GCHeapHardLimit"] = "0x2000000" },
        };
    }

    public void Lease(GuardedDomain domain) => Say(_domains, _unsaidDomains, domain.Domain, domain);

    public void Forget(string domain) => Unsay(_domains, _unsaidDomains, domain);

    public void Hold(HeldMount mount) => Say(_mounts, _unsaidMounts, mount.Key, mount);

    public void Release(string key) => Unsay(_mounts, _unsaidMounts, key);

    /// <summary>Has the guard no longer feed its watchdog, so that this host is reset; null: feed it again. Not for a guard without one.</summary>
    public void Fence(string? reason)
    {
        lock (_gate)
        {
            (_fence, _fenceUnsaid) = (reason, true);
            Monitor.Pulse(_gate);
        }
    }

    /// <summary>The end for good: the guard kills what was not forgotten, closes the mounts, and ends.</summary>
    public void Dispose() => End(leaving: true);

    /// <summary>The end for a restart: the guard keeps everything for the next process. Nothing may be said after this.</summary>
    public void HandOver() => End(leaving: false);

    private void End(bool leaving)
    {
        lock (_gate)
        {
            if (_stopping)
                return;
            (_stopping, _leaving) = (true, leaving);
            Monitor.Pulse(_gate);
        }

        _writer.Join();
    }

    private void Say<T>(Dictionary<string, T> known, HashSet<string> unsaid, string name, T word)
    {
        lock (_gate)
        {
            known[name] = word;
            unsaid.Add(name);
            Monitor.Pulse(_gate);
        }
    }

    private void Unsay<T>(Dictionary<string, T> known, HashSet<string> unsaid, string name)
    {
        lock (_gate)
        {
            known.Remove(name);
            unsaid.Add(name);
            Monitor.Pulse(_gate);
        }
    }

    private void Run()
    {
        while (true)
        {
            try
            {
                using var socket = _connected ?? Connect();
                _connected = null;
                lock (_gate)
                {
                    _broken = false;
                    _unsaidDomains.UnionWith(_domains.Keys);
                    _unsaidMounts.UnionWith(_mounts.Keys);
                    _fenceUnsaid = _fence is not null;
                }

                var watch = new Thread(() => Watch(socket)) { IsBackground = true, Name = "guard-watch" };
                watch.Start();
                if (Feed(socket))
                {
                    watch.Join();
                    return;
                }

                HostLog.Error("guard", "the guard process ended; starting it anew");
            }
            catch (Exception e) when (e is Win32Exception or IOException or InvalidOperationException or SocketException)
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

    /// <exception cref="IOException">It does not listen in time.</exception>
    private Socket Connect()
    {
        using var process = Process.Start(_start())!;
        var begun = Stopwatch.GetTimestamp();
        while (true)
        {
            if (GuardSocket.TryConnect(_socketPath) is { } socket)
                return socket;
            if (process.HasExited || Stopwatch.GetElapsedTime(begun) > ListenMax)
                throw new IOException(process.HasExited ? "it ended at once" : $"it does not listen on {_socketPath}");
            Thread.Sleep(ListenRetry);
        }
    }

    /// <summary>The guard sends nothing by itself: what is received is its end.</summary>
    private void Watch(Socket socket)
    {
        try
        {
            GuardSocket.Receive(socket, out _);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            HostLog.Warn("guard", "the connection with the guard is broken", ("reason", e.Message));
        }

        lock (_gate)
        {
            _broken = true;
            Monitor.Pulse(_gate);
        }
    }

    /// <returns>True when this end is stopping, false when the guard has ended.</returns>
    private bool Feed(Socket socket)
    {
        while (true)
        {
            var words = new List<(string Line, IReadOnlyList<SafeFileHandle> Descriptors)>();
            bool stopping;
            lock (_gate)
            {
                var due = false;
                while (_unsaidDomains.Count == 0 && _unsaidMounts.Count == 0 && !_fenceUnsaid && !_stopping && !_broken && !due)
                    due = !Monitor.Wait(_gate, AliveEvery) && _domains.Count > 0;
                if (_broken)
                    return _stopping;
                if (due)
                    words.Add((GuardLines.Alive, []));
                foreach (var name in _unsaidDomains)
                    words.Add((_domains.TryGetValue(name, out var domain) ? GuardLines.Lease(domain) : GuardLines.Forget(name), []));
                foreach (var name in _unsaidMounts)
                    words.Add(_mounts.TryGetValue(name, out var mount) ? (GuardLines.Hold(mount), mount.Descriptors) : (GuardLines.Release(name), []));
                if (_fenceUnsaid)
                    words.Add((GuardLines.Fence + _fence, []));
                _fenceUnsaid = false;
                _unsaidDomains.Clear();
                _unsaidMounts.Clear();
                stopping = _stopping;
            }

            foreach (var (line, descriptors) in words)
                Send(socket, line, descriptors);
            if (!stopping)
                continue;
            if (_leaving)
                GuardSocket.Send(socket, GuardLines.Leave, []);
            else
                socket.Shutdown(SocketShutdown.Both);
            return true;
        }
    }

    private static void Send(Socket socket, string line, IReadOnlyList<SafeFileHandle> descriptors)
    {
        try
        {
            GuardSocket.Send(socket, line, descriptors);
        }
        catch (ObjectDisposedException) when (descriptors.Count > 0)
        {
            // The mount has ended since: its release is the next word on it.
        }
    }
}
