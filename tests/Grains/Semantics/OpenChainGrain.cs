using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

[GrainInterfaceType("test.openchain"), Alias("test.IOpenChainGrain")]
public interface IOpenChainGrain : IGrainWithStringKey
{
    /// <summary>Holds a reentrant section open until the event, and says how many calls got in.</summary>
    [Alias("HoldOpen")]
    Task<string> HoldOpenAsync(string until);

    [Alias("Enter")]
    Task<int> EnterAsync();

    [AlwaysInterleave, Alias("Peek")]
    Task<string> PeekAsync();
}

[GrainType("test.openchain")]
public sealed class OpenChainGrain(Probe probe) : Grain, IOpenChainGrain
{
    private int _entered;

    public async Task<string> HoldOpenAsync(string until)
    {
        using (RequestContext.AllowCallChainReentrancy())
        {
            probe.Signal($"{this.GetPrimaryKeyString()} open");
            await probe.WaitAsync(until);
            return $"while open: {_entered}";
        }
    }

    public Task<int> EnterAsync() => Task.FromResult(++_entered);

    public Task<string> PeekAsync() => Task.FromResult($"while open: {_entered}");
}
