namespace Pollux.DataPlane.Modules;

/// <summary>The order in which a host starts the VMs of its modules: by priority, and only some at a time, so that after a loss of power, or when
/// the peer has died with all its modules, the first ones are up before the last ones take disk and processors.</summary>
/// <remarks>
/// <code>
/// coming ──ask──► waiting ──place free, nothing earlier coming──► starting ──ended──► gone
///                                                                    └─ 30 s ──► slow: keeps no place any more
/// </code>
/// Thread-safe. A start is called under the gate's lock, so that none comes after <see cref="Ended"/>; it must not block. Time passes by
/// <see cref="Look"/>, which every module with something waiting calls with each step.
/// </remarks>
public sealed class StartGate(Func<long> nowMs)
{
    /// <summary>VM starts in flight. Each takes a processor and libvirt's lock of its domain for some tenths of a second; more at once start none sooner.</summary>
    public const int InFlightMax = 4;

    /// <summary>A start that has not ended after this keeps no place any more, milliseconds: longer than a loaded host takes for one (some seconds).</summary>
    public const long SlowAfterMs = 30_000;

    /// <summary>So long a module that is about to start holds back those of a later priority, milliseconds: opening a volume takes a second or two.</summary>
    public const long ComingMs = 5_000;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Coming> _coming = [];
    private readonly List<Waiter> _waiting = [];
    private readonly Dictionary<string, long> _starting = [];

    private readonly record struct Coming(int Priority, long SinceMs);

    private sealed record Waiter(string Module, int Priority, Action Start);

    /// <summary>Whether the module is about to start its VM: it asks for a takeover, or opens its volume.</summary>
    /// <param name="priority">1 first.</param>
    public void Announce(string module, int priority, bool coming)
    {
        lock (_lock)
        {
            if (!coming)
                _coming.Remove(module);
            else if (!_coming.TryGetValue(module, out var known) || known.Priority != priority)
                _coming[module] = new Coming(priority, nowMs());
            StartDue();
        }
    }

    /// <param name="start">Called once, now or later, unless <see cref="Ended"/> comes before.</param>
    public void Ask(string module, int priority, Action start)
    {
        lock (_lock)
        {
            Remove(module);
            _waiting.Add(new Waiter(module, priority, start));
            StartDue();
        }
    }

    /// <summary>The start has succeeded, failed, or is not wanted any more.</summary>
    public void Ended(string module)
    {
        lock (_lock)
        {
            Remove(module);
            StartDue();
        }
    }

    /// <summary>Starts what has become due by time.</summary>
    public void Look()
    {
        lock (_lock)
            StartDue();
    }

    /// <summary>Why the module's VM is not started yet; null if it does not wait.</summary>
    public string? Waiting(string module)
    {
        lock (_lock)
        {
            if (_waiting.FirstOrDefault(waiter => waiter.Module == module) is not { } waiter)
                return null;
            return Earlier(waiter) is { } earlier ? $"{earlier}, whose priority is earlier, to start its VM first"
                : $"its turn: the VMs of {string.Join(", ", _starting.Where(start => !IsSlow(start.Value)).Select(start => start.Key).Order(StringComparer.Ordinal))} are being started";
        }
    }

    /// <summary>Milliseconds since the module's VM was to start, if that takes longer than it should; null otherwise.</summary>
    public long? SlowMs(string module)
    {
        lock (_lock)
            return _starting.TryGetValue(module, out var sinceMs) && IsSlow(sinceMs) ? nowMs() - sinceMs : null;
    }

    private bool IsSlow(long sinceMs) => nowMs() - sinceMs >= SlowAfterMs;

    private void Remove(string module)
    {
        _waiting.RemoveAll(waiter => waiter.Module == module);
        _coming.Remove(module);
        _starting.Remove(module);
    }

    private void StartDue()
    {
        while (_starting.Values.Count(sinceMs => !IsSlow(sinceMs)) < InFlightMax && _waiting.MinBy(waiter => waiter.Priority) is { } first && Earlier(first) is null)
        {
            _waiting.Remove(first);
            _starting[first.Module] = nowMs();
            first.Start();
        }
    }

    /// <summary>A module of an earlier priority that is about to ask; null if there is none.</summary>
    private string? Earlier(Waiter waiter)
    {
        foreach (var (module, coming) in _coming)
        {
            if (coming.Priority < waiter.Priority && nowMs() - coming.SinceMs < ComingMs)
                return module;
        }

        return null;
    }
}
