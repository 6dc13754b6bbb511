using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>The activation whose turn runs on this thread; null outside of turns, so also after Task.Run.</summary>
internal static class RuntimeContext
{
    [ThreadStatic]
    private static IGrainContext? current;

    public static IGrainContext? Current => current;

    public static IGrainContext? Exchange(IGrainContext? context)
    {
        var previous = current;
        current = context;
        return previous;
    }
}

/// <summary>A stretch of code in which new tasks and timers do not inherit the caller's async-local values.</summary>
internal readonly struct CleanFlow : IDisposable
{
    private readonly AsyncFlowControl? _control;

    private CleanFlow(AsyncFlowControl? control) => _control = control;

    public static CleanFlow Enter() => new(ExecutionContext.IsFlowSuppressed() ? null : ExecutionContext.SuppressFlow());

    public void Dispose() => _control?.Undo();
}
