using System.Collections.Frozen;
using System.Reflection;
using Orleans;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>The grain classes of the assemblies that the options name.</summary>
internal sealed class GrainClasses
{
    private readonly FrozenDictionary<GrainType, GrainClass> _byType;
    private readonly FrozenDictionary<Type, GrainClass[]> _byInterface;

    public GrainClasses(IEnumerable<Assembly> assemblies)
    {
        All = assemblies.Distinct()
            .SelectMany(assembly => assembly.GetTypes())
            .Where(type => type is { IsClass: true, IsAbstract: false, ContainsGenericParameters: false })
            .Where(type => typeof(IGrainBase).IsAssignableFrom(type) && typeof(IGrain).IsAssignableFrom(type))
            .Select(type => new GrainClass(type))
            .ToArray();
        var twice = All.GroupBy(grainClass => grainClass.GrainType).FirstOrDefault(group => group.Count() > 1);
        if (twice is not null)
            throw new OrleansConfigurationException($"Several classes have the grain type '{twice.Key}': {string.Join(", ", twice.Select(c => c.Type))}.");
        _byType = All.ToFrozenDictionary(grainClass => grainClass.GrainType);
        _byInterface = All.SelectMany(grainClass => grainClass.Interfaces.Select(i => (Interface: i, Class: grainClass)))
            .GroupBy(pair => pair.Interface)
            .ToFrozenDictionary(group => group.Key, group => group.Select(pair => pair.Class).ToArray());
    }

    public IReadOnlyList<GrainClass> All { get; }

    public GrainClass? Find(GrainType type) => _byType.GetValueOrDefault(type);

    /// <exception cref="ArgumentException">No class implements the interface, or several do.</exception>
    public GrainClass ImplementationOf(Type interfaceType) =>
        _byInterface.GetValueOrDefault(interfaceType) switch
        {
            [var only] => only,
            null => throw new ArgumentException($"Could not find an implementation for interface {interfaceType}."),
            var several => throw new ArgumentException(
                $"Several classes implement {interfaceType}: {string.Join(", ", several.Select(grainClass => grainClass.Type))}."),
        };
}
