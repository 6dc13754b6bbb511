using System.Collections.Concurrent;

namespace Pollux.Tests.Grains.Semantics;

public sealed class ObserverTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    [Fact]
    public async Task An_observer_gets_what_the_grain_tells_it_in_order()
    {
        var grain = host.Grains.GetGrain<INewsGrain>(SemanticsHost.NewKey());
        var observer = new Reader();
        var reference = host.Grains.CreateObjectReference<INewsObserver>(observer);
        await grain.SubscribeAsync(reference);
        for (var i = 0; i < 20; i++)
            Assert.Equal(1, await grain.PublishAsync(new News(i, ["a", "b"])));
        Assert.Equal(Enumerable.Range(0, 20), observer.Read.Select(news => news.Number));
        Assert.Equal(["a", "b"], observer.Read.First().Words.ToArray());
        host.Grains.DeleteObjectReference<INewsObserver>(reference);
        GC.KeepAlive(observer);
    }

    [Fact]
    public async Task A_failure_of_an_observer_reaches_the_grain()
    {
        var grain = host.Grains.GetGrain<INewsGrain>(SemanticsHost.NewKey());
        var observer = new Reader { Fault = new InvalidOperationException("no time to read") };
        var reference = host.Grains.CreateObjectReference<INewsObserver>(observer);
        await grain.SubscribeAsync(reference);
        var failure = await Assert.ThrowsAsync<InvalidOperationException>(() => grain.PublishAsync(new News(1, [])));
        Assert.Equal("no time to read", failure.Message);
        host.Grains.DeleteObjectReference<INewsObserver>(reference);
        GC.KeepAlive(observer);
    }

    [Fact]
    public async Task A_deleted_reference_delivers_nothing_more()
    {
        var grain = host.Grains.GetGrain<INewsGrain>(SemanticsHost.NewKey());
        var (left, stays) = (new Reader(), new Reader());
        var reference = host.Grains.CreateObjectReference<INewsObserver>(left);
        host.Grains.DeleteObjectReference<INewsObserver>(reference);
        var other = host.Grains.CreateObjectReference<INewsObserver>(stays);
        await grain.SubscribeAsync(other);
        Assert.Equal(1, await grain.PublishAsync(new News(1, [])));
        Assert.Empty(left.Read);
        Assert.Single(stays.Read);
        GC.KeepAlive(stays);
    }

    private sealed class Reader : INewsObserver
    {
        public ConcurrentQueue<News> Read { get; } = new();

        public Exception? Fault { get; init; }

        public Task OnNewsAsync(News news)
        {
            Read.Enqueue(news);
            return Fault is null ? Task.CompletedTask : Task.FromException(Fault);
        }
    }
}
