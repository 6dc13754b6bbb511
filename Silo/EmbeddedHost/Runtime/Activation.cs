// One activation of a grain.
//
//   Activating ──state read, OnActivateAsync──► Valid ──Deactivate──► Deactivating ──last turn, OnDeactivateAsync──► Gone
//        └──────────────── failure: what waits is rejected ────────────────────────────────────────────────────────────┘
//
// Turns wait in one bounded mailbox and start in order, except that a turn that may interleave passes those that may
// not. A turn is running from its start to the end of its last await; its synchronous stretches run on the scheduler,
// one at a time. When a deactivated activation is gone, the turns that still wait go to the next one.
//
// _gate owns everything below it; it is never held while code of the grain runs.

using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

internal sealed class Activation : IGrainContext
{
    private readonly Lock _gate = new();
    private readonly LinkedList<Turn> _waiting = new();
    private readonly List<Turn> _running = [];
    private readonly HashSet<CallTurn> _outgoing = [];
    private readonly Dictionary<Guid, int> _openSections = [];
    private readonly HashSet<GrainTimer> _timers = [];
    private readonly List<IStateSlot> _states = [];
    private readonly ActivationScheduler _scheduler;
    private readonly TaskCompletionSource _deactivated = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly AsyncServiceScope _scope;
    private Stage _stage = Stage.Activating;
    private bool _started;
    private int _waitingThatMayPass;
    private Turn? _blocking;
    private DeactivationReason? _deactivationReason;
    private long _lastUse;
    private TimeSpan _keepAtLeast;

    public Activation(EmbeddedRuntime runtime, GrainClass grainClass, GrainId grainId)
    {
        Runtime = runtime;
        Class = grainClass;
        GrainId = grainId;
        _scheduler = new ActivationScheduler(this);
        _scope = runtime.Services.CreateAsyncScope();
        _lastUse = runtime.Time.GetTimestamp();
    }

    private enum Stage
    {
        Activating,
        Valid,
        Deactivating,
        Gone,
    }

    public EmbeddedRuntime Runtime { get; }

    public GrainClass Class { get; }

    public GrainId GrainId { get; }

    public object? GrainInstance { get; private set; }

    public IServiceProvider ActivationServices => _scope.ServiceProvider;

    public Task Deactivated => _deactivated.Task;

    /// <summary>The activation of a grain object.</summary>
    public static Activation Of(IGrainBase grain) => grain.GrainContext as Activation
        ?? throw new InvalidOperationException($"{grain.GetType()} was not made by the host.");

    public bool Equals(IGrainContext? other) => ReferenceEquals(this, other);

    /// <summary>Takes a turn into the mailbox, or rejects it if that is full. False once the activation is gone.</summary>
    public bool TryReceive(Turn turn)
    {
        bool full;
        lock (_gate)
        {
            if (_stage == Stage.Gone)
                return false;
            full = _waiting.Count >= Runtime.Options.MailboxMax;
            if (!full)
            {
                _waiting.AddLast(turn);
                _waitingThatMayPass += turn.MayPass ? 1 : 0;
                if (turn.KeepsAlive)
                    _lastUse = Runtime.Time.GetTimestamp();
                if (!_started)
                {
                    _started = true;
                    _scheduler.Run(static self => ((Activation)self).ActivateAsync(), this);
                }

                StartTurns();
            }
        }

        if (full)
            turn.Reject(new LimitExceededException($"mailbox of {GrainId}", Runtime.Options.MailboxMax, Runtime.Options.MailboxMax, Describe()));
        return true;
    }

    /// <summary>Takes a timer tick. False if the activation is not usable any more.</summary>
    public bool TryReceiveTick(TimerTurn tick)
    {
        lock (_gate)
        {
            if (_stage is Stage.Deactivating or Stage.Gone)
                return false;
        }

        return TryReceive(tick);
    }

