using System.Collections.Immutable;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>The newest events of one module on this host, those before the process started among them, and the ends of its recent commands, for
/// operators. Any thread.</summary>
internal sealed class ModuleHistory : IAsyncDisposable
{
    private const int CommandResultsMax = 8;

    /// <summary>Characters of one event's text.</summary>
    private const int TextMax = 400;

    private readonly Lock _gate = new();
    private readonly Queue<ModuleEvent> _events = new();
    private readonly Queue<CommandResult> _results = new();
    private readonly string _module;
    private readonly IHistoryStore? _store;

    /// <param name="store">Null: events end with the process.</param>
    public ModuleHistory(string module, IHistoryStore? store)
    {
        _module = module;
        _store = store;
        foreach (var happened in (store?.Earlier ?? []).TakeLast(ObservedModule.EventsMax))
            _events.Enqueue(happened);
    }

    public ImmutableArray<ModuleEvent> Events
    {
        get
        {
            lock (_gate)
                return [.. _events];
        }
    }

    public ImmutableArray<CommandResult> Results
    {
        get
        {
            lock (_gate)
                return [.. _results];
        }
    }

    /// <param name="kind">Stable dotted name.</param>
    public void Add(string kind, string text, string? traceId = null)
    {
        if (text.Length > TextMax)
            text = string.Concat(text.AsSpan(0, TextMax - 1), "…");
        HostLog.Info("module", kind, ("module", _module), ("text", text), ("trace", traceId ?? "-"));
        lock (_gate)
        {
            if (_events.Count == ObservedModule.EventsMax)
                _events.Dequeue();
            var happened = new ModuleEvent(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), kind, text, traceId);
            _events.Enqueue(happened);
            _store?.Add(happened);
        }
    }

    public ValueTask DisposeAsync() => _store?.DisposeAsync() ?? ValueTask.CompletedTask;

    public void Ended(Guid operationId, bool succeeded, string reason)
    {
        lock (_gate)
        {
            if (_results.Any(result => result.OperationId == operationId))
                return;
            if (_results.Count == CommandResultsMax)
                _results.Dequeue();
            _results.Enqueue(new CommandResult(operationId, succeeded, reason));
        }
    }
}
