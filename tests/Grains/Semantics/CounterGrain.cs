using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;
using Orleans.Storage;
using Pollux.Silo.Storage;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

[GenerateSerializer, Alias("test.CounterState")]
public sealed class CounterState
{
    [Id(0)]
    public int Value { get; set; }

    [Id(1)]
    public DayOfWeek Day { get; set; }
}

[GenerateSerializer, Immutable, Alias("test.CounterView")]
public sealed record CounterView(
    [property: Id(0)] int Value,
    [property: Id(1)] bool RecordExists,
    [property: Id(2)] string? Etag,
    [property: Id(3)] Guid Activation);

[GrainInterfaceType("test.counter"), Alias("test.ICounterGrain")]
public interface ICounterGrain : IGrainWithStringKey
{
    [Alias("Add")]
    Task<CounterView> AddAsync(int amount);

    /// <summary>As Add, but catches the conflict and returns null.</summary>
    [Alias("TryAdd")]
    Task<CounterView?> TryAddAsync(int amount);

    [Alias("Clear")]
    Task<CounterView> ClearAsync();

    [ReadOnly, Alias("Look")]
    Task<CounterView> LookAsync();

    [Alias("Reread")]
    Task<CounterView> RereadAsync();

    [Alias("Deactivate")]
    Task DeactivateAsync();
}

[GrainType("test.counter")]
public sealed class CounterGrain(
    [PersistentState(CounterGrain.StateName, SiloStorage.Name)] IPersistentState<CounterState> state,
    Probe probe) : Grain, ICounterGrain
{
    public const string StateName = "test-counter";

    private readonly Guid _activation = Guid.NewGuid();

    private CounterView View => new(state.State.Value, state.RecordExists, state.Etag, _activation);

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        probe.Write($"{this.GetPrimaryKeyString()} {reason.ReasonCode}");
        probe.Signal($"{this.GetPrimaryKeyString()} deactivated");
        return Task.CompletedTask;
    }

    public async Task<CounterView> AddAsync(int amount)
    {
        state.State.Value += amount;
        state.State.Day = DayOfWeek.Sunday;
        await state.WriteStateAsync();
        return View;
    }

    public async Task<CounterView?> TryAddAsync(int amount)
    {
        try
        {
            return await AddAsync(amount);
        }
        catch (InconsistentStateException)
        {
            return null;
        }
    }

    public async Task<CounterView> ClearAsync()
    {
        await state.ClearStateAsync();
        return View;
    }

    public Task<CounterView> LookAsync() => Task.FromResult(View);

    public async Task<CounterView> RereadAsync()
    {
        await state.ReadStateAsync();
        return View;
    }

    public Task DeactivateAsync()
    {
        DeactivateOnIdle();
        return Task.CompletedTask;
    }
}
