using System.Collections.Immutable;
using Orleans;
using Orleans.Runtime;

namespace Pollux.Tests.Grains.Semantics;

[GenerateSerializer, Immutable, Alias("test.News")]
public sealed record News([property: Id(0)] int Number, [property: Id(1)] ImmutableArray<string> Words);

[Alias("test.INewsObserver")]
public interface INewsObserver : IGrainObserver
{
    [Alias("OnNews")]
    Task OnNewsAsync(News news);
}

[GrainInterfaceType("test.news"), Alias("test.INewsGrain")]
public interface INewsGrain : IGrainWithStringKey
{
    [Alias("Subscribe")]
    Task SubscribeAsync(INewsObserver observer);

    /// <summary>Tells every subscriber, one after the other, and returns how many took it.</summary>
    [Alias("Publish")]
    Task<int> PublishAsync(News news);
}

[GrainType("test.news")]
public sealed class NewsGrain : Grain, INewsGrain
{
    private readonly List<INewsObserver> _observers = [];

    public Task SubscribeAsync(INewsObserver observer)
    {
        _observers.Add(observer);
        return Task.CompletedTask;
    }

    public async Task<int> PublishAsync(News news)
    {
        foreach (var observer in _observers)
            await observer.OnNewsAsync(news);
        return _observers.Count;
    }
}