    public void Deactivate(DeactivationReason deactivationReason, CancellationToken cancellationToken = default)
    {
        lock (_gate)
        {
            if (_stage is Stage.Deactivating or Stage.Gone || _deactivationReason is not null)
                return;
            _deactivationReason = deactivationReason;
            if (_stage == Stage.Valid)
                BeginDeactivation();
        }
    }

    public void DelayDeactivation(TimeSpan timeSpan)
    {
        lock (_gate)
        {
            _lastUse = Runtime.Time.GetTimestamp();
            _keepAtLeast = timeSpan;
        }
    }

    /// <summary>Deactivates if there was no use for <paramref name="age"/>.</summary>
    public void CollectIfIdle(TimeSpan age)
    {
        lock (_gate)
        {
            var limit = age > _keepAtLeast ? age : _keepAtLeast;
            if (_stage != Stage.Valid || _running.Count > 0 || _waiting.Count > 0 || Runtime.Time.GetElapsedTime(_lastUse) < limit)
                return;
        }

        Deactivate(new(DeactivationReasonCode.ActivationIdle, $"Not used for {age}."));
    }

    public IGrainTimer AddTimer(Func<CancellationToken, Task> callback, GrainTimerCreationOptions options)
    {
        if (!ReferenceEquals(RuntimeContext.Current, this))
            throw new InvalidOperationException($"A timer of {GrainId} must be registered in one of its turns, not after Task.Run.");
        lock (_gate)
        {
            if (_timers.Count >= Runtime.Options.TimersPerActivationMax)
                throw new LimitExceededException($"timers of {GrainId}", _timers.Count, Runtime.Options.TimersPerActivationMax, "");
            var timer = new GrainTimer(this, callback, options);
            _timers.Add(timer);
            return timer;
        }
    }

    public void RemoveTimer(GrainTimer timer)
    {
        lock (_gate)
            _timers.Remove(timer);
    }

    public void AddState(IStateSlot state) => _states.Add(state);

    public void AddOutgoing(CallTurn call)
    {
        lock (_gate)
            _outgoing.Add(call);
    }

    public void RemoveOutgoing(CallTurn call)
    {
        lock (_gate)
            _outgoing.Remove(call);
    }

    public void EnterReentrantSection(Guid id)
    {
        lock (_gate)
        {
            _openSections[id] = _openSections.GetValueOrDefault(id) + 1;
            StartTurns();
        }
    }

    public void LeaveReentrantSection(Guid id)
    {
        lock (_gate)
        {
            if (_openSections.TryGetValue(id, out var count) && count > 1)
                _openSections[id] = count - 1;
            else
                _openSections.Remove(id);
        }
    }

    /// <summary>What the activation is doing, for a caller that has waited too long.</summary>
    public string Describe()
    {
        lock (_gate)
        {
            var running = _running.Count == 0 ? "nothing" : string.Join("; ", _running.Take(3).Select(turn => turn.Description));
            var awaits = _outgoing.Count == 0 ? "no other grain" : string.Join("; ", _outgoing.Take(3).Select(call => call.Description));
            return $"{GrainId} is {_stage}, with {_waiting.Count} turns waiting; running: {running}; awaiting: {awaits}.";
        }
    }

    private async Task ActivateAsync()
    {
        try
        {
            GrainInstance = Class.Create(this);
            foreach (var state in _states)
                await state.ReadStateAsync();
            using var deadline = new CancellationTokenSource(Runtime.Options.ActivationTimeout, Runtime.Time);
            await ((IGrainBase)GrainInstance).OnActivateAsync(deadline.Token);
        }
        catch (Exception exception)
        {
            // Not swallowed: every waiting caller gets it.
            Runtime.Logger.LogError(exception, "{Grain} could not be activated.", GrainId);
            await FinishAsync(exception);
            return;
        }

        lock (_gate)
        {
            _stage = Stage.Valid;
            StartTurns();
            if (_deactivationReason is not null && _running.Count == 0)
                BeginDeactivation();
        }
    }

    private async Task RunTurnAsync(Turn turn)
    {
        try
        {
            await turn.RunAsync(this, GrainInstance!);
        }
        finally
        {
            OnTurnEnded(turn);
        }
    }

