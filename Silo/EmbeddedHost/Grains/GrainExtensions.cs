using Orleans.Runtime;
using Pollux.EmbeddedHost.Runtime;

namespace Orleans;

/// <summary>Identity of grains and of references to them.</summary>
public static class GrainExtensions
{
    /// <summary>The identity behind a grain object or a grain reference.</summary>
    /// <exception cref="ArgumentException">The object is neither.</exception>
    public static GrainId GetGrainId(this IAddressable grain) => grain switch
    {
        null => throw new ArgumentNullException(nameof(grain)),
        IGrainBase { GrainContext: { } context } => context.GrainId,
        GrainReference { Target: GrainTarget target } => target.GrainId,
        _ => throw new ArgumentException($"{grain.GetType()} is neither an activated grain nor a reference to one.", nameof(grain)),
    };

    public static string GetPrimaryKeyString(this IAddressable grain) => grain.GetGrainId().Key.Value;

    /// <summary>A reference to the same grain, to hand to others: a grain must not hand out its own object.</summary>
    public static TGrainInterface AsReference<TGrainInterface>(this IAddressable grain)
    {
        ArgumentNullException.ThrowIfNull(grain);
        var runtime = grain switch
        {
            IGrainBase grainBase => Activation.Of(grainBase).Runtime,
            GrainReference { Target: GrainTarget target } => target.Runtime,
            _ => throw new ArgumentException($"{grain.GetType()} is neither an activated grain nor a reference to one.", nameof(grain)),
        };
        return (TGrainInterface)runtime.References.Create(typeof(TGrainInterface), grain.GetGrainId());
    }
}
