using System.Reflection;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;
using Orleans.Storage;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>A grain class: its name, its attributes and how to construct it.</summary>
internal sealed class GrainClass
{
    private readonly ConstructorInfo _constructor;
    private readonly Func<Activation, object?>[] _parameters;

    public GrainClass(Type type)
    {
        Type = type;
        GrainType = type.GetCustomAttribute<GrainTypeAttribute>()?.Value ?? DefaultName(type);
        IsReentrant = type.IsDefined(typeof(ReentrantAttribute), inherit: true);
        KeepAlive = type.IsDefined(typeof(KeepAliveAttribute), inherit: true);
        Interfaces = type.GetInterfaces().Where(i => typeof(IGrain).IsAssignableFrom(i) && i.Namespace != "Orleans").ToArray();
        var constructors = type.GetConstructors();
        if (constructors.Length != 1)
            throw new OrleansConfigurationException($"{type} has {constructors.Length} public constructors; a grain class has one.");
        _constructor = constructors[0];
        _parameters = _constructor.GetParameters().Select(ParameterSource).ToArray();
    }

    public Type Type { get; }

    public GrainType GrainType { get; }

    public bool IsReentrant { get; }

    public bool KeepAlive { get; }

    /// <summary>The grain interfaces, without those of Orleans itself.</summary>
    public IReadOnlyList<Type> Interfaces { get; }

    /// <summary>The persistent states that the constructor asks for.</summary>
    public IEnumerable<(PersistentStateAttribute Attribute, Type StateType)> States =>
        from parameter in _constructor.GetParameters()
        let attribute = parameter.GetCustomAttribute<PersistentStateAttribute>()
        where attribute is not null
        select (attribute, parameter.ParameterType.GetGenericArguments()[0]);

    /// <summary>Constructs the grain; runs in a turn of <paramref name="activation"/>.</summary>
    public object Create(Activation activation)
    {
        var arguments = Array.ConvertAll(_parameters, source => source(activation));
        return _constructor.Invoke(BindingFlags.DoNotWrapExceptions, binder: null, arguments, culture: null);
    }

    // The rule of Orleans for classes without [GrainType].
    private static GrainType DefaultName(Type type)
    {
        var name = type.Name.ToLowerInvariant();
        return GrainType.Create(name.EndsWith("grain", StringComparison.Ordinal) && name.Length > 5 ? name[..^5] : name);
    }

    private static Func<Activation, object?> ParameterSource(ParameterInfo parameter)
    {
        if (parameter.GetCustomAttribute<PersistentStateAttribute>() is { } state)
            return StateSource(parameter, state);
        if (parameter.ParameterType == typeof(IGrainContext))
            return activation => activation;
        if (parameter.GetCustomAttribute<FromKeyedServicesAttribute>() is { } keyed)
            return activation => activation.ActivationServices.GetRequiredKeyedService(parameter.ParameterType, keyed.Key);
        return parameter.HasDefaultValue
            ? activation => activation.ActivationServices.GetService(parameter.ParameterType) ?? parameter.DefaultValue
            : activation => activation.ActivationServices.GetRequiredService(parameter.ParameterType);
    }

    private static Func<Activation, object?> StateSource(ParameterInfo parameter, PersistentStateAttribute attribute)
    {
        var type = parameter.ParameterType;
        if (!type.IsGenericType || type.GetGenericTypeDefinition() != typeof(IPersistentState<>))
        {
            throw new OrleansConfigurationException(
                $"Parameter '{parameter.Name}' of {parameter.Member.DeclaringType} has [PersistentState] and must be an IPersistentState<T>.");
        }

        var create = typeof(PersistentState<>).MakeGenericType(type.GetGenericArguments()).GetConstructors()[0];
        return activation =>
        {
            var storage = attribute.StorageName is { Length: > 0 } name
                ? activation.ActivationServices.GetKeyedService<IGrainStorage>(name)
                : activation.ActivationServices.GetService<IGrainStorage>();
            if (storage is null)
                throw new OrleansConfigurationException($"There is no grain storage named '{attribute.StorageName}' for {parameter.Member.DeclaringType}.");
            var slot = (IStateSlot)create.Invoke([activation.GrainId, attribute.StateName, storage]);
            activation.AddState(slot);
            return slot;
        };
    }
}