    private void OnTurnEnded(Turn turn)
    {
        lock (_gate)
        {
            _running.Remove(turn);
            if (ReferenceEquals(_blocking, turn))
                _blocking = _running.Find(other => !other.Interleaves);
            if (turn.KeepsAlive)
                _lastUse = Runtime.Time.GetTimestamp();
            if (_deactivationReason is not null && _running.Count == 0)
                BeginDeactivation();
            else
                StartTurns();
        }
    }

    // Holds _gate.
    private void BeginDeactivation()
    {
        _stage = Stage.Deactivating;
        if (_running.Count == 0)
            _scheduler.Run(static self => ((Activation)self).DeactivateAsync(), this);
    }

    private async Task DeactivateAsync()
    {
        GrainTimer[] timers;
        lock (_gate)
            timers = [.. _timers];
        foreach (var timer in timers)
            timer.Dispose();
        try
        {
            using var deadline = new CancellationTokenSource(Runtime.Options.ActivationTimeout, Runtime.Time);
            await ((IGrainBase)GrainInstance!).OnDeactivateAsync(_deactivationReason!.Value, deadline.Token)
                .WaitAsync(Runtime.Options.ActivationTimeout, Runtime.Time, CancellationToken.None);
        }
        catch (Exception exception)
        {
            // The activation ends all the same: nothing may depend on OnDeactivateAsync.
            Runtime.Logger.LogError(exception, "OnDeactivateAsync of {Grain} failed.", GrainId);
        }

        await FinishAsync(null);
    }

    private async Task FinishAsync(Exception? activationFailure)
    {
        Turn[] left;
        GrainTimer[] timers;
        lock (_gate)
        {
            _stage = Stage.Gone;
            left = [.. _waiting];
            timers = [.. _timers];
            _waiting.Clear();
        }

        foreach (var timer in timers)
            timer.Dispose();
        Runtime.Catalog.Remove(this);
        foreach (var turn in left)
        {
            if (activationFailure is not null)
                turn.Reject(CallFailure.ForCaller(activationFailure, Runtime, turn.Description));
            else if (turn is CallTurn call)
                Runtime.Catalog.Deliver(GrainId, call);
        }

        try
        {
            switch (GrainInstance)
            {
                case IAsyncDisposable disposable:
                    await disposable.DisposeAsync();
                    break;
                case IDisposable disposable:
                    disposable.Dispose();
                    break;
            }

            await _scope.DisposeAsync();
        }
        catch (Exception exception)
        {
            Runtime.Logger.LogError(exception, "Disposing {Grain} failed.", GrainId);
        }
        finally
        {
            _deactivated.TrySetResult();
        }
    }

    // Holds _gate. Starts every turn that may start, in order.
    private void StartTurns()
    {
        for (var node = _waiting.First; node is not null;)
        {
            var next = node.Next;
            var turn = node.Value;
            if (MayStart(turn))
            {
                _waiting.Remove(node);
                _waitingThatMayPass -= turn.MayPass ? 1 : 0;
                _running.Add(turn);
                if (!turn.Interleaves)
                    _blocking ??= turn;
                _scheduler.Run(static state => Start(state), (this, turn));
            }
            else if (_waitingThatMayPass == 0)
            {
                return;
            }

            node = next;
        }
    }

    private static Task Start(object state)
    {
        var (self, turn) = ((Activation, Turn))state;
        return self.RunTurnAsync(turn);
    }

    // Holds _gate.
    private bool MayStart(Turn turn)
    {
        if (_stage == Stage.Deactivating)
            return _running.Count > 0 && IsOfOpenSection(turn);
        if (_stage != Stage.Valid)
            return false;
        return _blocking is null
            || Class.IsReentrant
            || turn.Interleaves
            || (turn.IsReadOnly && _blocking.IsReadOnly)
            || IsOfOpenSection(turn);
    }

    private bool IsOfOpenSection(Turn turn) => turn.ReentrancyId != Guid.Empty && _openSections.ContainsKey(turn.ReentrancyId);
}
