using Orleans.Serialization;

namespace Pollux.Tests.Grains.Semantics;

public sealed class ExceptionTests(SemanticsHost host) : IClassFixture<SemanticsHost>
{
    private IFailingGrain Grain { get; } = host.Grains.GetGrain<IFailingGrain>(SemanticsHost.NewKey());

    [Fact]
    public async Task An_exception_of_the_base_library_reaches_the_caller()
    {
        var failure = await Assert.ThrowsAsync<InvalidOperationException>(() => Grain.FailPlainlyAsync("plain"));
        Assert.Equal("plain", failure.Message);
    }

    [Fact]
    public async Task An_exception_with_a_serializer_reaches_the_caller_with_its_members()
    {
        var failure = await Assert.ThrowsAsync<RefusedException>(() => Grain.RefuseAsync("refused", "PLX-1"));
        Assert.Equal(("refused", "PLX-1"), (failure.Message, failure.Code));
    }

    // Orleans lets it pass inside one silo and not between two; the embedded host never does.
    [Fact]
    public async Task An_exception_without_a_serializer_fails_the_call_all_the_same()
    {
        var failure = await Assert.ThrowsAnyAsync<Exception>(() => Grain.FailLocallyAsync("local"));
        Assert.True(failure is LocalException or CodecNotFoundException, failure.ToString());
        Assert.Contains("local", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_call_that_throws_at_once_fails_its_task_and_the_activation_goes_on()
    {
        var call = Grain.FailAtOnceAsync(3);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => call);
        Assert.Equal(4, await Grain.PingAsync(4));
    }
}
