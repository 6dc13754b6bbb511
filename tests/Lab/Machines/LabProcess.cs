using System.Diagnostics;

namespace Pollux.Lab.Machines;

/// <summary>
/// A long-running program inside a host. Its output goes to a file (it outlives this process when a demo is left running)
/// that is followed line by line. It runs in its own session, so that Ctrl-C at the lab does not reach it.
/// </summary>
public sealed class LabProcess : IAsyncDisposable
{
    /// <summary>Lines kept for messages and waits; older ones stay in the file.</summary>
    private const int LinesKeptMax = 20_000;

    private readonly Process _outer;
    private readonly LineTail _tail;
    private readonly Lock _lock = new();
    private readonly Queue<TimedLine> _lines = new();

    private LabProcess(string name, string logPath, Process outer)
    {
        Name = name;
        LogPath = logPath;
        _outer = outer;
        _tail = new LineTail(logPath, Keep);
    }

    public string Name { get; }

    public string LogPath { get; }

    /// <summary>Outside the host's process namespace; null until started and after the end.</summary>
    public int? ProcessId => ProcFs.ChildrenOf(_outer.Id) is [var child, ..] ? child : null;

    public bool HasExited => _outer.HasExited;

    public IReadOnlyList<TimedLine> Lines
    {
        get
        {
            lock (_lock)
                return [.. _lines];
        }
    }

    /// <summary>Starts a program in a host's namespaces; the log is appended to.</summary>
    internal static LabProcess Start(string name, int initProcessId, string logPath, IReadOnlyList<string> command,
        IReadOnlyDictionary<string, string> environment)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(logPath)!);
        // A new file each time: a tail must not take an earlier process's lines for its own.
        if (File.Exists(logPath))
            File.Move(logPath, $"{logPath}.{DateTimeOffset.UtcNow:yyyyMMddTHHmmssfff}");
        File.Create(logPath).Dispose();
        var start = new ProcessStartInfo("setsid");
        foreach (var argument in (string[])["bash", "-c", "exec </dev/null >>\"$0\" 2>&1; exec \"$@\"", logPath,
                     "nsenter", "-t", $"{initProcessId}", "-n", "-m", "-u", "-i", "-p", "--", .. command])
            start.ArgumentList.Add(argument);
        foreach (var (key, value) in environment)
            start.Environment[key] = value;
        return new LabProcess(name, logPath, Process.Start(start) ?? throw new LabException($"{name} did not start."));
    }

    /// <summary>Waits for a line that contains a text; earlier lines count.</summary>
    /// <exception cref="LabException">The deadline passed, or the process ended first; the message has its last lines.</exception>
    public Task<TimedLine> WaitForLineAsync(string text, TimeSpan deadline) => WaitForLineAsync(text, deadline, DateTimeOffset.MinValue);

    /// <summary>The same for lines seen at or after a moment.</summary>
    public async Task<TimedLine> WaitForLineAsync(string text, TimeSpan deadline, DateTimeOffset since)
    {
        var watch = Stopwatch.StartNew();
        for (; ; )
        {
            var ended = HasExited;
            foreach (var line in Lines)
                if (line.At >= since && line.Text.Contains(text, StringComparison.Ordinal))
                    return line;
            if (ended)
                throw new LabException($"{Name} ended with {_outer.ExitCode} before it said '{text}'. Its last words:\n{LastWords()}");
            if (watch.Elapsed > deadline)
                throw new LabException($"{Name} did not say '{text}' within {deadline.TotalSeconds:0.#} s. Its last words:\n{LastWords()}");
            await Task.Delay(LineTail.PollMs);
        }
    }

    /// <summary>SIGKILL, at once, and waits until the process is gone.</summary>
    public async Task KillAsync()
    {
        if (ProcessId is { } id)
            Signals.Send(id, Signals.Kill);
        await WaitForEndAsync(TimeSpan.FromSeconds(10));
    }

    /// <summary>SIGSTOP: the process is there and does nothing, as under a hypervisor that stalls; undone by <see cref="Thaw"/>.
    /// nsenter(1) stops itself when its child has stopped; waited for, so that <see cref="Thaw"/> finds it so.</summary>
    public async Task FreezeAsync()
    {
        Signals.Send(ProcessId ?? throw new LabException($"{Name} has ended."), Signals.Stop);
        await Eventually.TrueAsync($"{Name} is frozen", TimeSpan.FromSeconds(5), () => ProcFs.State(_outer.Id) is 'T');
    }

    public void Thaw()
    {
        Signals.Send(ProcessId ?? throw new LabException($"{Name} has ended."), Signals.Continue);
        Signals.Send(_outer.Id, Signals.Continue);
    }

    /// <summary>Ends the nsenter(1) that waits for the process outside the host. A process namespace does not end before everything in it has
    /// been reaped, and one that is stopped, with a frozen child, reaps nothing.</summary>
    internal void LetGo()
    {
        if (!HasExited)
            Signals.Send(_outer.Id, Signals.Kill);
    }

    /// <summary>SIGTERM, as a service manager stops it.</summary>
    public void Terminate() => Signals.Send(ProcessId ?? throw new LabException($"{Name} has ended."), Signals.Terminate);

    public async Task WaitForEndAsync(TimeSpan deadline)
    {
        using var timer = new CancellationTokenSource(deadline);
        try
        {
            await _outer.WaitForExitAsync(timer.Token);
        }
        catch (OperationCanceledException)
        {
            throw new LabException($"{Name} did not end within {deadline.TotalSeconds:0.#} s.");
        }
    }

    public string LastWords(int count = 25) => string.Join('\n', Lines.TakeLast(count).Select(line => "    " + line.Text));

    /// <summary>Stops following; the process itself goes on.</summary>
    public async ValueTask DisposeAsync()
    {
        await _tail.DisposeAsync();
        _outer.Dispose();
    }

    private void Keep(TimedLine line)
    {
        lock (_lock)
        {
            _lines.Enqueue(line);
            if (_lines.Count > LinesKeptMax)
                _lines.Dequeue();
        }
    }
}
