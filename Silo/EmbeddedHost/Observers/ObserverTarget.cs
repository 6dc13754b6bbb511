using System.Threading.Channels;
using Orleans;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// An application object that grains call through a reference: one call at a time, in order, outside of any activation.
/// The object is held weakly, as in Orleans; once it is gone, or the reference deleted, calls fail at once.
/// </summary>
internal sealed class ObserverTarget : ICallTarget
{
    private readonly WeakReference<IGrainObserver> _observer;
    private readonly Channel<CallTurn> _calls;
    private volatile string _running = "idle";

    public ObserverTarget(EmbeddedRuntime runtime, Type interfaceType, IGrainObserver observer)
    {
        Runtime = runtime;
        Name = $"observer {interfaceType.Name}";
        _observer = new WeakReference<IGrainObserver>(observer);
        _calls = Channel.CreateBounded<CallTurn>(new BoundedChannelOptions(runtime.Options.MailboxMax) { SingleReader = true });
        using (CleanFlow.Enter())
            _ = Task.Run(PumpAsync);
    }

    public EmbeddedRuntime Runtime { get; }

    public string Name { get; }

    public void Send(CallTurn call)
    {
        if (_calls.Writer.TryWrite(call))
            return;
        call.Reject(_calls.Reader.Completion.IsCompleted || !_observer.TryGetTarget(out _)
            ? Gone()
            : new LimitExceededException($"queue of {Name}", _calls.Reader.Count, Runtime.Options.MailboxMax, _running));
    }

    public string Describe() => $"It has {_calls.Reader.Count} calls waiting; running: {_running}.";

    /// <summary>Refuses further calls; those that wait still run.</summary>
    public void Delete() => _calls.Writer.TryComplete();

    private async Task PumpAsync()
    {
        await foreach (var call in _calls.Reader.ReadAllAsync())
        {
            _running = call.Description;
            await RunAsync(call);
            _running = "idle";
        }
    }

    // A method of its own, so that no local keeps the observer alive between calls.
    private Task RunAsync(CallTurn call)
    {
        if (_observer.TryGetTarget(out var observer))
            return call.RunAsync(observer);
        Delete();
        call.Reject(Gone());
        return Task.CompletedTask;
    }

    private ClientNotAvailableException Gone() => new($"{Name} is gone: its reference was deleted or its object collected.");
}
