using System.Collections.Immutable;
using Orleans;
using Orleans.Runtime;
using Pollux.EmbeddedHost.Contracts;

namespace Pollux.Tests.Grains.Embedded;

public sealed class ContractVerifierTests
{
    [Fact]
    public void Sound_contracts_pass() => Assert.Empty(ProblemsOf<ISound>());

    [Theory]
    [InlineData(typeof(IMutableArray), "System.Int32[]", "can change after")]
    [InlineData(typeof(IMutableList), "List", "can change after")]
    [InlineData(typeof(IUnmarked), nameof(Unmarked), "no [GenerateSerializer]")]
    [InlineData(typeof(IUnmarked), nameof(Unmarked), "no [Alias]")]
    [InlineData(typeof(IUnmarked), nameof(Unmarked), "no [Immutable]")]
    [InlineData(typeof(IForgottenMember), "ForgottenMember.Forgotten", "no [Id]")]
    [InlineData(typeof(IDeep), "Deep.Words", "can change after")]
    [InlineData(typeof(IPolymorphic), "UnmarkedKind", "no [GenerateSerializer]")]
    [InlineData(typeof(IWithoutAliases), "IWithoutAliases", "has no [Alias]")]
    [InlineData(typeof(IWithoutAliases), "IWithoutAliases.PingAsync", "has no [Alias]")]
    [InlineData(typeof(INotAsynchronous), "INotAsynchronous.Ping", "return Task or ValueTask")]
    [InlineData(typeof(IGuidKeyed), "IGuidKeyed", "IGrainWithStringKey")]
    public void Unsound_contracts_are_named(Type grainInterface, string what, string why) =>
        Assert.Contains(
            ContractVerifier.ProblemsOf(grainInterface, [typeof(ContractVerifierTests).Assembly]),
            problem => problem.Contains(what, StringComparison.Ordinal) && problem.Contains(why, StringComparison.Ordinal));

    private static IReadOnlyList<string> ProblemsOf<TInterface>() => ContractVerifier.ProblemsOf(typeof(TInterface), [typeof(ContractVerifierTests).Assembly]);

    [GenerateSerializer, Immutable, Alias("test.Sound")]
    public sealed record Sound(
        [property: Id(0)] string Name,
        [property: Id(1)] ImmutableArray<Part> Parts,
        [property: Id(2)] ImmutableDictionary<string, int?> Numbers,
        [property: Id(3)] DateTimeOffset At)
    {
        public string Summary => $"{Name} at {At}";
    }

    [GenerateSerializer, Immutable, Alias("test.Part")]
    public readonly record struct Part([property: Id(0)] Guid Id, [property: Id(1)] DayOfWeek Day);

    public sealed record Unmarked(int Value);

    [GenerateSerializer, Immutable, Alias("test.ForgottenMember")]
    public sealed class ForgottenMember
    {
        [Id(0)]
        public int Kept { get; init; }

        public int Forgotten { get; init; }
    }

    [GenerateSerializer, Immutable, Alias("test.Deep")]
    public sealed record Deep([property: Id(0)] List<string> Words);

    [GenerateSerializer, Immutable, Alias("test.Kind")]
    public abstract record Kind;

    public sealed record UnmarkedKind : Kind;

    [Alias("test.ISound")]
    public interface ISound : IGrainWithStringKey
    {
        [Alias("Exchange")]
        Task<Sound?> ExchangeAsync(Sound sound, Guid id, (int, string) pair, [Immutable] byte[] bytes, ISound peer, CancellationToken token);

        [Alias("Ping")]
        ValueTask<int> PingAsync();
    }

    [Alias("test.IMutableArray")]
    public interface IMutableArray : IGrainWithStringKey
    {
        [Alias("Take")]
        Task TakeAsync(int[] numbers);
    }

    [Alias("test.IMutableList")]
    public interface IMutableList : IGrainWithStringKey
    {
        [Alias("Get")]
        Task<List<string>> GetAsync();
    }

    [Alias("test.IUnmarked")]
    public interface IUnmarked : IGrainWithStringKey
    {
        [Alias("Take")]
        Task TakeAsync(Unmarked value);
    }

    [Alias("test.IForgottenMember")]
    public interface IForgottenMember : IGrainWithStringKey
    {
        [Alias("Get")]
        Task<ForgottenMember> GetAsync();
    }

    [Alias("test.IDeep")]
    public interface IDeep : IGrainWithStringKey
    {
        [Alias("Take")]
        Task TakeAsync(ImmutableArray<Deep> values);
    }

    [Alias("test.IPolymorphic")]
    public interface IPolymorphic : IGrainWithStringKey
    {
        [Alias("Get")]
        Task<Kind> GetAsync();
    }

    public interface IWithoutAliases : IGrainWithStringKey
    {
        Task PingAsync();
    }

    [Alias("test.INotAsynchronous")]
    public interface INotAsynchronous : IGrainWithStringKey
    {
        [Alias("Ping")]
        int Ping();
    }

    [Alias("test.IGuidKeyed")]
    public interface IGuidKeyed : IGrain
    {
        [Alias("Ping")]
        Task PingAsync();
    }
}
