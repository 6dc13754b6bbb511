using System.Reflection;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>Base of the generated references. Two references to the same grain are equal.</summary>
internal class GrainReference : DispatchProxy, IAddressable
{
    public ICallTarget Target { get; private set; } = null!;

    public static GrainReference Create(Type interfaceType, ICallTarget target)
    {
        var reference = (GrainReference)Create(interfaceType, typeof(GrainReference));
        reference.Target = target;
        return reference;
    }

    public override bool Equals(object? obj) => obj is GrainReference other && Target.Equals(other.Target);

    public override int GetHashCode() => Target.GetHashCode();

    public override string ToString() => $"reference to {Target.Name}";

    protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) =>
        GrainMethod.Of(targetMethod!).Call(Target, args ?? []);
}
