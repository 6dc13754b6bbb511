using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>What a reference points to.</summary>
internal interface ICallTarget
{
    EmbeddedRuntime Runtime { get; }

    string Name { get; }

    /// <summary>Hands the call over; a refusal ends in the call's answer.</summary>
    void Send(CallTurn call);

    /// <summary>What the target is doing, for a caller that has waited too long.</summary>
    string Describe();
}

/// <summary>A grain, activated or not.</summary>
internal sealed class GrainTarget(EmbeddedRuntime runtime, GrainId grainId) : ICallTarget
{
    public EmbeddedRuntime Runtime => runtime;

    public GrainId GrainId => grainId;

    public string Name => grainId.ToString();

    public void Send(CallTurn call) => runtime.Catalog.Deliver(grainId, call);

    public string Describe() => runtime.Catalog.Describe(grainId);

    public override bool Equals(object? obj) => obj is GrainTarget other && other.GrainId == grainId && ReferenceEquals(other.Runtime, runtime);

    public override int GetHashCode() => grainId.GetHashCode();
}
