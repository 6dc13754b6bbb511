using System.Diagnostics;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>A piece of work that an activation runs as one of its turns.</summary>
internal abstract class Turn
{
    /// <summary>Whether it may run while any other turn awaits.</summary>
    public abstract bool Interleaves { get; }

    /// <summary>Whether it may run side by side with other read-only turns.</summary>
    public virtual bool IsReadOnly => false;

    /// <summary>The call chain that it belongs to; empty for none.</summary>
    public virtual Guid ReentrancyId => Guid.Empty;

    /// <summary>Whether it counts as use of the activation.</summary>
    public virtual bool KeepsAlive => true;

    /// <summary>Whether it may ever pass a turn that awaits: decides how far the mailbox must be searched.</summary>
    public bool MayPass => Interleaves || IsReadOnly || ReentrancyId != Guid.Empty;

    /// <summary>What it is and who asked, for messages to people.</summary>
    public abstract string Description { get; }

    /// <summary>Runs it on the grain object. Failures end in the caller's answer, never here.</summary>
    public abstract Task RunAsync(Activation activation, object instance);

    /// <summary>Ends it without running it.</summary>
    public abstract void Reject(Exception reason);
}

/// <summary>A timer tick.</summary>
internal sealed class TimerTurn(GrainTimer timer) : Turn
{
    public override bool Interleaves => timer.Interleave;

    public override bool KeepsAlive => timer.KeepAlive;

    public override string Description => "a timer tick";

    public override Task RunAsync(Activation activation, object instance) => timer.TickAsync();

    public override void Reject(Exception reason)
    {
        // The activation that owned the timer is gone, and the timer with it.
    }
}

/// <summary>
/// A call. It completes once: by the answer, by a rejection or by its timeout, whichever is first. After a timeout the
/// outcome is unknown: a call that still waits is dropped when its turn comes, one that runs goes on.
/// </summary>
internal sealed class CallTurn : Turn
{
    private readonly TaskCompletionSource<object?> _response = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly GrainMethod _method;
    private readonly object?[] _arguments;
    private readonly ICallTarget _target;
    private readonly Activation? _sender;
    private readonly IReadOnlyDictionary<string, object>? _context;
    private readonly Activity? _activity;
    private readonly TimeSpan _timeout;
    private readonly ITimer? _timer;

    public CallTurn(GrainMethod method, object?[] arguments, ICallTarget target)
    {
        _method = method;
        _arguments = arguments;
        _target = target;
        _sender = RuntimeContext.Current as Activation;
        _context = RequestContext.Snapshot;
        _activity = Activity.Current;
        ReentrancyId = RequestContext.ReentrancyId;
        _sender?.AddOutgoing(this);
        if (method.IsOneWay)
            return;
        _timeout = method.ResponseTimeout ?? target.Runtime.Options.ResponseTimeout;
        using (CleanFlow.Enter())
            _timer = target.Runtime.Time.CreateTimer(static call => ((CallTurn)call!).OnTimeout(), this, _timeout, Timeout.InfiniteTimeSpan);
    }

    public Task<object?> Response => _response.Task;

    /// <summary>Whether the call was made by a grain.</summary>
    public bool ComesFromGrain => _sender is not null;

    public override bool Interleaves => _method.IsAlwaysInterleave;

    public override bool IsReadOnly => _method.IsReadOnly;

    public override Guid ReentrancyId { get; }

    public override string Description => $"{_method.Name} on {_target.Name} from {_sender?.GrainId.ToString() ?? "outside"}";

    public override async Task RunAsync(Activation activation, object instance)
    {
        var failure = await RunAsync(instance);
        if (failure is Orleans.Storage.InconsistentStateException { IsSourceActivation: true } stale)
        {
            stale.IsSourceActivation = false;
            activation.Deactivate(new(Orleans.DeactivationReasonCode.ApplicationError, stale, "The stored state is not the one that this activation has."));
        }
    }

    /// <summary>Runs the call on <paramref name="instance"/>, answers the caller and returns the failure, if any.</summary>
    public async Task<Exception?> RunAsync(object instance)
    {
        if (_response.Task.IsCompleted)
            return null;
        RequestContext.Snapshot = _context;
        Activity.Current = _activity;
        try
        {
            Complete(await _method.InvokeAsync(instance, _arguments));
            return null;
        }
        catch (Exception exception)
        {
            // Not swallowed: the caller's await throws it. A one-way call has no other witness than the log.
            if (_method.IsOneWay)
                _target.Runtime.LogOneWayFailure(exception, Description);
            Reject(CallFailure.ForCaller(exception, _target.Runtime, Description));
            return exception;
        }
    }

    public override void Reject(Exception reason)
    {
        if (_response.TrySetException(reason))
            End();
        if (_method.IsOneWay)
            _ = _response.Task.Exception;
    }

    private void Complete(object? result)
    {
        if (_response.TrySetResult(result))
            End();
    }

    private void OnTimeout()
    {
        var text = $"{_sender?.GrainId.ToString() ?? "A caller outside of grains"} called {_method.Name} on {_target.Name} and had no answer "
            + $"within {_timeout}. The outcome is unknown. {_target.Describe()}";
        if (_response.TrySetException(new TimeoutException(text)))
            End();
    }

    private void End()
    {
        _timer?.Dispose();
        _sender?.RemoveOutgoing(this);
    }
}
