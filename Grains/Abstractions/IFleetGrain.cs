using System.Collections.Immutable;
using Orleans.Runtime;

namespace Pollux.Grains.Abstractions;

/// <summary>The list of clusters. Its key is <see cref="Key"/>. Never on the path of an arbitration.</summary>
[GrainInterfaceType("pollux.fleet"), Alias("pollux.IFleetGrain")]
public interface IFleetGrain : IGrainWithStringKey
{
    const string Key = "fleet";

    /// <summary>Repeating it is harmless.</summary>
    [Alias("Enlist")]
    Task EnlistAsync(string cluster);

    /// <summary>Cluster names in ordinal order.</summary>
    [Alias("List"), AlwaysInterleave]
    Task<ImmutableArray<string>> ListAsync();
}
