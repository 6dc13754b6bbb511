using System.Collections.Immutable;
using System.Reflection;
using System.Runtime.CompilerServices;
using Orleans;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Contracts;

/// <summary>Verifies types that cross grain calls, and what they are made of.</summary>
internal sealed class ContractTypes(IEnumerable<Assembly> assemblies, List<string> problems)
{
    private static readonly HashSet<Type> Simple =
    [
        typeof(string), typeof(decimal), typeof(Guid), typeof(DateTime), typeof(DateTimeOffset), typeof(DateOnly), typeof(TimeOnly),
        typeof(TimeSpan), typeof(Uri), typeof(Version), typeof(Int128), typeof(UInt128), typeof(CancellationToken),
    ];

    private static readonly HashSet<Type> ImmutableCollections =
    [
        typeof(ImmutableArray<>), typeof(ImmutableList<>), typeof(ImmutableHashSet<>), typeof(ImmutableSortedSet<>),
        typeof(ImmutableDictionary<,>), typeof(ImmutableSortedDictionary<,>), typeof(ImmutableQueue<>), typeof(ImmutableStack<>),
        typeof(KeyValuePair<,>), typeof(Nullable<>),
    ];

    private readonly HashSet<Type> _seen = [];
    private readonly List<Type> _observers = [];
    private readonly Lazy<Type[]> _candidates = new(() => assemblies.SelectMany(assembly => assembly.GetTypes()).ToArray());

    /// <summary>The observer interfaces met since the last call.</summary>
    public IReadOnlyList<Type> TakeObserverInterfaces()
    {
        var taken = _observers.ToArray();
        _observers.Clear();
        return taken;
    }

    /// <param name="type">The type of a parameter, result or member.</param>
    /// <param name="where">Where it stands, for the message.</param>
    /// <param name="declaredImmutable">Whether <c>[Immutable]</c> stands there: the author promises not to change the value.</param>
    public void Verify(Type type, string where, bool declaredImmutable)
    {
        if (type.IsPrimitive || type.IsEnum || Simple.Contains(type))
            return;
        if (typeof(IAddressable).IsAssignableFrom(type) && type.IsInterface)
        {
            if (typeof(IGrainObserver).IsAssignableFrom(type) && _seen.Add(type))
                _observers.Add(type);
            return;
        }

        if (type.IsArray && declaredImmutable)
        {
            Verify(type.GetElementType()!, where, declaredImmutable);
            return;
        }

        if (type.IsGenericType && (ImmutableCollections.Contains(type.GetGenericTypeDefinition()) || typeof(ITuple).IsAssignableFrom(type)))
        {
            foreach (var argument in type.GetGenericArguments())
                Verify(argument, where, declaredImmutable);
            return;
        }

        VerifyContract(type, where, declaredImmutable);
    }

    private void VerifyContract(Type type, string where, bool declaredImmutable)
    {
        if (type.Namespace is { } name && (name == "System" || name.StartsWith("System.", StringComparison.Ordinal)))
        {
            problems.Add($"{type} ({where}): use a primitive, a string, an Immutable… collection or a contract type; arrays and other "
                + "collections of the base library can change after they were passed.");
            return;
        }

        if (type.IsGenericType)
            type = type.GetGenericTypeDefinition();
        if (!_seen.Add(type))
            return;
        if (!type.IsDefined(typeof(GenerateSerializerAttribute), inherit: false))
            problems.Add($"{type} ({where}): has no [GenerateSerializer].");
        if (!type.IsDefined(typeof(AliasAttribute), inherit: false))
            problems.Add($"{type} ({where}): has no [Alias].");
        if (!declaredImmutable && !type.IsDefined(typeof(ImmutableAttribute), inherit: false))
            problems.Add($"{type} ({where}): has no [Immutable].");
        VerifyMembers(type);
        if (type.BaseType is { } parent && parent != typeof(object) && parent != typeof(ValueType) && parent != typeof(Exception))
            Verify(parent, $"base of {type}", declaredImmutable);
        foreach (var derived in _candidates.Value.Where(candidate => candidate.BaseType == type))
            Verify(derived, $"derived from {type}", declaredImmutable);
    }

    // A member without [Id] does not travel with Orleans and would travel here.
    private void VerifyMembers(Type type)
    {
        const BindingFlags Own = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        foreach (var field in type.GetFields(Own).Where(field => !field.IsDefined(typeof(NonSerializedAttribute))))
        {
            var property = BackedProperty(type, field);
            MemberInfo member = property is null ? field : property;
            if (!member.IsDefined(typeof(IdAttribute)) && !HasIdOnParameter(type, member.Name))
                problems.Add($"{type}.{member.Name}: has no [Id].");
            if (!field.FieldType.IsGenericParameter)
                Verify(field.FieldType, $"member of {type}.{member.Name}", member.IsDefined(typeof(ImmutableAttribute)));
        }
    }

    private static PropertyInfo? BackedProperty(Type type, FieldInfo field)
    {
        const BindingFlags Own = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        return field.Name.StartsWith('<') && field.Name.IndexOf('>') is > 1 and var end ? type.GetProperty(field.Name[1..end], Own) : null;
    }

    private static bool HasIdOnParameter(Type type, string name) =>
        type.GetConstructors().Any(constructor => constructor.GetParameters().Any(p => p.Name == name && p.IsDefined(typeof(IdAttribute))));
}
