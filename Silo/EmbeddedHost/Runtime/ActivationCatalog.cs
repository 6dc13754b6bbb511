using System.Collections.Concurrent;
using Orleans;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>
/// The activations of this process: at most one per grain. It takes calls from outside between start and stop; while
/// it drains, calls made by grains still go through, so that <c>OnDeactivateAsync</c> can end its work.
/// </summary>
internal sealed class ActivationCatalog(EmbeddedRuntime runtime)
{
    private readonly ConcurrentDictionary<GrainId, Activation> _activations = new();
    private volatile Intake _intake = Intake.NotStarted;

    private enum Intake
    {
        NotStarted,
        Open,
        FromGrainsOnly,
        Closed,
    }

    public int Count => _activations.Count;

    public void Open() => _intake = Intake.Open;

    /// <summary>Gives a call to the grain's activation, and makes one if there is none.</summary>
    public void Deliver(GrainId grainId, CallTurn call)
    {
        if (_intake != Intake.Open && !(_intake == Intake.FromGrainsOnly && call.ComesFromGrain))
        {
            call.Reject(new SiloUnavailableException(
                _intake == Intake.NotStarted ? $"The host has not started: {call.Description}." : $"The host is stopping: {call.Description}."));
            return;
        }

        var grainClass = runtime.Classes.Find(grainId.Type);
        if (grainClass is null)
        {
            call.Reject(new ArgumentException($"There is no grain class for the grain type '{grainId.Type}'."));
            return;
        }

        if (!_activations.ContainsKey(grainId) && _activations.Count >= runtime.Options.ActivationsMax)
        {
            call.Reject(new LimitExceededException("activations", _activations.Count, runtime.Options.ActivationsMax, grainId));
            return;
        }

        while (true)
        {
            var activation = _activations.GetOrAdd(grainId, static (id, state) => new Activation(state.runtime, state.grainClass, id), (runtime, grainClass));
            if (activation.TryReceive(call))
                return;

            // Gone, and about to leave the table or gone from it already.
            Remove(activation);
        }
    }

    public void Remove(Activation activation) => _activations.TryRemove(KeyValuePair.Create(activation.GrainId, activation));

    public string Describe(GrainId grainId) =>
        _activations.TryGetValue(grainId, out var activation) ? activation.Describe() : $"{grainId} is not activated.";

    public void CollectIdle()
    {
        foreach (var activation in _activations.Values)
        {
            if (!activation.Class.KeepAlive)
                activation.CollectIfIdle(runtime.Options.CollectionAge);
        }
    }

    /// <summary>Deactivates everything. What has not ended at the deadline is abandoned, and named in the exception.</summary>
    public async Task DrainAsync(CancellationToken deadline)
    {
        _intake = Intake.FromGrainsOnly;
        try
        {
            while (!_activations.IsEmpty)
            {
                var round = _activations.Values.ToArray();
                foreach (var activation in round)
                    activation.Deactivate(new(DeactivationReasonCode.ShuttingDown, "The host is stopping."), CancellationToken.None);
                await Task.WhenAll(round.Select(activation => activation.Deactivated)).WaitAsync(deadline);
            }
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested)
        {
            throw new TimeoutException($"{_activations.Count} activations did not end in time: "
                + string.Join(" ", _activations.Values.Take(3).Select(activation => activation.Describe())));
        }
        finally
        {
            _intake = Intake.Closed;
        }
    }
}
