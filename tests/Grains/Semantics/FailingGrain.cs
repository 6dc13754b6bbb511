using Orleans;
using Orleans.Runtime;

namespace Pollux.Tests.Grains.Semantics;

/// <summary>An exception that may cross grain calls.</summary>
[GenerateSerializer, Alias("test.RefusedException")]
public sealed class RefusedException(string message, string code) : Exception(message)
{
    [Id(0)]
    public string Code { get; } = code;
}

/// <summary>An exception that may not.</summary>
public sealed class LocalException(string message) : Exception(message);

[GrainInterfaceType("test.failing"), Alias("test.IFailingGrain")]
public interface IFailingGrain : IGrainWithStringKey
{
    /// <summary>Throws an exception of the base library.</summary>
    [Alias("FailPlainly")]
    Task FailPlainlyAsync(string message);

    [Alias("Refuse")]
    Task<int> RefuseAsync(string message, string code);

    [Alias("FailLocally")]
    Task FailLocallyAsync(string message);

    /// <summary>Throws before its first await, from a method that is not async.</summary>
    [Alias("FailAtOnce")]
    Task<int> FailAtOnceAsync(int value);

    [Alias("Ping")]
    Task<int> PingAsync(int value);
}

[GrainType("test.failing")]
public sealed class FailingGrain : Grain, IFailingGrain
{
    public async Task FailPlainlyAsync(string message)
    {
        await Task.Yield();
        throw new InvalidOperationException(message);
    }

    public async Task<int> RefuseAsync(string message, string code)
    {
        await Task.Yield();
        throw new RefusedException(message, code);
    }

    public async Task FailLocallyAsync(string message)
    {
        await Task.Yield();
        throw new LocalException(message);
    }

    public Task<int> FailAtOnceAsync(int value) => throw new ArgumentOutOfRangeException(nameof(value), value, "refused at once");

    public Task<int> PingAsync(int value) => Task.FromResult(value);
}
