using System.Collections.Immutable;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>The newest events of one module on this host and the ends of its recent commands, for operators. Any thread.</summary>
internal sealed class ModuleHistory(string module)
{
    private const int CommandResultsMax = 8;

    /// <summary>Characters of one event's text.</summary>
    private const int TextMax = 400;

    private readonly Lock _gate = new();
    private readonly Queue<ModuleEvent> _events = new();
    private readonly Queue<CommandResult> _results = new();

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
        HostLog.Info("module", kind, ("module", module), ("text", text), ("trace", traceId ?? "-"));
        lock (_gate)
        {
            if (_events.Count == ObservedModule.EventsMax)
                _events.Dequeue();
            _events.Enqueue(new ModuleEvent(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), kind, text, traceId));
        }
    }

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
