using System.Diagnostics;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace Pollux.Tests.Grains.Semantics;

[GrainInterfaceType("test.chain"), Alias("test.IChainGrain")]
public interface IChainGrain : IGrainWithStringKey
{
    /// <summary>Calls <paramref name="other"/>, which calls back here; optionally with the call chain open.</summary>
    [Alias("ThereAndBack")]
    Task<string> ThereAndBackAsync(string other, bool allowReentrancy);

    [Alias("BackTo")]
    Task<string> BackToAsync(string first);

    /// <summary>Its callers wait for three seconds only.</summary>
    [ResponseTimeout("00:00:03"), Alias("Name")]
    Task<string> NameAsync();

    /// <summary>Sets a value of the request context, asks <paramref name="other"/> for it, and returns both sides.</summary>
    [Alias("PassContext")]
    Task<string> PassContextAsync(string other);

    [Alias("ReadContext")]
    Task<string> ReadContextAsync();

    /// <summary>The trace that the call belongs to, as <paramref name="other"/>, called from here, sees it.</summary>
    [Alias("TraceOf")]
    Task<string?> TraceOfAsync(string? other);
}

[GrainType("test.chain")]
public sealed class ChainGrain : Grain, IChainGrain
{
    private const string Note = "note";

    public async Task<string> ThereAndBackAsync(string other, bool allowReentrancy)
    {
        var grain = GrainFactory.GetGrain<IChainGrain>(other);
        if (!allowReentrancy)
            return await grain.BackToAsync(this.GetPrimaryKeyString());
        using (RequestContext.AllowCallChainReentrancy())
            return await grain.BackToAsync(this.GetPrimaryKeyString());
    }

    public Task<string> BackToAsync(string first) => GrainFactory.GetGrain<IChainGrain>(first).NameAsync();

    public Task<string> NameAsync() => Task.FromResult(this.GetPrimaryKeyString());

    public async Task<string> PassContextAsync(string other)
    {
        RequestContext.Set(Note, "from caller");
        var seen = await GrainFactory.GetGrain<IChainGrain>(other).ReadContextAsync();
        return $"callee saw '{seen}', caller has '{RequestContext.Get(Note)}'";
    }

    public Task<string?> TraceOfAsync(string? other) => other is null
        ? Task.FromResult(Activity.Current?.TraceId.ToString())
        : GrainFactory.GetGrain<IChainGrain>(other).TraceOfAsync(null);

    public Task<string> ReadContextAsync()
    {
        var seen = RequestContext.Get(Note) as string ?? "nothing";
        RequestContext.Set(Note, "from callee");
        return Task.FromResult(seen);
    }
}
