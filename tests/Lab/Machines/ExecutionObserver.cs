using System.Collections.Concurrent;

namespace Pollux.Lab.Machines;

/// <summary>
/// Watches the real QEMU processes of all hosts and records every moment at which two hosts execute the same VM.
/// A paused VM does not execute, nor does one whose process is halted by a signal. Only when two hosts have a process is libvirt asked for its state: A, B, then A again,
/// so that "running, running, running" proves an overlap and no order of pausing and starting can fake one.
/// </summary>
public sealed class ExecutionObserver : IAsyncDisposable
{
    public const int PeriodMs = 50;

    private readonly IReadOnlyList<LabHost> _hosts;
    private readonly string _vm;
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentQueue<string> _violations = new();
    private readonly ConcurrentDictionary<string, DateTimeOffset> _firstSeen = new();
    private readonly ConcurrentDictionary<string, DateTimeOffset> _goneAt = new();
    private readonly Dictionary<string, int> _present = [];
    private readonly Task _loop;

    public ExecutionObserver(IReadOnlyList<LabHost> hosts, string vm)
    {
        _hosts = hosts;
        _vm = vm;
        _loop = Task.Run(WatchAsync);
    }

    /// <summary>Each with time and both hosts; must stay empty.</summary>
    public IReadOnlyList<string> Violations => [.. _violations];

    public long Samples { get; private set; }

    /// <summary>When the current process of the VM on a host was first seen; null when there is none.</summary>
    public DateTimeOffset? ProcessSeenAt(string host) =>
        _firstSeen.Where(pair => pair.Key.StartsWith(host + "/", StringComparison.Ordinal)).Select(pair => (DateTimeOffset?)pair.Value).Max();

    /// <summary>When the last process of the VM that ended on a host was first found gone.</summary>
    public DateTimeOffset? ProcessGoneAt(string host) => _goneAt.TryGetValue(host, out var at) ? at : null;

    /// <summary>The VM's process on a host, paused or not, in this moment.</summary>
    public static int? ProcessOf(LabHost host, string vm) => !host.IsOn
        ? null
        : ProcFs.ChildrenOf(host.InitProcessId)
            .Where(id => ProcFs.CommandName(id).StartsWith("qemu-system", StringComparison.Ordinal) && ProcFs.IsAlive(id)
                         && ProcFs.CommandLine(id).Contains($"guest={vm},", StringComparison.Ordinal))
            .Select(id => (int?)id).FirstOrDefault();

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        _stop.Dispose();
    }

    private async Task WatchAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            var present = new List<LabHost>();
            foreach (var host in _hosts)
            {
                var found = TryProcessOf(host);
                if (_present.TryGetValue(host.Name, out var former) && former != found)
                    _goneAt[host.Name] = DateTimeOffset.UtcNow;
                _present.Remove(host.Name);
                if (found is not { } id)
                    continue;
                _present[host.Name] = id;
                present.Add(host);
                _firstSeen.TryAdd($"{host.Name}/{id}", DateTimeOffset.UtcNow);
            }
            Samples++;
            if (present.Count > 1)
                await CompareAsync(present[0], present[1]);
            await Task.Delay(PeriodMs, CancellationToken.None);
        }
    }

    private async Task CompareAsync(LabHost one, LabHost other)
    {
        if (await ExecutesAsync(one) && await ExecutesAsync(other) && await ExecutesAsync(one))
            _violations.Enqueue($"{DateTimeOffset.UtcNow:HH:mm:ss.fff} {_vm} executes on {one.Name} and on {other.Name}");
    }

    /// <summary>Without libvirt's answer a process that exists counts as executing: the worse assumption.</summary>
    private async Task<bool> ExecutesAsync(LabHost host)
    {
        if (TryProcessOf(host) is not { } id || ProcFs.State(id) == 'T')
            return false;
        try
        {
            var state = await host.VirshAsync("domstate", _vm);
            return TryProcessOf(host) is not null && (!state.Succeeded || state.Output.Trim() is "running" or "idle");
        }
        catch (LabException)
        {
            return TryProcessOf(host) is not null;
        }
    }

    // A host may be switched off between the question whether it is on and the look.
    private int? TryProcessOf(LabHost host)
    {
        try
        {
            return ProcessOf(host, _vm);
        }
        catch (LabException)
        {
            return null;
        }
    }
}
