using System.Collections.Concurrent;
using Orleans;
using Orleans.Runtime;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

[GrainInterfaceType("test.life"), Alias("test.ILifeGrain")]
public interface ILifeGrain : IGrainWithStringKey
{
    /// <summary>The number of this activation among those of its key.</summary>
    [Alias("Generation")]
    Task<int> GenerationAsync();

    /// <summary>Asks for its end, then waits for the event before it returns.</summary>
    [Alias("EndAfter")]
    Task EndAfterAsync(string until);

    /// <summary>Counts the call, and whether another turn of the key, of any activation, was in at the same time.</summary>
    [Alias("Count")]
    Task CountAsync(bool thenEnd);
}

/// <summary>Keys that begin with "flawed" fail their first activation.</summary>
[GrainType("test.life")]
public sealed class LifeGrain(Probe probe) : Grain, ILifeGrain
{
    private static readonly ConcurrentDictionary<string, int> Inside = new();

    private int _generation;

    private string Key => this.GetPrimaryKeyString();

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _generation = probe.Count($"{Key} generation");
        if (Key.StartsWith("flawed", StringComparison.Ordinal) && _generation == 1)
            throw new InvalidOperationException($"{Key} cannot wake yet");
        return Task.CompletedTask;
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        probe.Write($"{Key} ends: {reason.ReasonCode}");
        probe.Signal($"{Key} ended");
        return Task.CompletedTask;
    }

    public Task<int> GenerationAsync() => Task.FromResult(_generation);

    public async Task EndAfterAsync(string until)
    {
        DeactivateOnIdle();
        probe.Signal($"{Key} asked");
        await probe.WaitAsync(until);
        probe.Write($"{Key} returns");
    }

    public async Task CountAsync(bool thenEnd)
    {
        if (Inside.AddOrUpdate(Key, 1, (_, inside) => inside + 1) != 1)
            probe.Count($"{Key} overlaps");
        await Task.Yield();
        probe.Count($"{Key} calls");
        Inside.AddOrUpdate(Key, 0, (_, inside) => inside - 1);
        if (thenEnd)
            DeactivateOnIdle();
    }
}
